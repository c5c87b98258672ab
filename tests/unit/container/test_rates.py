"""Use per second: from two readings, and from a stream of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from aiocontainer import NotRunningError, Stats
from aiocontainer.cgroups.stats.values import CpuStats, DeviceIo, IoStats
from aiocontainer.container.rates import RatesStream, rates
from aiocontainer.container.sampling import StatsStream
from aiocontainer.network import InterfaceStats


def interface(name: str, rx: int, tx: int) -> InterfaceStats:
    zeros = dict.fromkeys(InterfaceStats.__struct_fields__[1:], 0)
    return InterfaceStats(**{**zeros, "name": name, "rx_bytes": rx, "tx_bytes": tx})


BEFORE = Stats(
    id="x",
    time_ns=0,
    monotonic_ns=10**9,
    cpu=CpuStats(total_ns=10**9, user_ns=6 * 10**8, kernel_ns=4 * 10**8, periods=10, throttled_periods=5),
    io=IoStats(devices=(DeviceIo(major=8, minor=0, read_bytes=1000, write_ios=7),)),
    network=(interface("lo", 5, 5), interface("eth0", 100, 200)),
)


def test_what_happened_in_half_a_second() -> None:
    after = replace(
        BEFORE,
        monotonic_ns=15 * 10**8,
        cpu=CpuStats(
            total_ns=2 * 10**9, user_ns=14 * 10**8, kernel_ns=6 * 10**8, periods=14, throttled_periods=6
        ),
        io=IoStats(
            devices=(
                DeviceIo(major=8, minor=0, read_bytes=1500, write_ios=8),
                DeviceIo(major=8, minor=16, read_bytes=100),
            )
        ),
        network=(interface("lo", 50, 50), interface("eth0", 150, 300), interface("eth1", 1, 2)),
    )
    found = rates(BEFORE, after)
    assert found.stats is after
    assert (found.interval_s, found.throttled) == (0.5, 0.25)
    assert (found.cpu, found.cpu_user, found.cpu_kernel) == pytest.approx((2.0, 1.6, 0.4))
    assert (found.read_bytes, found.write_bytes, found.read_ios, found.write_ios) == (1200, 0, 0, 2)
    assert (found.rx_bytes, found.tx_bytes) == (102, 204)


def test_what_goes_back_has_counted_nothing() -> None:
    """A device that was taken away and came anew; two readings at once; no quota."""
    empty = Stats(id="x", time_ns=0, monotonic_ns=10**9)
    found = rates(BEFORE, empty)
    numbers = [
        getattr(found, name) for name in found.__struct_fields__ if name not in ("stats", "interval_s")
    ]
    assert numbers == [0] * len(numbers)
    assert found.interval_s > 0


async def test_a_stream_of_rates() -> None:
    totals = iter((0, 10**6, 10**7))

    async def read(_: Any) -> Any:
        total = next(totals, None)
        if total is None:
            raise NotRunningError("read", status="stopped")
        stats = Stats(id="x", time_ns=0, monotonic_ns=total * 2 + 1, cpu=CpuStats(total_ns=total))
        return stats, None

    stream = RatesStream(StatsStream(0.001, read, asyncio.Event().wait))
    assert [found.cpu async for found in stream] == pytest.approx([0.5, 0.5])
    await stream.aclose()
