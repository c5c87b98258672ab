"""The mounted cgroup file systems: found once, and proven again each time that they are opened."""

from __future__ import annotations

import errno
import functools
import os
import threading
from typing import TYPE_CHECKING, Final

from .. import native
from .._aio import Closing
from ..errors import CgroupError
from ..plan.mountinfo import find_hierarchies, parse_mountinfo, parse_own

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..plan.mountinfo import Hierarchy

__all__ = ["MANAGED", "Mounts", "read_hierarchies", "may_move", "where_is"]

_MOST_FILTERS: Final = 16
"""Most containers share one; the first loaded is given up first."""

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def read_hierarchies() -> dict[str, Hierarchy]:
    """Read where each hierarchy is mounted and where in it we are; cpuset comes first."""
    with open("/proc/self/mountinfo", "rb") as mounts, open("/proc/self/cgroup", "rb") as own:
        return find_hierarchies(
            parse_mountinfo(mounts.read(), types=("cgroup", "cgroup2")), parse_own(own.read())
        )


_known = functools.cache(read_hierarchies)

MANAGED: Final = ("", "name=systemd")
"""Hierarchies in which the service manager has every unit."""


def where_is(pid: int, paths: Mapping[str, str]) -> dict[str, str]:
    """Return *paths*, where the manager decides it corrected to where it has put process *pid*."""
    with open(f"/proc/{pid}/cgroup", "rb") as file:
        own = parse_own(file.read())
    return {
        key: _find(key).point.rstrip("/") + own[key] if key in MANAGED and key in own else path
        for key, path in paths.items()
    }


def may_move(paths: Mapping[str, str]) -> bool:
    """Tell whether we may move a process of ours into that cgroup2 cgroup.

    For that the file of the next cgroup above both must be ours to write.  cgroup-v2.rst "Delegation
    Containment".
    """
    if "" not in paths:
        return True
    own = where_is(os.getpid(), {"": paths[""]})[""]
    above = os.path.commonpath([own, paths[""]])
    return os.access(f"{above}/cgroup.procs", os.W_OK, effective_ids=True)


class Mounts(Closing):
    """One descriptor for each hierarchy, opened when first needed, and device filters once loaded.

    Threads may share it, and containers should.

    What is opened is a cgroup file system, and the right one, when its device number is the one
    that mountinfo gives that hierarchy: each of v1 has its own.  That is what the magic number of
    statfs(2) tells, and which hierarchy it is besides.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fds: dict[str, int] = {}
        self._filters: dict[bytes, int] = {}

    def point(self, key: str) -> str:
        """Return where a hierarchy is mounted; CgroupError."""
        return _find(key).point

    def fd(self, key: str) -> int:
        """Return the root of a hierarchy, still ours; CgroupError."""
        with self._lock:
            if key not in self._fds:
                self._fds[key] = _open(key)
            return self._fds[key]

    def device_filter(self, program: bytes) -> int:
        """Return *program* as the kernel has verified and compiled it, still ours; OSError."""
        with self._lock:
            if program not in self._filters:
                if len(self._filters) == _MOST_FILTERS:
                    os.close(self._filters.pop(next(iter(self._filters))))
                self._filters[program] = native.load_device_filter(program)
            return self._filters[program]

    def close(self) -> None:
        """Close what is open; it can be opened again."""
        with self._lock:
            for opened in (self._fds, self._filters):
                while opened:
                    os.close(opened.popitem()[1])

    def __del__(self) -> None:
        self.close()


def _find(key: str) -> Hierarchy:
    if key not in _known():
        _known.cache_clear()
    try:
        return _known()[key]
    except KeyError:
        raise CgroupError(f"cgroup hierarchy {key!r}", errno.ENODEV) from None


def _open(key: str) -> int:
    """Open the root of one hierarchy; looks again where it is if that has changed."""
    fd = _open_at(_find(key))
    if fd is None:
        _known.cache_clear()
        fd = _open_at(_find(key))
    if fd is None:
        raise CgroupError(_find(key).point, errno.EXDEV)
    return fd


def _open_at(hierarchy: Hierarchy) -> int | None:
    try:
        fd = os.open(hierarchy.point, DIRECTORY)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise CgroupError(hierarchy.point, exc.errno or 0) from exc
    if os.fstat(fd).st_dev == hierarchy.device:
        return fd
    os.close(fd)
    return None
