"""Reading the accounting files of a cgroup: each once, missing ones told apart from a cgroup that is gone."""

from __future__ import annotations

import errno
import functools
import os
import resource
import threading
from typing import TYPE_CHECKING, Any, Final

from ..._aio import Closing, OwnedFd
from ...errors import CgroupError
from . import v1, v2
from .text import MalformedError, Texts
from .values import CgroupStats, PidsStats, StatsMask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..directory import Directory
    from .parts import Part

__all__ = ["KeptFiles", "Reading", "collect", "parts1", "parts2", "read_stats"]

_CHUNK_BYTES: Final = 1 << 16
_CGROUP_PARTS: Final = StatsMask.ALL & ~(StatsMask.NET | StatsMask.RDT)


@functools.cache
def _sizes() -> tuple[str, ...]:
    return v2.huge_page_sizes()


@functools.cache
def parts1() -> tuple[Part, ...]:
    """Return the parts of v1 on this machine."""
    return v1.parts(_sizes())


@functools.cache
def parts2() -> tuple[Part, ...]:
    """Return the parts of v2 on this machine."""
    return v2.parts(_sizes())


class Reading:
    """The files of one reading; *find* says in which directory a file would be."""

    def __init__(self, find: Callable[[str], Directory | None], kept: KeptFiles | None = None) -> None:
        self._find = find
        self._kept = kept
        self._texts: dict[str, bytes | None] = {}
        self._lacking: set[Directory] = set()

    def __call__(self, file: str) -> bytes | None:
        """Return the text of a file, None where there is none, in the end also of a cgroup; CgroupError."""
        try:
            return self._texts[file]
        except KeyError:
            text = self._texts[file] = self._read(file)
            return text

    def path(self, file: str) -> str:
        """Return where a file is."""
        directory = self._find(file)
        return f"{directory.path}/{file}" if directory is not None else file

    def _read(self, file: str) -> bytes | None:
        directory = self._find(file)
        if directory is None:
            return None
        try:
            return directory.read(file) if self._kept is None else self._kept.read(directory, file)
        except CgroupError as exc:
            # A kernel that was told to account no pressure has the files all the same.
            if exc.errno == errno.EOPNOTSUPP and file.endswith(".pressure"):
                return None
            # ENODEV is a file of a cgroup that was removed.
            if exc.errno != errno.ENOENT:
                raise
            self._lacking.add(directory)
            return None

    def finish(self) -> None:
        """Raise CgroupError if it was the cgroup that was missing, and not some of its files.

        It may go between one file and the next: what is there in the end was there all the time.
        """
        for directory in self._lacking:
            if not directory.exists():
                raise CgroupError(directory.path, errno.ENOENT)


class KeptFiles(Closing):
    """Descriptors of files that are read again and again, until `close`.

    Reading at an open one takes a quarter of the time.  All in this process together hold no more than a
    quarter of the descriptors that it may have; beyond that, files are opened each time.  For one thread
    at a time.
    """

    def __init__(self) -> None:
        self._fds: dict[tuple[str, str], OwnedFd] = {}

    def read(self, directory: Directory, file: str) -> bytes:
        """Read a file whole; CgroupError."""
        fd = self._fds.get((directory.path, file))
        if fd is None:
            if not _budget.take():
                return directory.read(file)
            try:
                fd = self._fds[directory.path, file] = OwnedFd(directory.open_to_read(file))
            except BaseException:
                _budget.give(1)
                raise
        try:
            return _read_whole(fd.fileno())
        except OSError as exc:
            raise CgroupError(f"{directory.path}/{file}", exc.errno or 0) from exc

    def close(self) -> None:
        """Close them; they can be opened again."""
        count = len(self._fds)
        while self._fds:
            self._fds.popitem()[1].close()
        _budget.give(count)

    def __len__(self) -> int:
        return len(self._fds)

    def __del__(self) -> None:
        self.close()


class _Budget:
    """How many descriptors are kept in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = 0

    def take(self) -> bool:
        """Count one more, if it may be had."""
        with self._lock:
            if self._held >= self.most():
                return False
            self._held += 1
            return True

    def give(self, count: int) -> None:
        """Count *count* fewer."""
        with self._lock:
            self._held -= count

    @staticmethod
    def most() -> int:
        """Return a quarter of what this process may open, as it is now."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4


_budget = _Budget()


def collect(layouts: Iterable[tuple[tuple[Part, ...], Reading]], mask: StatsMask) -> dict[str, Any]:
    """Read the parts of *mask*, each from the first of *layouts* that has it; fields of `CgroupStats`."""
    fields: dict[str, Any] = {}
    there = StatsMask(0)
    for parts, reading in layouts:
        texts = Texts(reading)
        for part in parts:
            wanted = part.mask in mask and part.mask not in there
            if wanted and any(texts.has(file) for file in part.signs):
                fields[part.field] = _parse(part, texts, reading)
                there |= part.mask
        reading.finish()
    return {**fields, "parts": there}


def _parse(part: Part, texts: Texts, reading: Reading) -> object:
    try:
        return part.parse(texts)
    except MalformedError as exc:
        reading.finish()
        raise CgroupError(reading.path(exc.file), errno.EBADMSG) from exc


def read_stats(
    version: int,
    layouts: Iterable[tuple[tuple[Part, ...], Reading]],
    mask: StatsMask,
    pids: Callable[[], list[int]],
) -> CgroupStats:
    """Read the parts of *mask*; without their controller, processes are counted as *pids* lists them."""
    fields = collect(layouts, mask & _CGROUP_PARTS)
    if StatsMask.PIDS in mask and StatsMask.PIDS not in fields["parts"]:
        fields["pids"] = PidsStats(current=len(pids()))
        fields["parts"] |= StatsMask.PIDS
    return CgroupStats(version=version, **fields)


def _read_whole(fd: int) -> bytes:
    """Read from the beginning; a file of kernfs that fits into the buffer comes in one piece."""
    text = os.pread(fd, _CHUNK_BYTES, 0)
    if len(text) < _CHUNK_BYTES:
        return text
    chunks = [text]
    while text := os.pread(fd, _CHUNK_BYTES, sum(map(len, chunks))):
        chunks.append(text)
    return b"".join(chunks)
