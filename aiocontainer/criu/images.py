"""Directories of images, and the few files in them that we read and write ourselves.  All calls block.

What is read here may have been written by anybody: nothing is followed, and little is believed.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

import msgspec

from .._aio import OwnedFd
from ..errors import CriuError, SpecError
from .messages import DumpStats, RestoreStats, decode_tally

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Directories",
    "error_lines",
    "give_images",
    "read_descriptors",
    "write_descriptors",
    "written_bytes",
]

_DESCRIPTORS: Final = "descriptors.json"
_PARENT: Final = "parent"
_MAX_PARENTS: Final = 1024
_MAX_DESCRIPTORS: Final = 64 * 1024
_MAX_LOG: Final = 4 << 20
_LEAD_IN: Final = 5
_MAX_LINES: Final = 200
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Directories:
    """Where images are, and where logs go: opened once, and named by these descriptors from then on."""

    def __init__(self, images: str, work: str | None, *, make: bool) -> None:
        """Open them; with *make* they are made where they are missing, for us alone; `SpecError`."""
        self.images: OwnedFd = _open(images, "images", make=make)
        try:
            self.work: OwnedFd = _open(work, "work", make=True) if work is not None else self.images
        except BaseException:
            self.images.close()
            raise

    def check_parent(self, parent: str) -> None:
        """`SpecError` unless *parent* is a directory, seen from the images."""
        try:
            found = os.stat(parent, dir_fd=self.images.fileno())
        except OSError as exc:
            raise SpecError(f"{parent}: {exc.strerror}", origin="parent") from exc
        if not stat.S_ISDIR(found.st_mode):
            raise SpecError(f"{parent} is not a directory", origin="parent")

    def error(self, operation: str, problem: str, log: str, output: Sequence[str] = ()) -> CriuError:
        """Return the error with what the log says of it, or else CRIU's own output."""
        data = _read(self.work, log, _MAX_LOG, tail=True) or b""
        return CriuError(operation, problem, error_lines(data) or output)

    def stats(self) -> tuple[DumpStats, RestoreStats]:
        """Return what CRIU has counted."""
        dump, restore = (_read(self.work, f"stats-{kind}", 4096) or b"" for kind in ("dump", "restore"))
        return decode_tally(dump)[0], decode_tally(restore)[1]

    def close(self) -> None:
        """Close them."""
        self.work.close()
        self.images.close()


def _open(path: str, origin: str, *, make: bool) -> OwnedFd:
    try:
        if make:
            os.makedirs(path, 0o700, exist_ok=True)
        return OwnedFd(os.open(path, _DIRECTORY))
    except OSError as exc:
        raise SpecError(f"{path}: {exc.strerror}", origin=origin) from exc


def _read(directory: OwnedFd, name: str, limit_bytes: int, *, tail: bool = False) -> bytes | None:
    """Read a regular file; its end where it is too long and *tail*, else nothing of it."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = OwnedFd(os.open(name, flags, dir_fd=directory.fileno()))
    except OSError:
        return None
    with file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or (found.st_size > limit_bytes and not tail):
            return None
        return os.pread(file.fileno(), limit_bytes, max(0, found.st_size - limit_bytes))


def error_lines(log: bytes) -> list[str]:
    """Return the lines of a log that say Error, each with up to five before it."""
    lines = log.decode(errors="backslashreplace").splitlines()
    wanted = set[int]()
    for index, line in enumerate(lines):
        if "Error" in line:
            wanted.update(range(max(0, index - _LEAD_IN), index + 1))
    return [lines[index] for index in sorted(wanted)][-_MAX_LINES:]


def write_descriptors(images: OwnedFd, keys: Sequence[str]) -> None:
    """Note where descriptors 0 to 2 led, for whoever restores."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with OwnedFd(os.open(_DESCRIPTORS, flags, 0o600, dir_fd=images.fileno())) as file:
        os.write(file.fileno(), msgspec.json.encode(list(keys)))


def give_images(images: OwnedFd, uid: int) -> None:
    """Let the root of a user namespace read images, and those that they build upon: CRIU reads them as that.

    Directories and files that are not open to all anyway get this owner; never one with another name.
    """
    here = OwnedFd(os.dup(images.fileno()))
    for _ in range(_MAX_PARENTS):
        with here:
            _give(here, uid)
            try:
                here = OwnedFd(os.open(_PARENT, _DIRECTORY, dir_fd=here.fileno()))
            except OSError:
                return


def _give(directory: OwnedFd, uid: int) -> None:
    fd = directory.fileno()
    if os.fstat(fd).st_mode & 0o005 != 0o005:
        os.chown(fd, uid, -1)
    with os.scandir(fd) as entries:
        for entry in entries:
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and not found.st_mode & 0o004:
                os.chown(entry.name, uid, -1, dir_fd=fd, follow_symlinks=False)


def read_descriptors(images: OwnedFd) -> list[str]:
    """Return where descriptors 0 to 2 led, nothing where that was not noted; `SpecError`."""
    data = _read(images, _DESCRIPTORS, _MAX_DESCRIPTORS)
    if data is None:
        return []
    try:
        return msgspec.json.decode(data, type=list[str])[:3]
    except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
        raise SpecError(f"{_DESCRIPTORS}: {exc}", origin="images") from exc


def written_bytes(images: OwnedFd) -> int:
    """Return how much memory is in the images."""
    total = 0
    with os.scandir(images.fileno()) as entries:
        for entry in entries:
            if entry.name.startswith("pages-"):
                total += entry.stat(follow_symlinks=False).st_size
    return total
