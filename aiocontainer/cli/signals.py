"""Signals to this program, on its event loop."""

from __future__ import annotations

import asyncio
from _signal import SIG_IGN, getsignal, signal  # type: ignore[import-not-found]
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

    for number in numbers:
        if getsignal(number) != SIG_IGN:
            signal(number, arrived)
