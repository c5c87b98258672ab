"""Asyncio pieces that every room may use: finishing under cancellation, fd ownership, thread hops.

Nothing here knows about containers.
"""

from __future__ import annotations

import asyncio
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

__all__ = ["OwnedFd", "finish", "in_thread", "undo"]

T = TypeVar("T")

_MOST_WORKERS = 4 * (os.cpu_count() or 1)


async def finish(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run *work* to its end whatever cancels us meanwhile, then let that cancellation go on.

    If *work* fails after a cancellation, the cancellation wins and carries the failure as a note.
    """
    task = asyncio.ensure_future(work())
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is None:
        return task.result()
    failure = None if task.cancelled() else task.exception()
    if failure is not None:
        cancelled.add_note(f"while undoing: {type(failure).__name__}: {failure}")
    raise cancelled


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
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(_workers(), work)
    cancelled: asyncio.CancelledError | None = None
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError as exc:
        cancelled = exc
        if interrupt is not None and not future.done():
            interrupt()
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if future.exception() is None and undo is not None:
        result = future.result()
        await finish(lambda: in_thread(lambda: undo(result)))
    raise cancelled


@functools.cache
def _workers() -> ThreadPoolExecutor:
    """Return the threads of this package, apart from those of the application: neither waits for the other.

    Not many: what containers wait for are locks of the kernel, which more threads only make longer.
    """
    return ThreadPoolExecutor(_MOST_WORKERS, thread_name_prefix="aiocontainer")


class OwnedFd:
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OwnedFd({self._fd})"
