"""Standing in for a process in the container until it ends: signals in, exit status out."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from aiocontainer import StateError

from .signals import catch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocontainer import ExitStatus, Pty

__all__ = ["Signals", "catch_signals", "stand_in"]

Signals: TypeAlias = "asyncio.Queue[int]"

# Not ours to pass on.  SIGKILL and SIGSTOP cannot be caught; CHLD and URG are about our own children
# and sockets, PIPE about our own output.  The last four are faults of this very process, which would
# happen again at once: Python's signal module, "Execution of Python signal handlers".
_OURS = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGURG,
    signal.SIGPIPE,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
}

# A terminal of our own stops us by these when we touch it from the background, and has to.
_JOB_CONTROL = {signal.SIGTTIN, signal.SIGTTOU}


def catch_signals(*, terminal: bool) -> Signals:
    """Collect signals from now on, for `stand_in` to pass on: call it before the program runs.

    They are caught for good: what follows the program is cleaning up, which none should stop.
    """
    arrived: Signals = asyncio.Queue()
    catch(signal.valid_signals() - _OURS - (_JOB_CONTROL if terminal else set()), arrived.put_nowait)
    return arrived


async def stand_in(
    arrived: Signals,
    wait: Callable[[], Awaitable[ExitStatus]],
    send: Callable[[int], Awaitable[object]],
    console: Pty | None,
) -> int:
    """Pass signals on by `send` until `wait` ends; returns the status as a shell shows it.

    With a *console*, our own terminal is joined to it meanwhile.
    """
    if console is None:
        return await _attend(arrived, wait, send, lambda: None)
    from .terminal import relay

    async with relay(console) as resized:
        return await _attend(arrived, wait, send, resized)


async def _attend(
    arrived: Signals,
    wait: Callable[[], Awaitable[ExitStatus]],
    send: Callable[[int], Awaitable[object]],
    resized: Callable[[], None],
) -> int:
    forwarding = asyncio.create_task(_forward(arrived, send, resized))
    try:
        return (await wait()).shell_code
    finally:
        forwarding.cancel()


async def _forward(
    arrived: Signals, send: Callable[[int], Awaitable[object]], resized: Callable[[], None]
) -> None:
    while True:
        number = await arrived.get()
        if number == signal.SIGWINCH:
            resized()
            continue
        with suppress(StateError):  # it has just ended, and nobody is left to tell
            await send(number)
