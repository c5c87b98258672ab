"""Standing in for a process in the container until it ends: signals in, exit status out."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from aiocontainer import StateError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocontainer import ExitStatus, Pty

__all__ = ["stand_in"]

# Not ours to pass on.  SIGKILL and SIGSTOP cannot be caught; CHLD and URG are about our own children
# and sockets; PIPE about our own output; WINCH is a matter of the terminal, see `relay`.  The last
# four are faults of this very process, which would happen again at once: Python's signal module,
# "Execution of Python signal handlers".
_OURS = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGURG,
    signal.SIGPIPE,
    signal.SIGWINCH,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
}

# A terminal of our own stops us by these when we touch it from the background, and has to.
_JOB_CONTROL = {signal.SIGTTIN, signal.SIGTTOU}


async def stand_in(
    wait: Callable[[], Awaitable[ExitStatus]],
    send: Callable[[int], Awaitable[object]],
    console: Pty | None,
) -> int:
    """Pass signals on by `send` until `wait` ends; returns the status as a shell shows it.

    With a *console*, our own terminal is joined to it meanwhile.
    """
    if console is None:
        return await _attend(wait, send, None)
    from .terminal import relay

    async with relay(console) as resized:
        return await _attend(wait, send, resized)


async def _attend(
    wait: Callable[[], Awaitable[ExitStatus]],
    send: Callable[[int], Awaitable[object]],
    resized: Callable[[], None] | None,
) -> int:
    """Forward signals; the handlers stay at the end: what follows is cleaning up, which none should stop."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[int] = asyncio.Queue()
    for number in signal.valid_signals() - _OURS - (_JOB_CONTROL if resized else set()):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, arrived.put_nowait, number)
    if resized is not None:
        loop.add_signal_handler(signal.SIGWINCH, resized)
    forwarding = asyncio.create_task(_forward(arrived, send))
    try:
        return (await wait()).shell_code
    finally:
        forwarding.cancel()


async def _forward(arrived: asyncio.Queue[int], send: Callable[[int], Awaitable[object]]) -> None:
    while True:
        number = await arrived.get()
        with suppress(StateError):  # it has just ended, and nobody is left to tell
            await send(number)
