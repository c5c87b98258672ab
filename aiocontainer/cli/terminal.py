"""Joining our own terminal to the one in the container."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import termios
import tty
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from aiocontainer import Pty

__all__ = ["is_hung_up", "key_by_key", "raw", "relay"]

STDIN, STDOUT = 0, 1

_OFLAG, _CC = 1, 6  # places in what tcgetattr returns

# As much as poll(2) promises room for: a write that blocks would hold up the signals too.  pipe(7).
_CHUNK = select.PIPE_BUF

_DRAIN_S = 1.0  # to copy what the process wrote before it ended; its orphans may write for ever


@asynccontextmanager
async def relay(console: Pty) -> AsyncIterator[Callable[[], None]]:
    """Copy between stdin, stdout and the process's *console*; yields what to call on SIGWINCH.

    What was written before the end of the block is copied before the block is left.  Our own
    terminal is raw meanwhile, and as before afterwards, however the block is left.
    """
    with raw(STDIN):
        _copy_size(console)
        _without_cr(console.fileno())
        output = asyncio.create_task(_show(console))
        input = asyncio.create_task(_type(console))
        try:
            yield lambda: _copy_size(console)
            await asyncio.wait([output], timeout=_DRAIN_S)
        finally:
            for task in (input, output):
                task.cancel()
            await asyncio.wait([input, output])


@contextmanager
def raw(fd: int) -> Iterator[None]:
    """Let every key through to the container; nothing is done where *fd* is no terminal."""
    with _as_before(fd) as is_terminal:
        if is_terminal:
            tty.setraw(fd, termios.TCSANOW)
            _keep_output_processing(fd)
        yield


@contextmanager
def key_by_key(fd: int) -> Iterator[bool]:
    """Read keys as they are typed, unseen; Ctrl-C still interrupts.  Yields whether *fd* is a terminal.

    A read does not wait, but returns nothing: what poll(2) has promised is gone where Ctrl-C comes between,
    which empties the queue.  termios(3) "MIN == 0, TIME == 0", NOFLSH.
    """
    with _as_before(fd) as is_terminal:
        if is_terminal:
            tty.setcbreak(fd, termios.TCSANOW)
            mode = termios.tcgetattr(fd)
            mode[_CC][termios.VMIN] = 0
            mode[_CC][termios.VSUSP] = b"\0"  # Ctrl-Z would leave a terminal behind as we have set it
            termios.tcsetattr(fd, termios.TCSANOW, mode)
        yield is_terminal


def is_hung_up(fd: int) -> bool:
    """Tell whether nobody is at the other side of a terminal any more."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


@contextmanager
def _as_before(fd: int) -> Iterator[bool]:
    """Put the mode of a terminal back in the end; yields whether *fd* is one."""
    if not os.isatty(fd):
        yield False
        return
    before = termios.tcgetattr(fd)
    try:
        yield True
    finally:
        # In the background this raises SIGTTOU, which fails the call unless ignored: tcsetattr(3).
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _keep_output_processing(fd: int) -> None:
    """Line feeds become CR LF here, once, and not in the container's terminal: see `_without_cr`."""
    mode = termios.tcgetattr(fd)
    mode[_OFLAG] |= termios.OPOST
    termios.tcsetattr(fd, termios.TCSANOW, mode)


def _without_cr(master: int) -> None:
    """As in runc: output that goes to a file or a pipe has plain line feeds."""
    mode = termios.tcgetattr(master)
    mode[_OFLAG] &= ~termios.ONLCR
    termios.tcsetattr(master, termios.TCSANOW, mode)


def _copy_size(console: Pty) -> None:
    with suppress(termios.error, ValueError):  # no terminal on our side, or none any more on the other
        console.resize(*termios.tcgetwinsize(STDIN))


async def _show(console: Pty) -> None:
    """Copy the output; where nobody wants it any more, hang up, as a terminal does that goes away."""
    try:
        while data := await console.read(_CHUNK):
            while data:
                await _ready(STDOUT, writing=True)
                data = data[os.write(STDOUT, data) :]
    except OSError:
        console.close()  # a signal would not do: pid 1 of a namespace may ignore it, pid_namespaces(7)


async def _type(console: Pty) -> None:
    """Copy our input; at its end, say so in the language of terminals."""
    with suppress(OSError, ValueError, termios.error):  # no input to be had, or no terminal any more
        while data := await _read_input():
            await console.write(data)
        await console.write(termios.tcgetattr(console.fileno())[_CC][termios.VEOF])


async def _read_input() -> bytes:
    await _ready(STDIN)
    try:
        return os.read(STDIN, _CHUNK)
    except BlockingIOError:  # somebody else who has the terminal open was faster
        return await _read_input()


async def _ready(fd: int, *, writing: bool = False) -> None:
    """Wait until *fd* can be read or written without blocking, whatever mode it is in."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    try:
        add(fd, _settle, ready)
    except PermissionError:  # a regular file, which epoll(7) refuses, is always ready
        return
    try:
        await ready
    finally:
        remove(fd)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
