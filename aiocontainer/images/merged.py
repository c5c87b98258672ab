"""Files of an image as a container sees them, without mounting it: layers hide each other here, too."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from typing import TYPE_CHECKING, Final

from .tree import Path, is_whiteout, open_beneath

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["read_merged"]

_MOST_LINKS: Final = 40  # path_resolution(7)
_OPAQUE: Final = ("trusted.overlay.opaque", "user.overlay.opaque")
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def read_merged(layers: Sequence[int], path: bytes, limit_bytes: int) -> bytes | None:
    """Read a file of the layers, open directories, the topmost first; None where there is none to trust.

    Links are followed as in the container: never out of it.
    """
    todo = deque(part for part in path.split(b"/") if part not in (b"", b"."))
    done: Path = ()
    links = 0
    while todo:
        part = todo.popleft()
        if part == b"..":
            done = done[:-1]
            continue
        found = _find(layers, (*done, part))
        if found is None:
            return None
        layer, seen = found
        if not stat.S_ISLNK(seen.st_mode):
            done = (*done, part)
            continue
        links += 1
        if links > _MOST_LINKS:
            return None
        target = _link_text(layer, (*done, part))
        if target.startswith(b"/"):
            done = ()
        todo.extendleft(reversed([each for each in target.split(b"/") if each not in (b"", b".")]))
    return _content(layers, done, limit_bytes)


def _find(layers: Sequence[int], path: Path) -> tuple[int, os.stat_result] | None:
    """Return the topmost layer that has it; None where none has, or one hides it."""
    for layer in layers:
        for depth in range(1, len(path) + 1):
            seen = _look(layer, path[:depth])
            if seen is None:
                break
            if depth == len(path) and not is_whiteout(seen):
                return layer, seen
            if not stat.S_ISDIR(seen.st_mode):
                return None
        if any(_is_opaque(layer, path[:depth]) for depth in range(1, len(path))):
            return None
    return None


def _look(layer: int, path: Path) -> os.stat_result | None:
    try:
        fd = open_beneath(layer, b"/".join(path), os.O_PATH | os.O_NOFOLLOW)
    except OSError as exc:
        if exc.errno == errno.ELOOP:  # openat2(2) with RESOLVE_NO_SYMLINKS takes no link even by O_PATH
            return _look_at_link(layer, path)
        return None
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _look_at_link(layer: int, path: Path) -> os.stat_result | None:
    try:
        parent = open_beneath(layer, b"/".join(path[:-1]) or b".", os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        return os.lstat(path[-1], dir_fd=parent)
    finally:
        os.close(parent)


def _link_text(layer: int, path: Path) -> bytes:
    parent = open_beneath(layer, b"/".join(path[:-1]) or b".", os.O_PATH | os.O_DIRECTORY)
    try:
        return os.readlink(path[-1], dir_fd=parent)
    finally:
        os.close(parent)


def _is_opaque(layer: int, path: Path) -> bool:
    try:
        fd = open_beneath(layer, b"/".join(path), os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        for name in _OPAQUE:
            with contextlib.suppress(OSError):
                return os.getxattr(fd, name) == b"y"
        return False
    finally:
        os.close(fd)


def _content(layers: Sequence[int], path: Path, limit_bytes: int) -> bytes | None:
    found = _find(layers, path) if path else None
    if found is None or not stat.S_ISREG(found[1].st_mode) or found[1].st_size > limit_bytes:
        return None
    try:
        fd = open_beneath(found[0], b"/".join(path), _FILE)
    except OSError:
        return None
    try:
        return os.read(fd, limit_bytes)
    finally:
        os.close(fd)
