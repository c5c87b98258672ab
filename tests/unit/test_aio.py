"""Finishing under cancellation, thread hops, ownership of descriptors."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from aiocontainer._aio import OwnedFd, finish, in_thread, undo


async def test_finish_gives_the_result_or_the_failure() -> None:
    async def seven() -> int:
        return 7

    async def fail() -> None:
        raise LookupError("x")

    assert await finish(seven) == 7
    with pytest.raises(LookupError):
        await finish(fail)


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_finish_outlives_cancellation(times: int) -> None:
    done = False

    async def work() -> None:
        nonlocal done
        for _ in range(10):
            await asyncio.sleep(0)
        done = True

    task = asyncio.create_task(finish(work))
    for _ in range(times):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done


async def test_finish_outlives_a_deadline() -> None:
    done = False

    async def work() -> None:
        nonlocal done
        await asyncio.sleep(0.05)
        done = True

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await finish(work)
    assert done


async def test_a_failure_while_undoing_is_a_note() -> None:
    async def fail() -> None:
        raise OSError(5, "while cleaning")

    first = ValueError("first")
    await undo(first, fail)
    assert first.__notes__ == ["while undoing: OSError: [Errno 5] while cleaning"]


async def test_in_thread_result_and_failure() -> None:
    here = threading.get_ident()
    assert await in_thread(threading.get_ident) != here
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 / 0)


async def test_a_cancelled_hop_ends_first_and_is_undone() -> None:
    begun, go = threading.Event(), threading.Event()
    undone: list[int] = []

    def work() -> int:
        begun.set()
        go.wait(5)
        return 42

    task = asyncio.create_task(in_thread(work, undo=undone.append))
    await in_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == [42]


async def test_a_cancelled_hop_is_interrupted() -> None:
    go = threading.Event()
    task = asyncio.create_task(in_thread(lambda: go.wait(30), interrupt=go.set))
    await asyncio.sleep(0.01)
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_many_hops_at_once_all_end() -> None:
    results = await asyncio.gather(*(in_thread(lambda n=n: n * n) for n in range(100)))  # type: ignore[misc]
    assert results == [n * n for n in range(100)]


def test_threads_serve_one_loop_after_another() -> None:
    for n in range(3):
        assert asyncio.run(in_thread(lambda n=n: n)) == n  # type: ignore[misc]


def test_owned_fd() -> None:
    reader, writer = map(OwnedFd, os.pipe())
    with writer:
        assert not writer.closed
        os.write(writer.fileno(), b"x")
    assert writer.closed
    writer.close()
    number = reader.detach()
    assert reader.closed
    assert os.read(number, 1) == b"x"
    os.close(number)
    for call in (reader.fileno, reader.detach):
        with pytest.raises(ValueError, match="closed"):
            call()
