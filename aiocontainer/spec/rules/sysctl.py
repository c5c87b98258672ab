"""Kernel parameters: one spelling, one file, one namespace.  sysctl(8), namespaces(7).

Checking one spelling and writing another is how a parameter of the host gets written; so there is
one function from key to path, and both checks and writing start from the path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..._lazy import pattern
from ...errors import SpecError
from ..document import at
from .devices import is_interface_name

if TYPE_CHECKING:
    from ..linux import Linux, NamespaceType
    from ..model import Spec
    from .shared import Problems

__all__ = ["sysctl_namespace", "sysctl_path", "sysctl_problems"]

_ORIGIN: Final = "$.linux.sysctl"
_SEPARATOR: Final = pattern(r"[./]")
_SWAPPED: Final = str.maketrans("./", "/.")
_PART: Final = pattern(r"[A-Za-z0-9_@-]+")

_IPC: Final = frozenset(
    f"kernel/{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


def sysctl_path(key: str) -> str:
    """Return the path of a parameter below ``/proc/sys``.

    The first separator tells the spelling: ``net.ipv4.conf.eno2/100.forwarding``, where a slash is a
    dot, or ``net/ipv4/conf/eno2.100/forwarding``.
    """
    first = _SEPARATOR.search(key)
    path = key.translate(_SWAPPED) if first and first[0] == "." else key
    parts = path.split("/")
    for index, part in enumerate(parts):
        # net/ipv4/conf/eno2.100: the only names that are not the kernel's own.
        of_interface = index == 3 and parts[0] == "net" and parts[2] in ("conf", "neigh")
        if not (is_interface_name(part) if of_interface else _PART.fullmatch(part)):
            raise SpecError("not the name of a kernel parameter", origin=at(_ORIGIN, key))
    return path


def sysctl_namespace(path: str) -> NamespaceType | None:
    """Return the namespace that a parameter belongs to; None: the whole machine, or not for us to set."""
    if path in _IPC or path.startswith("fs/mqueue/"):
        return "ipc"
    if path.startswith("net/"):
        return "network"
    if path.startswith("user/"):
        return "user"
    return "uts" if path == "kernel/domainname" else None


def sysctl_problems(spec: Spec) -> Problems:
    """Everything wrong with the parameters, as far as the document tells.

    That a network namespace joined by path is not the host's is for whoever opens it.
    """
    linux = spec.linux
    if linux is None:
        return
    keys: dict[str, str] = {}
    for key, value in linux.sysctl.items():
        origin = at(_ORIGIN, key)
        try:
            path = sysctl_path(key)
        except SpecError as exc:
            yield exc
            continue
        if keys.setdefault(path, key) != key:
            yield SpecError(f"the same parameter as {keys[path]}", origin=origin)
        yield from _allowed(path, linux, origin)
        if path == "kernel/domainname" and spec.domainname not in ("", value):
            yield SpecError(f"contradicts $.domainname, {spec.domainname!r}", origin=origin)


def _allowed(path: str, linux: Linux, origin: str) -> Problems:
    if path == "kernel/hostname":
        yield SpecError("use $.hostname", origin=origin)
        return
    type = sysctl_namespace(path)
    if type is None:
        yield SpecError("not a parameter of a namespace", origin=origin)
    elif linux.namespace(type) is None:
        yield SpecError(f"needs a namespace of type {type}", origin=origin)
