"""The files of a cgroup and of those above it, to be read from any thread: nothing is kept open."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from .. import native
from .._aio import OwnedFd
from ..errors import CgroupError
from ..native.calls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV
from ..plan.host import CgroupMode
from .directory import below

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .interface import Cgroup
    from .mounts import Mounts

__all__ = ["CgroupFiles"]

_BENEATH: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
_GONE: Final = (errno.ENOENT, errno.ENODEV)
# Without openat2(2) nothing is read, for a path could lead elsewhere; what lives can still be ended.
_ABSENT: Final = (*_GONE, errno.ENOSYS)
_NOT_SUPPORTED: Final = errno.EOPNOTSUPP
_CHUNK_BYTES: Final = 1 << 14


class CgroupFiles:
    """Reads by controller and file name, wherever the hierarchy of that controller is.

    What is not there, because it is gone or the kernel does not have it, is None: who watches has
    nothing to complain about.  Other failures are CgroupError.
    """

    def __init__(self, mounts: Mounts, mode: CgroupMode, paths: Mapping[str, str], *, home: str = "") -> None:
        """Look in *mounts*, which stay the caller's; *home* is below the cgroup, and has its processes."""
        self.mode = mode
        self.home: str = home
        self._mounts = mounts
        self._paths = {key: path.removeprefix(mounts.point(key)).strip("/") for key, path in paths.items()}

    @classmethod
    def of(cls, cgroup: Cgroup, mounts: Mounts, *, home: str = "") -> CgroupFiles:
        """Return those of *cgroup*, whose processes live in itself, or in *home* below it."""
        return cls(mounts, cgroup.mode, cgroup.paths, home=home)

    def path(self, controller: str) -> str | None:
        """Return the directory below the root of its hierarchy, beginning with "/"; None if there is none."""
        key = self._key(controller)
        return None if key is None else "/" + self._paths[key]

    def has(self, controller: str, file: str) -> bool:
        """Tell whether a file is there."""
        opened = self.open(controller, file)
        if opened is None:
            return False
        opened.close()
        return True

    def read(self, controller: str, file: str, *, up: int = 0) -> bytes | None:
        """Read one file, or that of the cgroup *up* levels above; "" is no controller: the core files."""
        opened = self.open(controller, file, up=up)
        return None if opened is None else _read(opened)

    def open(self, controller: str, file: str, *, up: int = 0, flags: int = os.O_RDONLY) -> OwnedFd | None:
        """Open one file."""
        key = self._key(controller)
        if key is None:
            return None
        names = self._paths[key].split("/")
        path = "/".join((*names[: len(names) - up], file))
        try:
            fd = native.openat2(self._mounts.fd(key), path, flags | os.O_CLOEXEC, resolve=_BENEATH)
        except OSError as exc:
            if exc.errno in _ABSENT:
                return None
            raise CgroupError(f"{self._mounts.point(key)}/{path}", exc.errno or 0) from exc
        return OwnedFd(fd)

    def levels_above(self, controller: str) -> int:
        """Count the cgroups above it that are not the root of all."""
        key = self._key(controller)
        return 0 if key is None else self._paths[key].count("/")

    def read_below(self, controller: str, file: str) -> list[bytes]:
        """Read a file in every cgroup below this one."""
        directory = self.open(controller, ".", flags=os.O_RDONLY | os.O_DIRECTORY)
        found = []
        if directory is not None:
            with directory:
                if os.fstat(directory.fileno()).st_nlink > 2:
                    found = [_read_at(above, f"{name}/{file}") for above, name in below(directory.fileno())]
        return [text for text in found if text is not None]

    def _key(self, controller: str) -> str | None:
        if self.mode is CgroupMode.V1 and controller:
            return next((key for key in self._paths if controller in key.split(",")), None)
        return "" if "" in self._paths else None


def _read_at(dirfd: int, path: str) -> bytes | None:
    try:
        return _read(OwnedFd(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=dirfd)))
    except FileNotFoundError:
        return None


def _read(opened: OwnedFd) -> bytes | None:
    """Read it whole, and close it."""
    with opened as file:
        chunks = []
        try:
            while chunk := os.read(file.fileno(), _CHUNK_BYTES):
                chunks.append(chunk)
        except OSError as exc:
            if exc.errno in (*_GONE, _NOT_SUPPORTED):
                return None
            raise
        return b"".join(chunks)
