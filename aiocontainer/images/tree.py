"""Directories of a layer, reached by descriptor: one name at a time, never through a link or a mount."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, TypeAlias

from .. import native
from ..errors import ImageError
from ..native.calls import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV
from .limits import MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES

__all__ = ["WITHIN", "Directories", "Path", "is_whiteout", "open_beneath", "parts_of", "remove_tree"]

Path: TypeAlias = tuple[bytes, ...]
"""Names below the root of a layer; the root itself has none."""

WITHIN: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
_MOST_OPEN: Final = 128


def parts_of(name: bytes) -> Path:
    """Return the names in a path of an archive; `ImageError` for one that leads anywhere but down.

    One that begins with a slash begins at the root of the layer: so all runtimes read it.
    """
    if len(name) > MAX_PATH_BYTES:
        raise ImageError(f"has a path of {len(name)} bytes")
    if b"\0" in name:
        raise ImageError("has a NUL in its name")
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise ImageError("leads upwards")
    if len(parts) > MAX_DEPTH or any(len(part) > MAX_NAME_BYTES for part in parts):
        raise ImageError("has a name that is too long, or lies too deep")
    return parts


def open_beneath(directory: int, name: bytes, flags: int) -> int:
    """Open *name*, or a path of names, in a directory and nowhere else; the caller closes it."""
    return native.openat2(directory, os.fsdecode(name), flags, resolve=WITHIN)


def is_whiteout(found: os.stat_result) -> bool:
    """Whether overlayfs takes it for the absence of a file.  overlayfs.rst."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


class Directories:
    """Open directories below a root, the last ones used; the root stays the caller's."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._open: dict[Path, int] = {}

    def get(self, path: Path) -> int:
        """Return the directory, open as long as no other is asked for; `OSError` as of openat2(2)."""
        if not path:
            return self._root
        known = self._open.get(path)
        if known is not None:
            return known
        if len(self._open) >= _MOST_OPEN:
            self.forget()
        fd = open_beneath(self._root, b"/".join(path), _DIRECTORY)
        self._open[path] = fd
        return fd

    def forget(self) -> None:
        """Close them all: names may lead elsewhere from now on."""
        while self._open:
            os.close(self._open.popitem()[1])


def remove_tree(parent: int, name: bytes) -> None:
    """Remove a directory of a layer and all below it; what is not there is no error.

    Not by recursion: a layer may be deeper than the interpreter's stack.
    """
    way: list[tuple[int, bytes, int]] = []  # parent, name and descriptor of each directory
    try:
        _descend(way, parent, name)
        while way:
            above, own, fd = way[-1]
            deeper = _clear(fd)
            if deeper is not None:
                _descend(way, fd, deeper)
            else:
                way.pop()
                os.close(fd)
                os.rmdir(own, dir_fd=above)
    finally:
        for _, _, fd in way:
            os.close(fd)


def _descend(way: list[tuple[int, bytes, int]], parent: int, name: bytes) -> None:
    fd = _enter(parent, name)
    if fd >= 0:
        way.append((parent, name, fd))


def _enter(parent: int, name: bytes) -> int:
    """Open a directory of which anything may be removed; -1 where there is none."""
    try:
        return open_beneath(parent, name, _DIRECTORY)
    except FileNotFoundError:
        return -1
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        return open_beneath(parent, name, _DIRECTORY)


def _clear(directory: int) -> bytes | None:
    """Remove what is no directory; return the name of one that is, None where none is left."""
    deeper: bytes | None = None
    if not os.fstat(directory).st_mode & stat.S_IWUSR:
        os.fchmod(directory, 0o700)
    for text in os.listdir(directory):
        name = os.fsencode(text)
        try:
            os.unlink(name, dir_fd=directory)
        except OSError as exc:
            if exc.errno not in (errno.EISDIR, errno.EPERM):
                raise
            deeper = name
    return deeper
