"""Whether a process that was written down is still there.  Light: the shortest commands need no more."""

from __future__ import annotations

import errno
import os

__all__ = ["boot_id", "open_living", "parse_stat", "read_stat"]

_known_boot = ""


def boot_id() -> str:
    """Name this boot of the machine: random(4)."""
    global _known_boot
    if not _known_boot:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _known_boot = os.read(fd, 64).decode("ascii").strip()
        finally:
            os.close(fd)
    return _known_boot


def parse_stat(text: bytes) -> tuple[str, int]:
    """Find state letter and start time in ``/proc/<pid>/stat``.

    The command's name stands between the first "(" and the last ")" and may hold anything.
    """
    fields = text[text.rindex(b")") + 1 :].split()
    return fields[0].decode("ascii"), int(fields[19])


def open_living(pid: int, starttime: int, boot: str, pidfd_inode: int) -> int | None:
    """Open a pidfd of that very process, the caller's to close; None when it has ended or is a zombie.

    The pidfd is opened first: what is compared afterwards is then the process that it holds, or one
    that came when that had ended, and such a pidfd reaches nobody.
    """
    if pid <= 0 or boot != boot_id():
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as exc:
        if exc.errno == errno.ENOSYS:  # an old kernel, or a filter
            from ..errors import UnsupportedError  # takes longer to load than a look at a container

            raise UnsupportedError("telling processes apart", needs="pidfd_open(2): Linux 5.3") from exc
        # ESRCH: nobody; EINVAL, ENOENT: now the number of a thread.
        if exc.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        raise
    if _is_that(pidfd, pid, starttime, pidfd_inode):
        return pidfd
    os.close(pidfd)
    return None


def _is_that(pidfd: int, pid: int, expected: int, inode: int) -> bool:
    if inode not in (0, os.fstat(pidfd).st_ino):
        return False
    try:
        letter, starttime = read_stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return starttime == expected and letter not in "ZXx"


def read_stat(pid: int) -> tuple[str, int]:
    """Read state letter and start time of a process."""
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return parse_stat(os.read(fd, 4096))
    finally:
        os.close(fd)
