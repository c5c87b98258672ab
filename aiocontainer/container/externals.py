"""What of a container comes from outside, and how CRIU is told: mounts, namespaces, descriptors.

A mount from outside has a key that says what it is and not where that is on this machine: its
destination, or the device of the host.  So it can be restored on another one, from the specification
that is given then.  criu(8) ``--external``.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, Final

from ..errors import SpecError, UnsupportedError
from ..plan.mountinfo import parse_mountinfo
from ..plan.paths import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..plan.mountinfo import Mount
    from ..spec import Mount as SpecMount
    from ..spec import Spec

__all__ = [
    "EXTERNAL_NAMESPACES",
    "JOINED_NAMESPACES",
    "bound",
    "check_namespaces",
    "descriptor_keys",
    "dumped_mounts",
    "restored_mounts",
]

_OF_THE_KERNEL: Final = frozenset({"proc", "sysfs", "mqueue", "cgroup", "cgroup2", "binfmt_misc"})
"""File systems that are mounted anew: that the host has the same does not make them its."""

_NODES: Final = ("null", "zero", "full", "random", "urandom", "tty")
"""Devices of the host that are bound where none can be made, and over what is masked."""

_NODE: Final = "node:"

EXTERNAL_NAMESPACES: Final[Mapping[str, tuple[str, str]]] = {
    "network": ("net", "extRootNetNS"),
    "pid": ("pid", "extRootPidNS"),
}
"""Those that CRIU leaves outside: its name, and the key by which one is given at restore."""

JOINED_NAMESPACES: Final[Mapping[str, str]] = {"ipc": "ipc", "uts": "uts"}
"""Those whose content is saved, and that are joined at restore: CRIU's name."""


def check_namespaces(spec: Spec) -> None:
    """`UnsupportedError` for a namespace of somebody else's that CRIU cannot leave to them."""
    for index, each in enumerate(spec.linux.namespaces if spec.linux is not None else ()):
        if each.path and each.type not in {*EXTERNAL_NAMESPACES, *JOINED_NAMESPACES}:
            raise UnsupportedError(
                f"checkpoint with a joined {each.type} namespace",
                needs="a container with one of its own, or the host's",
                origin=f"$.linux.namespaces[{index}]",
            )


def bound(spec: Spec) -> Iterator[tuple[int, SpecMount]]:
    """Go through the mounts that show a part of the host, with their places."""
    for index, mount in enumerate(spec.mounts):
        if mount.type == "bind" or not {"bind", "rbind"}.isdisjoint(mount.options):
            yield index, mount


def dumped_mounts(inside: Iterable[Mount], host: Iterable[Mount], bound: Iterable[str]) -> list[str]:
    """Return what CRIU is not to save: mounts *inside* whose file system the *host* has, too.

    *bound* are destinations of bind mounts.  `UnsupportedError` where the root goes with the container.
    """
    devices = {mount.device for mount in host}
    named = {clean(path) for path in bound}
    found = []
    for mount in inside:
        if mount.point == "/":
            if mount.device not in devices:
                raise UnsupportedError(
                    "checkpoint of a container over a throw-away layer",
                    needs="a root file system that outlives it",
                    origin="$.root",
                )
        elif mount.device in devices and (mount.type not in _OF_THE_KERNEL or mount.point in named):
            is_node = mount.type == "devtmpfs" and mount.point not in named
            key = _NODE + mount.root.lstrip("/") if is_node else mount.point
            found.append(f"mnt[{mount.point}]:{key}")
    return found


def restored_mounts(sources: Mapping[str, tuple[str, bool]], host: Iterable[Mount]) -> list[str]:
    """Return where on this machine each external mount is.

    *sources*: by destination, the absolute path on the host, and whether what is mounted below comes along.
    """
    points = sorted({mount.point for mount in host})
    found = {f"{_NODE}{name}": f"/dev/{name}" for name in _NODES}
    for destination, (source, recursive) in sources.items():
        if recursive:
            root = source.rstrip("/")
            below = (point for point in points if point.startswith(f"{root}/") and point != source)
            found.update({destination.rstrip("/") + point[len(root) :]: point for point in below})
    found.update({destination: source for destination, (source, _) in sources.items()})
    return [f"mnt[{key}]:{source}" for key, source in found.items()]


def descriptor_keys(pid: int, inside: Iterable[Mount]) -> list[str]:
    """Return what descriptors 0 to 2 of a process lead to, as CRIU names it; blocks.

    ``pipe:[...]``, ``file[...]`` and ``tty[...]`` are somebody's outside, to be given anew at restore.
    """
    mounts = {mount.id for mount in inside}
    return [_descriptor_key(pid, number, mounts) for number in range(3)]


def _descriptor_key(pid: int, number: int, mounts: set[int]) -> str:
    path = f"/proc/{pid}/fd/{number}"
    try:
        target, found = os.readlink(path), os.stat(path)
        with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
            facts: dict[str, Any] = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return ""  # it has closed that one
    mount = int(facts["mnt_id"])
    if not target.startswith("/") or mount in mounts:
        return target
    if stat.S_ISCHR(found.st_mode) and 136 <= os.major(found.st_rdev) < 144:
        return f"tty[{found.st_rdev:x}:{found.st_dev:x}]"
    return f"file[{mount:x}:{found.st_ino:x}]"


def read_mounts(pid: int | str) -> list[Mount]:
    """Read the mounts that a process sees; blocks; `SpecError` where it has ended."""
    try:
        with open(f"/proc/{pid}/mountinfo", "rb", buffering=0) as file:
            return list(parse_mountinfo(file.readall()))
    except OSError as exc:
        raise SpecError(f"process {pid}: {exc.strerror}", origin="pid") from exc
