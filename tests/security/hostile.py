"""Canaries, and what a hostile root file system is made of."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import shutil
import stat
import struct
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from aiocontainer import ContainerError, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from contextlib import AbstractContextManager

    from aiocontainer import Completed, Runtime

__all__ = [
    "Canary",
    "CanaryError",
    "Race",
    "attempt",
    "digest",
    "fork",
    "links_to",
    "make_link",
    "several",
]

_EVENT = struct.Struct("iIII")  # inotify(7)
_MODIFY, _ATTRIB, _MOVED, _CREATE, _DELETE = 0x2, 0x4, 0xC0, 0x100, 0x200
_NONBLOCK = os.O_NONBLOCK | os.O_CLOEXEC

T = TypeVar("T")
Race: TypeAlias = "Callable[[str, str], AbstractContextManager[Iterator[bool]]]"
"""Type of the fixture `race`."""
Entry = tuple[str, int, int, int, int, tuple[int, int], str]


class CanaryError(AssertionError):
    """Something was done outside the container."""


class Canary:
    """A directory with something of each kind in it, and a watch on it."""

    def __init__(self, path: str) -> None:
        self.path = path
        for name, mode in (("file", 0o600), ("ptmx", 0o600), ("script", 0o755)):
            with open(self / name, "w") as file:
                file.write(f"untouched {name}\n")
            os.chmod(self / name, mode)
        os.mkdir(self / "directory")
        os.mkdir(self / "empty")
        with open(self / "directory/inner", "w") as file:
            file.write("untouched\n")
        os.mknod(self / "node", 0o600 | stat.S_IFCHR, os.makedev(1, 7))
        os.mkfifo(self / "fifo", 0o600)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watch = self._libc.inotify_init1(_NONBLOCK)
        for parent, _, _ in os.walk(path):
            mask = _MODIFY | _ATTRIB | _MOVED | _CREATE | _DELETE
            assert self._libc.inotify_add_watch(self._watch, os.fsencode(parent), mask) >= 0
        self._before = list(self.manifest())

    def __truediv__(self, name: str) -> str:
        return os.path.join(self.path, name)

    def manifest(self) -> Iterator[Entry]:
        """What is there: path, inode, mode, owner, device number, content."""
        for parent, directories, files in os.walk(self.path):
            for name in sorted([".", *directories, *files]):
                path = os.path.normpath(os.path.join(parent, name))
                found = os.lstat(path)
                ids = (found.st_uid, found.st_gid)
                content = digest(path) if stat.S_ISREG(found.st_mode) else ""
                yield path, found.st_ino, found.st_mode, *ids, (found.st_rdev, found.st_size), content

    def events(self) -> list[tuple[str, int]]:
        """What happened in it meanwhile, by name and kind."""
        try:
            data = os.read(self._watch, 65536)
        except BlockingIOError:
            return []
        found, at = [], 0
        while at < len(data):
            _, mask, _, size = _EVENT.unpack_from(data, at)
            at += _EVENT.size + size
            found.append((data[at - size : at].rstrip(b"\0").decode(), mask))
        return found

    def accept(self) -> None:
        """Take everything as it is now for what it was at first."""
        self.events()
        self._before = list(self.manifest())

    def check(self) -> None:
        """Fail unless nothing has happened."""
        events = self.events()
        os.close(self._watch)
        differences = set(self._before) ^ set(self.manifest())
        if events or differences:
            raise CanaryError(f"{sorted(differences)}, {events}")


def fork() -> int:
    """Fork although there are threads: the child does nothing that could need a lock of theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def links_to(target: str, rootfs: str, name: str) -> Iterator[str]:
    """Make the name a link to a path of the host, in every way; yield once for each."""
    path = os.path.join(rootfs, name)
    up = "../" * (path.count("/") + 2)
    for kind, text in (
        ("absolute", target),
        ("relative", up + target.lstrip("/")),
        ("chained", "/chain-1"),
    ):
        make_link(text, path)
        if kind == "chained":
            make_link("chain-2", os.path.join(rootfs, "chain-1"))
            make_link(target, os.path.join(rootfs, "chain-2"))
        yield kind


def make_link(text: str, path: str) -> None:
    """Make a link, in the place of what is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    os.symlink(text, path)


async def several(work: Iterable[Coroutine[Any, Any, T]], at_once: int = 8) -> list[T]:
    """Do them all, a few at a time; their results in order."""
    limit = asyncio.Semaphore(at_once)

    async def one(each: Coroutine[Any, Any, T]) -> T:
        async with limit:
            return await each

    return await asyncio.gather(*map(one, work))


async def attempt(runtime: Runtime, spec: Spec) -> Completed | ContainerError:
    """Run it; the error if it was refused, which has to be one of ours."""
    try:
        return await runtime.run(spec, timeout_s=20)
    except ContainerError as exc:
        return exc
