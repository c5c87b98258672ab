"""Signals to this program, on its event loop."""

from __future__ import annotations

import asyncio
import functools
import os
from _signal import SIG_IGN, getsignal, set_wakeup_fd, signal  # type: ignore[import-not-found]
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["catch"]


def catch(numbers: Iterable[int], handle: Callable[[int], None]) -> None:
    """Call *handle* on the running loop for each of these, but for those that our caller has ignored.

    Not by `add_signal_handler`, and not by `signal.signal`: their checks take ten milliseconds for all
    signals together, and load `inspect` for texts that nobody reads.
    """
    loop = asyncio.get_running_loop()

    def arrived(number: int, _: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: we are as good as gone
            loop.call_soon_threadsafe(handle, number)

    _wake(loop)
    for number in numbers:
        if getsignal(number) != SIG_IGN:
            signal(number, arrived)


@functools.cache
def _wake(loop: asyncio.AbstractEventLoop) -> None:
    """Let signals end the loop's wait: a byte in a pipe, once per loop, open for as long as the program runs.

    A signal that comes between Python's last look and epoll_wait(2), or that another thread takes,
    interrupts nothing by itself.  signal(7)
    """
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    loop.add_reader(reader, os.read, reader, 4096)
    set_wakeup_fd(writer, warn_on_full_buffer=False)
