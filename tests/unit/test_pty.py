"""Terminals without a container: who writes to a full one is let go when its other side is gone."""

from __future__ import annotations

import asyncio
import os
import tty

import pytest

from aiocontainer._aio import OwnedFd
from aiocontainer.console import Pty

LINE = b"x" * 999 + b"\n"


@pytest.mark.parametrize("raw", [False, True])
async def test_a_full_terminal_whose_other_side_goes(*, raw: bool) -> None:
    master, other = os.openpty()
    if raw:
        tty.setraw(other)
    terminal = Pty(OwnedFd(master))
    try:
        writing = asyncio.ensure_future(terminal.write(LINE * 100))
        done, _ = await asyncio.wait([writing], timeout=0.05)
        assert not done  # nobody reads it
        os.close(other)
        await asyncio.wait_for(writing, 10)
        await asyncio.wait_for(terminal.write(LINE * 100), 10)
    finally:
        terminal.close()


async def test_a_full_terminal_that_is_read_again() -> None:
    master, other = os.openpty()
    tty.setraw(other)
    terminal = Pty(OwnedFd(master))
    try:
        writing = asyncio.ensure_future(terminal.write(LINE * 100))
        seen = 0
        while seen < 100 * len(LINE):
            seen += len(await asyncio.to_thread(os.read, other, 65536))
        await asyncio.wait_for(writing, 10)
    finally:
        os.close(other)
        terminal.close()
