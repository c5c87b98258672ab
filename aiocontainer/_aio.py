"""Asyncio pieces that every room may use: finishing under cancellation, fd ownership, thread hops.

Nothing here knows about containers.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import functools
import os
import queue
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

__all__ = ["Closing", "OwnedFd", "finish", "in_background", "in_thread", "outlast", "undo"]

T = TypeVar("T")


async def finish(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run *work* to its end whatever cancels us meanwhile, then let that cancellation go on.

    If *work* fails after a cancellation, the cancellation wins and carries the failure as a note.
    """
    return await outlast(asyncio.ensure_future(work()))


async def outlast(future: asyncio.Future[T]) -> T:
    """Wait for *future* as `finish` does; it is nobody's to cancel."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        # Not by asyncio.wait or shield, which make three more objects and a turn of the loop.
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wake = functools.partial(_wake, waiter)
        future.add_done_callback(wake)
        try:
            await waiter
        except asyncio.CancelledError as exc:
            cancelled = exc
            future.remove_done_callback(wake)
    if cancelled is None:
        return future.result()
    failure = None if future.cancelled() else future.exception()
    if failure is not None:
        cancelled.add_note(f"while undoing: {type(failure).__name__}: {failure}")
    raise cancelled


def _wake(waiter: asyncio.Future[None], _: object) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def undo(failure: BaseException, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run *work* to its end because of *failure*, to which its own failures are added as notes."""

    async def quietly() -> None:
        try:
            await work()
        except Exception as exc:  # noqa: BLE001 - told, but never instead of the first failure
            failure.add_note(f"while undoing: {type(exc).__name__}: {exc}")

    await finish(quietly)


async def in_thread(
    work: Callable[[], T],
    *,
    undo: Callable[[T], object] | None = None,
    interrupt: Callable[[], object] | None = None,
) -> T:
    """Run one batch of blocking calls in a worker thread.

    A cancelled waiter cannot stop a thread; so the batch always ends before the cancellation goes
    on, hastened by *interrupt* (called on the loop), and what it acquired is given back by *undo*
    (run in a thread too).
    """
    job = _Job(work)
    _workers().submit(job)
    try:
        await job.waiter
    except asyncio.CancelledError as exc:
        if interrupt is not None:
            interrupt()
        cancelled = await job.await_end(exc)
        if job.failure is None and undo is not None:
            await finish(lambda: in_thread(lambda: undo(job.result)))
        raise cancelled from None
    if job.failure is not None:
        try:
            raise job.failure
        finally:
            job.failure = None  # an exception that its own traceback leads to is freed late
    return job.result


def in_background(work: Callable[[], object]) -> None:
    """Run a blocking call that cannot fail, and that nobody waits for, in a worker thread."""
    _workers().submit(_Errand(work))


class _Errand:
    """A call that nobody waits for."""

    __slots__ = ("run",)

    def __init__(self, work: Callable[[], object]) -> None:
        self.run = work


class _Job(Generic[T]):
    """A batch on its way through a worker: `result` or `failure` is set before `waiter` is done."""

    __slots__ = ("ended", "failure", "loop", "result", "waiter", "work")

    result: T

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.loop = asyncio.get_running_loop()
        self.waiter: asyncio.Future[None] = self.loop.create_future()
        self.failure: BaseException | None = None
        self.ended = False

    def run(self) -> None:
        """Do the work, in the worker."""
        try:
            self.result = self.work()
        except BaseException as exc:  # noqa: BLE001 - raised again in in_thread
            self.failure = exc
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._settle)

    async def await_end(self, cancelled: asyncio.CancelledError) -> asyncio.CancelledError:
        """Wait for the end whatever else cancels us, and return the last cancellation."""
        while not self.ended:
            self.waiter = self.loop.create_future()
            try:
                await self.waiter
            except asyncio.CancelledError as exc:
                cancelled = exc
        return cancelled

    def _settle(self) -> None:
        self.ended = True
        _wake(self.waiter, None)


class _Workers:
    """Threads of this package, apart from those of the application: neither waits for the other.

    Not many: what containers wait for are locks of the kernel, which more threads only make longer.
    A worker that hangs in the kernel does not keep the interpreter from ending.
    """

    def __init__(self, most: int) -> None:
        self._jobs: queue.SimpleQueue[_Job[Any] | _Errand] = queue.SimpleQueue()
        self._most = most
        self._idle = threading.Semaphore(0)
        self._threads = 0
        self._lock = threading.Lock()

    def submit(self, job: _Job[Any] | _Errand) -> None:
        """Have *job* run by the next free worker, or by a new one."""
        if not self._idle.acquire(blocking=False):
            self._grow()
        self._jobs.put(job)

    def _grow(self) -> None:
        with self._lock:
            if self._threads == self._most:
                return
            self._threads += 1
        # Not a threading.Thread, whose start() waits until the thread has run: this is the loop.
        _thread.start_new_thread(self._serve, ())

    def _serve(self) -> None:
        while True:
            self._jobs.get().run()
            self._idle.release()


@functools.cache
def _workers() -> _Workers:
    return _Workers(4 * (os.cpu_count() or 1))


class Closing(ABC):
    """Something that is closed at the end of a ``with`` block."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Give it up; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OwnedFd(Closing):
    """A descriptor with one owner: closed once, by `close()`, by ``with``, or with its owner.

    `detach()` hands it over: the number is returned and no longer closed here.
    """

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """Return the number; ValueError when it is closed or handed over."""
        if self._fd < 0:
            raise ValueError("the descriptor is closed")
        return self._fd

    def detach(self) -> int:
        """Give the descriptor to the caller, who closes it from now on."""
        fd, self._fd = self.fileno(), -1
        return fd

    def close(self) -> None:
        """Close it; a second call does nothing."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    @property
    def closed(self) -> bool:
        """Whether it was closed or handed over."""
        return self._fd < 0

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OwnedFd({self._fd})"
