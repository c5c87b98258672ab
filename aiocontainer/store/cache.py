"""Bytes that are expensive to make, by their digest: a directory of ours that may be removed at any time."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from .._digest import sha256
from ..errors import ContainerError
from .files import DIRECTORY, check_root, closing, make_root, read_old, write_new

__all__ = ["Cache", "default_cache"]

_MOST: Final = 256
_DIGEST_SIZE: Final = sha256().digest_size


def default_cache(program: str = "aiocontainer") -> str:
    """Where the cache goes: beside root's default state, or in ``$XDG_CACHE_HOME`` of an ordinary user.

    Root's does not follow the environment, which may be that of whoever became root.
    """
    if os.geteuid() == 0:
        return f"/run/{program}-cache"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.cache"), program)


class Cache:
    """Entries by name.  Whatever is wrong with it, it is as if it were empty.

    An entry is taken only from a file that is ours, that nobody else may write, and that holds what was
    written: a program of another length or with another digest is none.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def get(self, name: str, limit_bytes: int) -> bytes | None:
        """Return an entry, or None."""
        with contextlib.suppress(OSError, ContainerError), closing(self._open()) as fd:
            data = read_old(fd, name, f"{self._path}/{name}", limit_bytes + _DIGEST_SIZE)
            if data is not None and _digest(name, data[_DIGEST_SIZE:]) == data[:_DIGEST_SIZE]:
                return data[_DIGEST_SIZE:]
        return None

    def put(self, name: str, data: bytes) -> None:
        """Keep an entry, and forget the oldest if there are many."""
        with contextlib.suppress(OSError, ContainerError):
            make_root(self._path)
            with closing(self._open()) as fd:
                temporary = f".{os.urandom(8).hex()}"
                try:
                    write_new(fd, temporary, _digest(name, data) + data)
                    os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=fd)
                    raise
                _trim(fd)

    def _open(self) -> int:
        fd = os.open(self._path, DIRECTORY)
        try:
            check_root(fd, self._path)
        except BaseException:
            os.close(fd)
            raise
        return fd


def _digest(name: str, data: bytes) -> bytes:
    return sha256(name.encode() + b"\0" + data).digest()


def _trim(fd: int) -> None:
    names = os.listdir(fd)
    if len(names) <= _MOST:
        return
    age = {name: os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime_ns for name in names}
    for name in sorted(names, key=age.__getitem__)[:-_MOST]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)
