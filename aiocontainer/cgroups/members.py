"""Signalling the processes of a cgroup so that no other process can be hit."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["signal_members"]

_BATCH: Final = 256
"""How many pidfds are held at once."""


def signal_members(pids: Callable[[], list[int]], number: int) -> int:
    """Send a signal to each process that *pids* lists; returns how many got it.

    A number that is listed *after* its pidfd was opened is that process's, or the process has ended
    since and the signal reaches nobody.  We ourselves are left out.
    """
    members = [pid for pid in pids() if pid != os.getpid()]
    return sum(
        _signal_batch(members[start : start + _BATCH], pids, number)
        for start in range(0, len(members), _BATCH)
    )


def _signal_batch(members: Sequence[int], pids: Callable[[], list[int]], number: int) -> int:
    held: dict[int, int] = {}
    try:
        for pid in members:
            pidfd = _open(pid)
            if pidfd is not None:
                held[pid] = pidfd
        return sum(_send(held[pid], number) for pid in pids() if pid in held)
    finally:
        for pidfd in held.values():
            os.close(pidfd)


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError as exc:
        # Gone; or, from cgroup.threads, a thread that does not lead its process.
        if exc.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        raise


def _send(pidfd: int, number: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True
