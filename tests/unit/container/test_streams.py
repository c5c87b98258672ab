"""Reading outputs to their ends, or for a while after the end of the process."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from aiocontainer._aio import OwnedFd
from aiocontainer.container.stdio import Streams


def pipe() -> tuple[OwnedFd, OwnedFd]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    return OwnedFd(reader), OwnedFd(writer)


def is_open(number: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{number}")


async def test_a_pipe_that_somebody_holds_is_read_for_a_while() -> None:
    (out, theirs), (err, theirs_too) = pipe(), pipe()
    streams = await Streams.connect({1: out, 2: err})
    os.write(theirs.fileno(), b"early ")
    theirs_too.close()
    ended = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, ended.set)
    asyncio.get_running_loop().call_later(0.05, os.write, theirs.fileno(), b"late")
    async with asyncio.timeout(10):
        assert await streams.communicate(ended=ended.wait, drain_s=0.3) == (b"early late", b"")
    streams.close()
    theirs.close()


async def test_what_was_written_before_the_end_is_never_lost() -> None:
    out, theirs = pipe()
    streams = await Streams.connect({1: out})
    data = bytes(range(256)) * 200  # it fits into the pipe
    os.write(theirs.fileno(), data)
    theirs.close()

    async def at_once() -> None: ...

    assert await streams.communicate(ended=at_once, drain_s=5) == (data, None)
    streams.close()


async def test_only_the_tail_is_kept() -> None:
    out, theirs = pipe()
    streams = await Streams.connect({1: out})
    os.write(theirs.fileno(), b"0123456789")
    theirs.close()
    assert (await streams.communicate(keep_bytes=4))[0] == b"6789"
    streams.close()


@pytest.mark.parametrize("loop_kind", ["asyncio", pytest.param("uvloop", marks=pytest.mark.needs("uvloop"))])
async def test_the_end_of_a_pipe_is_closed_once(loop_kind: str) -> None:
    """uvloop closes the number first and the file then, when another thread may have the number already."""
    out, theirs = pipe()
    theirs_in, into = pipe()
    numbers = [out.fileno(), into.fileno()]
    streams = await Streams.connect({0: into, 1: out})
    assert streams.stdin is not None
    files: list[Any] = [each.get_extra_info("pipe") for each in streams._transports]
    assert sorted(file.fileno() for file in files) == sorted(numbers)
    if loop_kind == "uvloop":
        for file in files:
            file.close()
        assert all(map(is_open, numbers))
    streams.close()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not any(map(is_open, numbers))
    theirs.close()
    theirs_in.close()
