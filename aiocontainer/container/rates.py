"""What a container uses per second, from two readings."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from .sampling import check_interval

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable

    from ..network import InterfaceStats
    from .sampling import StatsStream
    from .stats import Stats

__all__ = ["Rates", "RatesOfAll", "RatesStream", "rates"]

T = TypeVar("T")


class Rates(Struct, frozen=True, kw_only=True):
    """Use per second between two readings, the later of which is `stats`.

    What the machine does not account is 0, as in `Stats`.
    """

    stats: Stats
    """The later reading."""
    interval_s: float
    """Between the two readings, as it was."""
    cpu: float
    """1.0 is one CPU, all the time."""
    cpu_user: float
    """The part of it in the programs themselves; the next one, in the kernel for them."""
    cpu_kernel: float
    throttled: float
    """Share of the periods in which the quota was used up; 0 without a quota."""
    read_bytes: float
    """Of all block devices together, per second; the next three, too."""
    write_bytes: float
    read_ios: float
    write_ios: float
    rx_bytes: float
    """Of all interfaces but ``lo``, per second; the next one, too."""
    tx_bytes: float


def rates(before: Stats, after: Stats) -> Rates:
    """Return the use between two readings of one container.

    A counter that has gone back, with a device that came anew, has counted nothing.
    """
    interval_s = max(after.monotonic_ns - before.monotonic_ns, 1) / 1e9
    periods = after.cpu.periods - before.cpu.periods
    throttled = after.cpu.throttled_periods - before.cpu.throttled_periods

    def cpu(name: str) -> float:
        grown: int = getattr(after.cpu, name) - getattr(before.cpu, name)
        return max(0, grown) / 1e9 / interval_s

    def disks(name: str) -> float:
        devices = (before.io.devices, after.io.devices)
        return _grown(*devices, lambda each: (each.major, each.minor), name) / interval_s

    def interfaces(name: str) -> float:
        return _grown(_outward(before), _outward(after), lambda each: each.name, name) / interval_s

    return Rates(
        stats=after,
        interval_s=interval_s,
        cpu=cpu("total_ns"),
        cpu_user=cpu("user_ns"),
        cpu_kernel=cpu("kernel_ns"),
        throttled=throttled / periods if periods > 0 and throttled > 0 else 0.0,
        read_bytes=disks("read_bytes"),
        write_bytes=disks("write_bytes"),
        read_ios=disks("read_ios"),
        write_ios=disks("write_ios"),
        rx_bytes=interfaces("rx_bytes"),
        tx_bytes=interfaces("tx_bytes"),
    )


def _outward(stats: Stats) -> list[InterfaceStats]:
    return [each for each in stats.network if each.name != "lo"]


def _grown(before: Iterable[T], after: Iterable[T], key: Callable[[T], Hashable], name: str) -> int:
    """Add up by how much a counter has grown, of each device that is in *after*."""
    old: dict[Hashable, int] = {key(each): getattr(each, name) for each in before}
    return sum(max(0, getattr(each, name) - old.get(key(each), 0)) for each in after)


class RatesStream:
    """Rates between the readings of a stream; made by `Container.sample`.

    Cancelling the wait for one loses nothing.  `aclose` ends it.
    """

    def __init__(self, stream: StatsStream) -> None:
        """Take over *stream*."""
        self._stream = stream
        self._before: Stats | None = None

    def __aiter__(self) -> RatesStream:
        return self

    async def __anext__(self) -> Rates:
        if self._before is None:
            self._before = await anext(self._stream)
        before, self._before = self._before, await anext(self._stream)
        return rates(before, self._before)

    async def aclose(self) -> None:
        """End it, and close what is open."""
        await self._stream.aclose()


class RatesOfAll:
    """Rates of many containers by id, at intervals; made by `Runtime.sample`.

    Who has come since the last reading is told of with the next one.  Moments that have passed while
    nobody asked are left out, and cancelling the wait loses nothing.
    """

    def __init__(self, interval_s: float, read: Callable[[], Awaitable[dict[str, Stats]]]) -> None:
        """*read* reads all of them in one batch."""
        self._interval_s = check_interval(interval_s)
        self._read = read
        self._before: dict[str, Stats] | None = None
        self._first_s = 0.0
        self._moment = 0

    def __aiter__(self) -> RatesOfAll:
        return self

    async def __anext__(self) -> dict[str, Rates]:
        if self._before is None:
            self._first_s = asyncio.get_running_loop().time()
            self._before = await self._read()
        await self._next_moment()
        after = await self._read()
        before, self._before = self._before, after
        return {id: rates(before[id], stats) for id, stats in after.items() if id in before}

    async def _next_moment(self) -> None:
        now_s = asyncio.get_running_loop().time()
        passed = math.floor((now_s - self._first_s) / self._interval_s)
        moment = 1 + max(passed, self._moment)  # a timer may fire a hair before its time
        await asyncio.sleep(self._first_s + moment * self._interval_s - now_s)
        self._moment = moment
