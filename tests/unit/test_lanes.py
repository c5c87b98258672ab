"""The tests' own tools: coroutine tests, the watch on the loop, needs, leaks."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from support import leaks, loops, needs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def held() -> AsyncIterator[asyncio.Task[object]]:
    """A fixture over whose yield a task group stays open."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.Event().wait())
        yield task
        task.cancel()


@pytest.fixture
async def number() -> int:
    await asyncio.sleep(0)
    return 42


async def test_asynchronous_fixtures(held: asyncio.Task[object], number: int) -> None:
    assert number == 42
    assert not held.done()


@pytest.mark.parametrize("loop_kind", loops.KINDS)
async def test_loops(loop_kind: str) -> None:
    assert type(asyncio.get_running_loop()).__module__.startswith(loop_kind)


def test_blocking_is_noticed() -> None:
    async def block() -> None:
        time.sleep(0.03)  # noqa: ASYNC251

    with pytest.raises(loops.BlockedError, match=r"coro=<.*block\(\)"), loops.watch(0.02):
        asyncio.run(block())


def test_waiting_is_not_blocking() -> None:
    with loops.watch(0.02):
        asyncio.run(asyncio.sleep(0.03))


def test_collecting_is_not_blocking() -> None:
    async def collect() -> None:
        for _ in range(10):
            gc.collect()

    heap: list[list[object]] = [[] for _ in range(200_000)]
    begin = time.thread_time()
    gc.collect()
    once_s = time.thread_time() - begin
    with loops.watch(5 * once_s):
        asyncio.run(collect())
    assert heap


@pytest.mark.may_block("that is what it tests")
async def test_may_block() -> None:
    time.sleep(0.06)  # noqa: ASYNC251


def test_unknown_need() -> None:
    with pytest.raises(pytest.UsageError, match="no such need"):
        needs.missing("a miracle")


def test_kernel_need() -> None:
    assert needs.missing("kernel>=2.6") is None
    assert needs.missing("kernel>=99.0") == "Linux 99.0"


def test_nothing_left() -> None:
    watched = leaks.Leaks(patience_s=0.5)
    with socket.socket():
        pass
    watched.check()


def test_leaked_descriptor() -> None:
    watched = leaks.Leaks(patience_s=0)
    with socket.socket() as leaked, pytest.raises(leaks.LeakError, match=f"descriptor {leaked.fileno()}"):
        watched.check()


def test_leaked_process() -> None:
    watched = leaks.Leaks(patience_s=0)
    with subprocess.Popen(["sleep", "60"]) as leaked:
        try:
            with pytest.raises(leaks.LeakError, match=f"process {leaked.pid}: "):
                watched.check()
        finally:
            leaked.kill()


def test_leaked_state(tmp_path: os.PathLike[str]) -> None:
    watched = leaks.Leaks(patience_s=0)
    watched.watch(os.fspath(tmp_path))
    os.mkdir(os.path.join(tmp_path, "web-1"))
    with pytest.raises(leaks.LeakError, match="web-1"):
        watched.check()
