"""What every cgroup2 directory can do, be it the whole story (v2) or only beside v1 (hybrid)."""

from __future__ import annotations

import errno
import os
import select
import time
from typing import TYPE_CHECKING, Final

from .._aio import Closing
from ..errors import CgroupError
from .parse import parse_keyed

if TYPE_CHECKING:
    from .directory import Directory

__all__ = [
    "Emptying",
    "can_freeze",
    "delegate",
    "freeze",
    "is_frozen",
    "join_threads",
    "kill",
    "oom_kills",
    "thaw",
]

_FREEZE_S: Final = 10.0
_GONE: Final = (errno.ENOENT, errno.ENODEV)
_DELEGATE: Final = "/sys/kernel/cgroup/delegate"
_DELEGATED: Final = ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control")
"""What that file says on kernels before 4.15, which have none."""


def kill(directory: Directory) -> bool:
    """Kill everything in it and below it at once, frozen or not.

    False on kernels before 5.14, and where it is threaded: then there are no whole processes in it.
    """
    try:
        return _write_if_there(directory, "cgroup.kill", "1")
    except CgroupError as exc:
        if exc.errno == errno.EOPNOTSUPP:
            return False
        raise


def join_threads(directory: Directory) -> None:
    """Make it part of the threaded subtree below which it was made; otherwise nothing could be in it.

    cgroup-v2.rst "Threads": a new cgroup there is "domain invalid" until then.
    """
    if directory.read("cgroup.type").strip() == b"domain invalid":
        directory.write("cgroup.type", "threaded")


def delegate(directory: Directory, uid: int) -> None:
    """Give a user the directory and the files that the kernel lists for that.  cgroup-v2.rst "Delegation"."""
    try:
        with open(_DELEGATE, "rb") as file:
            names = os.fsdecode(file.read()).split()
    except FileNotFoundError:
        names = [*_DELEGATED]
    directory.chown(uid, (name for name in names if "/" not in name))


def oom_kills(directory: Directory) -> int:
    """Return how often the kernel killed in it, and below it, for want of memory.  cgroup-v2.rst."""
    try:
        return parse_keyed(directory.read("memory.events")).get("oom_kill", 0)
    except CgroupError as exc:
        if exc.errno in _GONE:
            return 0
        raise


def can_freeze(directory: Directory) -> bool:
    """Tell whether the kernel has ``cgroup.freeze``, Linux 5.2, and the directory is there."""
    try:
        os.close(directory.open_to_read("cgroup.freeze"))
    except CgroupError as exc:
        if exc.errno in _GONE:
            return False
        raise
    return True


def freeze(directory: Directory) -> None:
    """Freeze it, and wait until everything in it stands still; CgroupError(ETIMEDOUT), thawed again."""
    fd = directory.open_to_read("cgroup.events")
    try:
        directory.write("cgroup.freeze", "1")
        _await_frozen(fd, f"{directory.path}/cgroup.events")
    except BaseException:
        thaw(directory)
        raise
    finally:
        os.close(fd)


class Emptying(Closing):
    """Waits for a cgroup to become empty: "populated 0" in its events.  cgroup-v2.rst.

    The kernel tells of it once in 10 ms at most, so a first wait should be a short one.  Where there is
    no such file (v1 alone, or it is gone) it only sleeps.
    """

    def __init__(self, directory: Directory | None) -> None:
        self._fd = _open_events(directory)
        self._told = False

    def wait(self, most_s: float) -> None:
        """Return when it has become empty, or after *most_s* seconds.

        Empty and still there, it has to be waited for by time: the kernel is not done with it.
        """
        if self._fd is None or self._told or self._is_empty(self._fd):
            time.sleep(most_s)
            return
        poll = select.poll()
        poll.register(self._fd, select.POLLPRI)
        poll.poll(most_s * 1000)

    def _is_empty(self, fd: int) -> bool:
        try:
            self._told = not parse_keyed(os.pread(fd, 4096, 0)).get("populated")
        except OSError as exc:
            if exc.errno not in _GONE:
                raise
            self._told = True
        return self._told

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _open_events(directory: Directory | None) -> int | None:
    if directory is None:
        return None
    try:
        return directory.open_to_read("cgroup.events")
    except CgroupError as exc:
        if exc.errno in _GONE:
            return None
        raise


def _await_frozen(events: int, path: str) -> None:
    """Wait for "frozen 1": a change of the file wakes poll(2) with POLLPRI.  cgroup-v2.rst."""
    deadline = time.monotonic() + _FREEZE_S
    poll = select.poll()
    poll.register(events, select.POLLPRI)
    while not parse_keyed(os.pread(events, 4096, 0)).get("frozen"):
        if time.monotonic() >= deadline:
            raise CgroupError(path, errno.ETIMEDOUT)
        poll.poll(100)


def thaw(directory: Directory) -> None:
    """Let it run again; no error when it is gone or cannot freeze."""
    _write_if_there(directory, "cgroup.freeze", "0")


def is_frozen(directory: Directory) -> bool:
    """Tell whether it, or one above it, was told to freeze; False when it is gone."""
    try:
        if directory.read("cgroup.freeze").strip() == b"1":
            return True
        return bool(parse_keyed(directory.read("cgroup.events")).get("frozen"))
    except CgroupError as exc:
        if exc.errno in _GONE:
            return False
        raise


def _write_if_there(directory: Directory, file: str, value: str) -> bool:
    try:
        directory.write(file, value)
    except CgroupError as exc:
        if exc.errno in _GONE:
            return False
        raise
    return True
