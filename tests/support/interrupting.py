"""Interrupt what is awaited at its n-th suspension, for every n, in every way that asyncio has."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

__all__ = ["WAYS", "Interrupted", "SiblingError", "sweep"]

MOST = 300
"""Suspensions; an operation that has more is stuck in a loop."""
HANGS_S = 60


class SiblingError(Exception):
    """What another task of the group fails with."""


class Interrupted:
    """Await *work*, and *interrupt* at suspension *at* and the *times* - 1 after it."""

    def __init__(
        self, work: Awaitable[Any], at: int, times: int = 1, interrupt: Callable[[], object] | None = None
    ) -> None:
        self._work = work
        self._when = range(at, at + times)
        self._interrupt = interrupt or self._cancel
        self.suspended = 0

    @staticmethod
    def _cancel() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._work.__await__()
        step: Callable[[], Any] = lambda: next(inner)  # noqa: E731
        while True:
            try:
                future = step()
            except StopIteration as stop:
                return stop.value
            if self.suspended in self._when:
                self._interrupt()
            self.suspended += 1
            try:
                yield future
            except BaseException as exc:  # noqa: BLE001 - thrown on into the work
                step = lambda exc=exc: inner.throw(exc)  # noqa: E731
            else:
                step = lambda: next(inner)  # noqa: E731


async def sweep(attempt: Callable[[int], Awaitable[Any]]) -> int:
    """Make *attempt* in a task of its own for 0, 1, 2, ... until it is not cancelled any more."""
    for at in itertools.count():
        assert at < MOST
        task = asyncio.ensure_future(attempt(at))
        await asyncio.wait([task], timeout=HANGS_S)
        assert task.done(), f"hangs when cancelled at {at}"
        if not task.cancelled():
            task.result()
            return at
    raise AssertionError


# Each way awaits *work*, interrupts it at suspension *at*, and lets only what it has caused pass by.
# What comes of it: whether the work had so many suspensions at all, and its result or None.

Outcome = tuple[bool, Any]


async def _cancelled(work: Awaitable[Any], at: int, times: int) -> Outcome:
    interrupted = Interrupted(work, at, times)
    task = asyncio.ensure_future(_awaited(interrupted))
    await asyncio.wait([task], timeout=HANGS_S)
    assert task.done(), f"hangs when cancelled at {at}"
    return interrupted.suspended > at, None if task.cancelled() else task.result()


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


async def _timed_out(work: Awaitable[Any], at: int) -> Outcome:
    loop, result = asyncio.get_running_loop(), None
    timer = asyncio.timeout(None)
    interrupted = Interrupted(work, at, interrupt=lambda: timer.reschedule(loop.time()))
    with contextlib.suppress(TimeoutError):
        async with timer:
            result = await interrupted
    return interrupted.suspended > at, result


async def _sibling_failed(work: Awaitable[Any], at: int) -> Outcome:
    fails: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    interrupted = Interrupted(work, at, interrupt=lambda: fails.set_exception(SiblingError()))
    result = None

    async def sibling() -> None:
        await fails

    async def main() -> None:
        nonlocal result
        result = await interrupted
        fails.cancel()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(sibling())
            group.create_task(main())
    except ExceptionGroup as exc:
        if exc.split(SiblingError)[1] is not None:
            raise
    return interrupted.suspended > at, result


WAYS: Final[dict[str, Callable[[Awaitable[Any], int], Awaitable[Outcome]]]] = {
    "once": lambda work, at: _cancelled(work, at, 1),
    "twice": lambda work, at: _cancelled(work, at, 2),
    "while-undoing": lambda work, at: _cancelled(work, at, 6),
    "timeout": _timed_out,
    "sibling": _sibling_failed,
}
