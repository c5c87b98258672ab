"""Namespaces that a specification joins: opened, proven, and compared with our own."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final

from .. import native
from .._aio import OwnedFd
from .._tuples import NamedTuple
from ..errors import SpecError, UnsupportedError
from ..plan.flags import NAMESPACES
from ..plan.plan import IdMaps

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..spec import Spec

__all__ = ["Joined", "look_at_joined", "open_foreign", "sourced"]

_NS_GET_NSTYPE: Final = 0xB703  # ioctl_nsfs(2)
_PROC_NAMES: Final = {"network": "net", "mount": "mnt"}  # where OCI and /proc differ


class Joined(NamedTuple):
    """What a plan has to know of the namespaces that it joins."""

    own: frozenset[str] = frozenset()
    """Types whose namespace is the one that we are in."""
    maps: IdMaps | None = None
    """Of the user namespace, if it is another."""


def look_at_joined(spec: Spec) -> Joined:
    """Open each namespace that is joined by its path; `SpecError`, `UnsupportedError`."""
    own, maps = set[str](), None
    for index, each in enumerate(spec.linux.namespaces if spec.linux is not None else ()):
        if not each.path:
            continue
        origin = f"$.linux.namespaces[{index}].path"
        with OwnedFd(_open(each.path, each.type, origin)) as fd:
            if _is_ours(fd, each.type):
                own.add(each.type)
            elif each.type == "user":
                maps = _read_maps(fd, each.path, origin)
    return Joined(frozenset(own), maps)


def _is_ours(fd: OwnedFd, type: str) -> bool:
    ours = os.stat(f"/proc/self/ns/{_PROC_NAMES.get(type, type)}")
    return os.path.samestat(os.fstat(fd.fileno()), ours)


def _read_maps(fd: OwnedFd, path: str, origin: str) -> IdMaps:
    try:
        uid, gid, denied = native.user_namespace_maps(fd.fileno())
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.EACCES):
            raise SpecError(f"{path}: its maps cannot be read: {exc.strerror}", origin=origin) from exc
        raise UnsupportedError(
            f"joining the user namespace {path}",
            needs="CAP_SYS_ADMIN in it, which its maker and the root of a user namespace around it have",
            origin=origin,
        ) from exc
    return IdMaps(tuple(uid), tuple(gid), deny_setgroups=denied)


def _open(path: str, type: str, origin: str) -> int:
    """Open a namespace file and prove that it is one of the stated type.  OCI config-linux.md."""
    fd = OwnedFd(sourced(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), origin, path))
    with fd:
        try:
            kind = fcntl.ioctl(fd.fileno(), _NS_GET_NSTYPE)
        except OSError as exc:
            raise SpecError(f"{path} is no namespace", origin=origin) from exc
        if kind != NAMESPACES[type]:
            raise SpecError(f"{path} is no {type} namespace", origin=origin)
        return fd.detach()


def open_foreign(path: str, type: str, origin: str) -> int:
    """Open one that was not ours when the plan was made, and must not be: settings would be the host's."""
    with OwnedFd(_open(path, type, origin)) as fd:
        if _is_ours(fd, type):
            raise SpecError(f"{path} has become the {type} namespace of the runtime", origin=origin)
        return fd.detach()


def sourced(opened: Callable[[], int], origin: str, path: str) -> int:
    """Open what the specification names; `SpecError` with its address."""
    try:
        return opened()
    except OSError as exc:
        raise SpecError(f"{path}: {exc.strerror}", origin=origin) from exc
