"""Who a process is: numbers are given again, start times and pidfds are not."""

from __future__ import annotations

import errno
import functools
import os
from typing import Final, NamedTuple

from ..errors import UnsupportedError

__all__ = ["Identity", "boot_id", "identify", "namespace_inodes", "open_process", "parse_stat"]


class Identity(NamedTuple):
    """Tells a process from every other that had or will have the same number."""

    pid: int
    starttime: int
    boot_id: str
    pidfd_inode: int = 0


@functools.cache
def boot_id() -> str:
    """Name this boot of the machine: random(4)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def parse_stat(text: bytes) -> tuple[str, int]:
    """Find state letter and start time in ``/proc/<pid>/stat``.

    The command's name stands between the first "(" and the last ")" and may hold anything.
    """
    fields = text[text.rindex(b")") + 1 :].split()
    return fields[0].decode("ascii"), int(fields[19])


def identify(pid: int, pidfd: int) -> Identity:
    """Tell who the process is that *pidfd* holds, whose number is *pid*; not yet reaped."""
    return Identity(pid, _read_stat(pid)[1], boot_id(), os.fstat(pidfd).st_ino)


def open_process(identity: Identity) -> int | None:
    """Open a pidfd of that very process, the caller's to close; None when it has ended or is a zombie.

    The pidfd is opened first: what is compared afterwards is then the process that it holds, or one
    that came when that had ended, and such a pidfd reaches nobody.
    """
    if identity.pid <= 0 or identity.boot_id != boot_id():
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError as exc:
        if exc.errno == errno.ENOSYS:  # an old kernel, or a filter
            raise UnsupportedError("telling processes apart", needs="pidfd_open(2): Linux 5.3") from exc
        # ESRCH: nobody; EINVAL, ENOENT: now the number of a thread.
        if exc.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        raise
    if _is_that(pidfd, identity):
        return pidfd
    os.close(pidfd)
    return None


def _is_that(pidfd: int, identity: Identity) -> bool:
    if identity.pidfd_inode not in (0, os.fstat(pidfd).st_ino):
        return False
    try:
        letter, starttime = _read_stat(identity.pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return starttime == identity.starttime and letter not in "ZXx"


def _read_stat(pid: int) -> tuple[str, int]:
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return parse_stat(os.read(fd, 4096))
    finally:
        os.close(fd)


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
