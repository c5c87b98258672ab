"""Where file systems and cgroup hierarchies are mounted, read from the kernel's own text.

Paths are decoded as file names are (surrogateescape), since that is what they are.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._lazy import pattern
from .._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Hierarchy", "Mount", "find_hierarchies", "parse_mountinfo", "parse_own"]


class Mount(NamedTuple):
    """One line of ``/proc/self/mountinfo``: proc_pid_mountinfo(5)."""

    id: int
    parent: int
    device: int
    """As `os.stat_result.st_dev`."""
    root: str
    """What of the file system is mounted there."""
    point: str
    options: str
    tags: tuple[str, ...]
    type: str
    source: str
    super_options: str


def parse_mountinfo(text: bytes, *, types: Iterable[str] | None = None) -> Iterator[Mount]:
    """Read mountinfo, or only the lines whose file system is one of *types*; ValueError.

    Blanks and backslashes in a field come as octal escapes, so neither a blank nor `` - `` can be
    forged by the name of a directory or of a source.
    """
    wanted = None if types is None else {type.encode() for type in types}
    for line in text.split(b"\n"):
        before, separator, after = line.partition(b" - ")
        type, _, rest = after.partition(b" ")
        if not line or (wanted is not None and separator and type not in wanted):
            continue
        if not separator:
            raise ValueError(f"mountinfo: no separator in {line[:200]!r}")
        yield _mount(before.split(b" "), type, rest.split(b" "))


def _mount(fields: list[bytes], type: bytes, rest: list[bytes]) -> Mount:
    # The source is an empty field when there is none, so the blanks count.
    if len(fields) < 6 or len(rest) < 2 or not type:
        raise ValueError(f"mountinfo: too few fields in {b' '.join(fields)[:200]!r}")
    id, parent, device, root, point, options, *tags = fields
    return Mount(
        int(id),
        int(parent),
        _device(device),
        _unescape(root),
        _unescape(point),
        _unescape(options),
        tuple(_unescape(tag) for tag in tags),
        _unescape(type),
        _unescape(rest[0]),
        _unescape(rest[1]),
    )


def _device(field: bytes) -> int:
    major, _, minor = field.partition(b":")
    try:
        return os.makedev(int(major), int(minor))
    except OverflowError as exc:
        raise ValueError(f"mountinfo: no device number: {field!r}") from exc


_ESCAPE = pattern(rb"\\([0-3][0-7]{2})")


def _unescape(field: bytes) -> str:
    if b"\\" in field:
        field = _ESCAPE.sub(lambda match: bytes((int(match[1], 8),)), field)
    return os.fsdecode(field)


def parse_own(text: bytes) -> dict[str, str]:
    """Read ``/proc/<pid>/cgroup``: controllers ("cpu,cpuacct", "name=x", "" for cgroup2) to path.

    A path may hold colons.  ValueError.
    """
    own = {}
    for line in text.splitlines():
        fields = line.split(b":", 2)
        if len(fields) != 3:
            raise ValueError(f"/proc/self/cgroup: too few fields in {line[:200]!r}")
        own[os.fsdecode(fields[1])] = os.fsdecode(fields[2])
    return own


class Hierarchy(NamedTuple):
    """One cgroup file system that is mounted where we can reach it."""

    point: str
    own: str
    """Our own cgroup, as a path below `point`."""
    device: int
    """As `os.stat_result.st_dev`."""
    flags: tuple[str, ...] = ()
    """cgroup2: options of the whole hierarchy."""


def find_hierarchies(mounts: Iterable[Mount], own: Mapping[str, str]) -> dict[str, Hierarchy]:
    """Find where each hierarchy of *own* is mounted.

    A mount that shows only a part of its hierarchy counts if we are in that part; cpuset comes
    first, because what joins there has to be seeded before anything joins.
    """
    mounts = list(mounts)
    found = {}
    for key in sorted(own, key=lambda key: ("cpuset" not in key.split(","), key == "")):
        for mount in mounts:
            relative = _below(own[key], mount.root)
            if relative is not None and _carries(mount, key):
                found[key] = Hierarchy(mount.point, relative, mount.device, _flags(mount))
                break
    return found


def _flags(mount: Mount) -> tuple[str, ...]:
    if mount.type != "cgroup2":
        return ()
    return tuple(word for word in mount.super_options.split(",") if word not in {"rw", "ro"})


def _carries(mount: Mount, key: str) -> bool:
    if key == "":
        return mount.type == "cgroup2"
    return mount.type == "cgroup" and set(key.split(",")) <= set(mount.super_options.split(","))


def _below(path: str, root: str) -> str | None:
    """Express *path* from *root* on; None when it is elsewhere."""
    if root == "/":
        return path if path.startswith("/") and not path.startswith("/..") else None
    if path == root:
        return "/"
    return path.removeprefix(root) if path.startswith(root + "/") else None
