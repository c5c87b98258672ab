"""What every cgroup2 directory can do, be it the whole story (v2) or only beside v1 (hybrid)."""

from __future__ import annotations

import errno
import os
import select
import time
from typing import TYPE_CHECKING, Final

from ..errors import CgroupError
from .parse import parse_keyed

if TYPE_CHECKING:
    from .directory import Directory

__all__ = ["can_freeze", "freeze", "is_frozen", "kill", "thaw"]

_FREEZE_S: Final = 10.0
_GONE: Final = (errno.ENOENT, errno.ENODEV)


def kill(directory: Directory) -> bool:
    """Kill everything in it and below it at once, frozen or not; False on kernels before 5.14."""
    return _write_if_there(directory, "cgroup.kill", "1")


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
