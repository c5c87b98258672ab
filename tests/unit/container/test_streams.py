"""Reading outputs to their ends, or for a while after the end of the process."""

from __future__ import annotations

import asyncio
import os

from aiocontainer._aio import OwnedFd
from aiocontainer.container.stdio import Streams


def pipe() -> tuple[OwnedFd, OwnedFd]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    return OwnedFd(reader), OwnedFd(writer)


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
