"""The end of one process, by pidfd: no SIGCHLD handler, no child watcher, any number of waiters.

A pidfd becomes readable when its process is a zombie.  Who else waits for every child, or ignores
SIGCHLD, may reap it first; since Linux 6.15 the pidfd knows the status even then.  pidfd_open(2),
waitid(2).
"""

from __future__ import annotations

import asyncio
import select
import signal
import time
from typing import TYPE_CHECKING

from .. import native
from .._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._aio import OwnedFd

__all__ = ["Ended", "Exits"]


class Ended(NamedTuple):
    """One exit: `status` is None where the process was not our child, so that nobody told us."""

    status: native.Exit | None
    at: float
    """`time.time()` when it was noticed."""
    monotonic: float


_made: set[int] = set()
"""Processes that a watch in this process will reap: no pid is used again before."""


class Exits:
    """Watch the process of one pidfd, and own that pidfd, which is closed at the end.

    For this loop's thread alone: hand a duplicate to another.  The status is collected as soon as the
    process ends, also if nobody waits, so no zombie stays.
    """

    def __init__(self, pidfd: OwnedFd, pid: int, *, made: bool = True, reap: bool = True) -> None:
        """Take over *pidfd* of process *pid* and watch it from the running loop until it is readable.

        Not *made* here, it may still be a child of this process: then it is left to be reaped by the
        watch of whoever made it, if there is one.  Without *reap* it stays a zombie, for the process
        that inherits it.
        """
        self._pidfd = pidfd
        self._pid = pid
        self._made = made
        self._reap = reap
        if made:
            _made.add(pid)
        self._loop = asyncio.get_running_loop()
        self._ended: Ended | None = None
        self._done: asyncio.Future[Ended] = self._loop.create_future()
        self._callbacks: list[Callable[[Ended], object]] = []
        self._watching = True
        self._loop.add_reader(pidfd.fileno(), self._readable)

    @property
    def pidfd(self) -> int:
        """The pidfd; ValueError once the process has ended, or this is closed."""
        return self._pidfd.fileno()

    @property
    def ended(self) -> Ended | None:
        """The exit, None while the process lives (or nobody has looked yet)."""
        if self._ended is None and self._watching:
            self._look()
        return self._ended

    async def wait(self) -> Ended:
        """Wait for the end; a cancelled waiter takes nothing from the others."""
        return self._ended if self._ended is not None else await asyncio.shield(self._done)

    def when_ended(self, callback: Callable[[Ended], object]) -> None:
        """Call *callback* before anybody who waits, at once if it is over."""
        if self._ended is not None:
            callback(self._ended)
        else:
            self._callbacks.append(callback)

    def send_signal(self, number: int) -> bool:
        """Send a signal, never to another process; False if this one has ended."""
        if self.ended is not None:
            return False
        try:
            signal.pidfd_send_signal(self._pidfd.fileno(), number)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        """Stop watching and close the pidfd; what was collected stays."""
        self._unwatch()
        self._callbacks.clear()
        self._pidfd.close()
        if not self._done.done():
            self._done.cancel()

    def _readable(self) -> None:
        self._look()

    def _look(self) -> None:
        try:
            reap = self._reap and (self._made or self._pid not in _made)
            status = native.wait_pidfd(self._pidfd.fileno(), reap=reap)
        except ChildProcessError:  # another's child: the pidfd's readability is all there is
            if not _is_readable(self._pidfd.fileno()):
                return
            status = None
        else:
            if status is None:
                return
        self._unwatch()
        self._pidfd.close()  # there is nobody left to signal
        self._ended = Ended(status, time.time(), time.monotonic())
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self._ended)
        if not self._done.done():
            self._done.set_result(self._ended)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            if self._made:
                _made.discard(self._pid)
            if not self._loop.is_closed():
                self._loop.remove_reader(self._pidfd.fileno())


def _is_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
