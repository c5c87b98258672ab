"""Coroutine tests and fixtures, and a watch on what blocks their event loop.

A test may be an ``async def``; so may a fixture, which then runs in one task from its setup to its
end, so that cancel scopes and task groups can be held open over its ``yield``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import resource
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator

__all__ = ["KINDS", "BlockedError", "adapt", "is_async", "runner", "watch"]

KINDS = ("asyncio", "uvloop")


class BlockedError(AssertionError):
    """A callback kept the event loop from running for too long."""


def runner(kind: str) -> asyncio.Runner:
    """A loop of its own for one test, of one of `KINDS`."""
    if kind == "asyncio":
        return asyncio.Runner()
    import uvloop

    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    runner.run(first_stream())
    return runner


async def first_stream() -> None:
    """Make a stream: libuv opens /dev/null for its first one, and keeps that until the loop is closed.

    It is what a server can give up to turn a client away when there are no more descriptors.
    """
    read, write = os.pipe()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(read, "rb", 0))
    os.close(write)
    transport.close()
    await asyncio.sleep(0)


async def hold(fixture: AsyncGenerator[Any], ready: asyncio.Future[Any], done: asyncio.Event) -> None:
    """Take *fixture* to its ``yield``, wait there, take it to its end."""
    try:
        ready.set_result(await anext(fixture))
    except BaseException as exc:
        if not ready.done():
            ready.set_exception(exc)
            return
        raise
    await done.wait()
    with contextlib.suppress(StopAsyncIteration):
        await anext(fixture)
        raise RuntimeError("the fixture yields twice")


def as_generator(
    loop: asyncio.Runner, function: Callable[..., AsyncGenerator[Any, None]]
) -> Callable[..., Generator[Any]]:
    """The ordinary generator fixture that runs the asynchronous one *function* on *loop*."""

    def fixture(*args: Any, **kwargs: Any) -> Generator[Any]:
        done = asyncio.Event()

        async def begin() -> tuple[asyncio.Task[None], Any]:
            ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(hold(function(*args, **kwargs), ready, done))
            return task, await ready

        async def end() -> None:
            done.set()
            await task

        task, value = loop.run(begin())
        yield value
        loop.run(end())

    return fixture


def as_function(
    loop: asyncio.Runner, function: Callable[..., Coroutine[Any, Any, Any]]
) -> Callable[..., Any]:
    """The ordinary fixture that runs the coroutine fixture *function* on *loop*."""
    return lambda *args, **kwargs: loop.run(function(*args, **kwargs))


def adapt(loop: asyncio.Runner, function: Callable[..., Any]) -> Callable[..., Any]:
    """What pytest can call in place of the asynchronous fixture *function*."""
    return (as_generator if inspect.isasyncgenfunction(function) else as_function)(loop, function)


def is_async(function: object) -> bool:
    """Whether calling *function* needs a loop."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def queued_s() -> float:
    """How long our threads, together, have been runnable without running.  sched-stats.rst."""
    total = 0
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError, IndexError), open(f"/proc/self/task/{task}/schedstat") as file:
            total += int(file.read().split()[1])
    return total / 1e9


@contextlib.contextmanager
def collecting() -> Iterator[Callable[[], float]]:
    """Tell how long this thread has collected objects, in seconds: pytest's, at whoever's turn it comes."""
    begun = total = 0.0
    here = threading.get_ident()

    def collected(phase: str, _: dict[str, int]) -> None:
        nonlocal begun, total
        if threading.get_ident() != here:
            return
        if phase == "start":
            begun = time.thread_time()
        else:
            total += time.thread_time() - begun

    gc.callbacks.append(collected)
    try:
        yield lambda: total
    finally:
        gc.callbacks.remove(collected)


@contextlib.contextmanager
def watch(limit_s: float) -> Iterator[None]:
    """Raise `BlockedError` at the end if a callback of asyncio's loop took longer than *limit_s*.

    Time that other processes took from us does not count: the thread must have used the processor
    that long, or slept of its own will (a voluntary context switch) in a callback that long.  It also
    sleeps for the interpreter's lock, and whoever has that may be waiting for a processor: so that
    wait, of all our threads, is taken off; and so is what collecting pytest's objects takes.
    """
    blocked: list[str] = []
    queued = queued_s()
    run = asyncio.Handle._run

    def timed(self: asyncio.Handle) -> None:
        nonlocal queued
        wall, cpu = time.monotonic(), time.thread_time()
        slept, collected = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw, collected_s()
        callback = self._callback  # type: ignore[attr-defined]  # a cancelled handle forgets it
        run(self)
        collected = collected_s() - collected
        wall, cpu = time.monotonic() - wall - collected, time.thread_time() - cpu - collected
        if wall <= limit_s:
            return
        slept = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - slept
        before, queued = queued, queued_s()
        if wall - (queued - before) <= limit_s:
            return
        if cpu > limit_s or slept:
            owner = getattr(callback, "__self__", callback)  # the task, when it is a task's step
            blocked.append(f"{wall * 1000:.0f} ms ({cpu * 1000:.0f} ms of processor): {owner!r}")

    with collecting() as collected_s:
        asyncio.Handle._run = timed  # type: ignore[method-assign]
        try:
            yield
        finally:
            asyncio.Handle._run = run  # type: ignore[method-assign]
    if blocked:
        raise BlockedError("the loop was blocked:\n" + "\n".join(blocked))
