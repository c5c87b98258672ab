"""The files that an image is kept in: a directory, or an archive of one, read by position."""

from __future__ import annotations

import errno
import os
import stat
from abc import abstractmethod
from typing import Final

from .. import native
from .._aio import Closing, OwnedFd
from ..errors import ImageError, NotFoundError, UnsupportedError
from ..native.calls import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS
from .archive import Archive
from .headers import shown
from .limits import MAX_DOCUMENT_BYTES, Limits
from .tree import parts_of

__all__ = ["Files", "Piece", "open_files"]

# Not blocking: there may be a fifo.
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK: Final = 1 << 18
_MOST_LINKS: Final = 8
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")


class Piece(Closing):
    """A file of the image, or that part of an archive; `read` goes through it once."""

    def __init__(self, file: OwnedFd, at: int, size: int) -> None:
        self._file = file
        self._at = at
        self._end = at + size
        self.size: int = size

    def read(self, size: int) -> bytes:
        """Return at most so many bytes, and none at the end."""
        data = os.pread(self._file.fileno(), min(size, self._end - self._at), self._at)
        self._at += len(data)
        return data

    def whole(self) -> bytes:
        """Return all of a document; `ImageError` if it is too large for one."""
        if self.size > MAX_DOCUMENT_BYTES:
            raise ImageError(f"is a document of {self.size} bytes, at most {MAX_DOCUMENT_BYTES}")
        parts = []
        while data := self.read(_CHUNK):
            parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        """Close it; a second call does nothing."""
        self._file.close()


class Files(Closing):
    """Files by their path in the image."""

    path: str

    @abstractmethod
    def open(self, name: str) -> Piece:
        """Open a file; `ImageError` where there is none."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is one."""

    def document(self, name: str) -> bytes:
        """Read a small file whole."""
        with self.open(name) as piece:
            return piece.whole()


def open_files(path: str, limits: Limits) -> Files:
    """Open a directory or an archive; `NotFoundError`, `ImageError`."""
    try:
        file = OwnedFd(os.open(path, _READ))
    except FileNotFoundError:
        raise NotFoundError(path) from None
    except OSError as exc:
        raise ImageError(exc.strerror or "", path=path) from exc
    try:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            return _Directory(path, file)
        if not stat.S_ISREG(mode):
            raise ImageError("is neither a directory nor an archive", path=path)
        return _Archived(path, file, limits)
    except ImageError as exc:
        file.close()
        exc.path = path
        raise
    except BaseException:
        file.close()
        raise


class _Directory(Files):
    """Reaches nothing outside of it, wherever links in it lead."""

    def __init__(self, path: str, directory: OwnedFd) -> None:
        self.path = path
        self._directory = directory

    def _open(self, name: str) -> OwnedFd:
        resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
        relative = os.fsdecode(b"/".join(parts_of(os.fsencode(name))))
        return OwnedFd(native.openat2(self._directory.fileno(), relative, _READ, resolve=resolve))

    def open(self, name: str) -> Piece:
        try:
            file = self._open(name)
        except OSError as exc:
            reason = "leads outside of the image" if exc.errno == errno.EXDEV else exc.strerror
            raise ImageError(f"{name}: {reason}", path=self.path) from exc
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            file.close()
            raise ImageError(f"{name}: is no file", path=self.path)
        return Piece(file, 0, found.st_size)

    def has(self, name: str) -> bool:
        try:
            self._open(name).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._directory.close()


class _Archived(Files):
    """Knows where in the archive each file is."""

    def __init__(self, path: str, file: OwnedFd, limits: Limits) -> None:
        self.path = path
        self._file = file
        self._places: dict[tuple[bytes, ...], tuple[int, int] | bytes] = {}
        """Offset and size, or where a link leads, from the root of the archive."""
        head = os.pread(file.fileno(), 8, 0)
        if head.startswith(_COMPRESSED):
            raise UnsupportedError(
                "an image in a compressed archive", needs="gunzip, or the like, before", origin=path
            )
        self._survey(limits)

    def _survey(self, limits: Limits) -> None:
        whole = os.fstat(self._file.fileno()).st_size
        at = 0

        def read(size: int) -> bytes:
            nonlocal at
            data = os.pread(self._file.fileno(), size, at)
            at += len(data)
            return data

        def pass_over(size: int) -> None:
            nonlocal at
            at += size
            if at > whole:
                raise ImageError("ends in the middle")

        bounds = Limits(entries=limits.members, file_bytes=limits.layer_bytes)
        archive = Archive(read, bounds, pass_over=pass_over)
        for entry in archive:
            parts = parts_of(entry.name)
            if entry.kind == "directory":
                continue
            if parts in self._places:
                raise ImageError("is in the archive twice", entry=shown(entry.name))
            if entry.kind == "file" and entry.segments is None:
                self._places[parts] = (archive.offset, entry.stored)
            elif entry.kind == "symlink":
                self._places[parts] = b"/".join((*parts[:-1], entry.link))
            elif entry.kind == "link":
                self._places[parts] = entry.link

    def _place(self, name: str) -> tuple[int, int] | None:
        path = os.fsencode(name)
        for _ in range(_MOST_LINKS):
            found = self._places.get(_lexical(path))
            if not isinstance(found, bytes):
                return found
            path = found
        return None

    def open(self, name: str) -> Piece:
        place = self._place(name)
        if place is None:
            raise ImageError(f"has no file {name}", path=self.path)
        return Piece(OwnedFd(os.dup(self._file.fileno())), *place)

    def has(self, name: str) -> bool:
        return self._place(name) is not None

    def close(self) -> None:
        self._file.close()


def _lexical(path: bytes) -> tuple[bytes, ...]:
    """Return the names of a path; ``..`` goes up in the archive, and not out of it."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return tuple(parts)
