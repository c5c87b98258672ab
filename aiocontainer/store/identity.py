"""Who a process is: numbers are given again, start times and pidfds are not."""

from __future__ import annotations

import functools
import os
from typing import Final

from .._tuples import NamedTuple
from .living import boot_id, open_living, parse_stat, read_stat

__all__ = ["Identity", "boot_id", "identify", "namespace_inodes", "open_process", "parse_stat"]


class Identity(NamedTuple):
    """Tells a process from every other that had or will have the same number."""

    pid: int
    starttime: int
    boot_id: str
    pidfd_inode: int = 0


def identify(pid: int, pidfd: int) -> Identity:
    """Tell who the process is that *pidfd* holds, whose number is *pid*; not yet reaped."""
    return Identity(pid, read_stat(pid)[1], boot_id(), os.fstat(pidfd).st_ino)


def open_process(identity: Identity) -> int | None:
    """Open a pidfd of that very process, the caller's to close; None when it has ended or is a zombie."""
    return open_living(identity.pid, identity.starttime, identity.boot_id, identity.pidfd_inode)


_NAMESPACE_FILES: Final = (
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("time", "time"),
    ("user", "user"),
    ("uts", "uts"),
)


def namespace_inodes(pid: int) -> dict[str, int]:
    """Map OCI name to inode, for each namespace that process *pid* is in."""
    fd = os.open(f"/proc/{pid}/ns", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return {name: os.stat(file, dir_fd=fd).st_ino for name, file in _namespace_files()}
    finally:
        os.close(fd)


@functools.cache
def _namespace_files() -> tuple[tuple[str, str], ...]:
    """Those that this kernel has."""
    return tuple(each for each in _NAMESPACE_FILES if os.path.exists(f"/proc/self/ns/{each[1]}"))
