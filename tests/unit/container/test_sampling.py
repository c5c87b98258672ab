"""Readings at intervals, and what /proc tells of a network."""

from __future__ import annotations

import asyncio
import errno
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiocontainer import CgroupError, NotRunningError, SpecError
from aiocontainer.cgroups.stats.values import CpuStats
from aiocontainer.container import stats as stats_module
from aiocontainer.container.rates import RatesOfAll
from aiocontainer.container.sampling import StatsStream
from aiocontainer.container.stats import Stats, parse_net_dev
from aiocontainer.network import InterfaceStats

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = (
    b"Inter-|   Receive                                                |  Transmit\n"
    b" face |bytes    packets errs drop fifo frame compressed multicast"
    b"|bytes    packets errs drop fifo colls carrier compressed\n"
)


def test_interfaces() -> None:
    text = HEAD + (
        b"    lo:    6460      58    0    0    0     0          0         0     6460      58    0    0"
        b"    0     0       0          0\n"
        b"eth0:18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
        b"eth0:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
    )
    lo, eth, alias = parse_net_dev(text)
    assert (lo.name, lo.rx_bytes, lo.rx_packets, lo.tx_bytes) == ("lo", 6460, 58, 6460)
    assert eth == InterfaceStats(
        name="eth0",
        rx_bytes=2**64 - 1,
        rx_packets=2,
        rx_errors=3,
        rx_dropped=4,
        tx_bytes=9,
        tx_packets=10,
        tx_errors=11,
        tx_dropped=12,
    )
    assert alias.name == "eth0:1"
    assert parse_net_dev(HEAD) == ()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        HEAD[:-1],
        HEAD + b"lo: 1 2 3\n",
        HEAD + b"lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
        HEAD + b"x\n",
    ],
)
def test_what_is_no_list_of_interfaces(text: bytes) -> None:
    with pytest.raises(CgroupError, match="Bad message"):
        parse_net_dev(text)


@given(st.binary())
def test_any_list_of_interfaces(text: bytes) -> None:
    for start in (b"", HEAD):
        try:
            parse_net_dev(start + text)
        except CgroupError:
            continue


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.ENXIO])
def test_a_network_that_goes_meanwhile(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Each is what the kernel may say of the network of a process that just ended.  Fault S7."""

    def gone(_: str) -> bytes:
        raise OSError(number, "")

    monkeypatch.setattr(stats_module, "_read", gone)
    with pytest.raises(NotRunningError):
        stats_module._network(SimpleNamespace(id="a", pid=1), -1)  # type: ignore[arg-type]


class Stand:
    """Something to be read; each reading takes its time."""

    def __init__(self, *takes_s: float, stops_after: int = 1000) -> None:
        self.takes_s = list(takes_s)
        self.stops_after = stops_after
        self.at: list[float] = []
        self.kept: list[Any] = []
        self.closed = 0
        self.stopped = asyncio.Event()

    async def read(self, kept: Any) -> Any:
        self.kept.append(kept)
        if len(self.at) == self.stops_after:
            raise NotRunningError("read", status="stopped")
        self.at.append(asyncio.get_running_loop().time())
        if self.takes_s:
            await asyncio.sleep(self.takes_s.pop(0))
        return len(self.at), self

    def close(self) -> None:
        self.closed += 1

    def stream(self, interval_s: float) -> StatsStream:
        return StatsStream(interval_s, self.read, self.stopped.wait)


class Hourglass(asyncio.SelectorEventLoop):
    """A loop in which nothing takes any time but waiting."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        super().__init__()
        select = self._selector.select  # type: ignore[attr-defined]

        def pass_time(timeout_s: float | None) -> Any:
            self.now_s += timeout_s or 0
            return select(0)

        self._selector.select = pass_time  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now_s


def test_moments_do_not_drift() -> None:
    """A reading that takes long leaves out the moments that pass, and moves no later one."""

    async def six() -> None:
        stand = Stand(0.0, 0.01, 0.13, 0.0, 0.01, 0.0)
        stream = stand.stream(0.04)
        assert [await anext(stream) for _ in range(6)] == [1, 2, 3, 4, 5, 6]
        places = [(at - stand.at[0]) / 0.04 for at in stand.at]
        assert places == pytest.approx([0, 1, 2, 6, 7, 8])
        assert stand.kept == [None, *[stand] * 5]
        await stream.aclose()
        assert stand.closed == 1
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    with asyncio.Runner(loop_factory=Hourglass) as runner:
        runner.run(six())


def test_a_cancelled_wait_loses_nothing() -> None:
    async def two() -> None:
        stand = Stand()
        stream = stand.stream(0.03)
        assert await anext(stream) == 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await anext(stream)
        assert await anext(stream) == 2
        assert stand.at[1] - stand.at[0] == pytest.approx(0.03)

    with asyncio.Runner(loop_factory=Hourglass) as runner:
        runner.run(two())


@pytest.mark.parametrize("how", ["exit", "gone"])
async def test_it_ends_when_the_container_stops(how: str) -> None:
    stand = Stand(stops_after=2 if how == "gone" else 1000)
    seen = []
    async for number in stand.stream(0.01):
        seen.append(number)
        if how == "exit" and len(seen) == 2:
            stand.stopped.set()
    assert seen == [1, 2]
    assert stand.closed == 1


async def test_a_stopped_container_has_no_stream() -> None:
    stream = Stand(stops_after=0).stream(0.01)
    with pytest.raises(NotRunningError):
        await anext(stream)


@pytest.mark.parametrize("interval_s", [0, -1, float("inf"), float("nan")])
async def test_an_interval_is_positive(interval_s: float) -> None:
    make: Callable[[], StatsStream] = lambda: Stand().stream(interval_s)  # noqa: E731
    with pytest.raises(SpecError) as caught:
        make()
    assert caught.value.origin == "interval_s"


# All containers -----------------------------------------------------------------------------------------


def reading(id: str, second: float, cpu_s: float) -> Stats:
    return Stats(id=id, time_ns=0, monotonic_ns=int(second * 1e9), cpu=CpuStats(total_ns=int(cpu_s * 1e9)))


def test_rates_of_all_are_of_those_who_were_there_before() -> None:
    batches = [
        {"a": reading("a", 0, 1), "gone": reading("gone", 0, 1)},
        {"a": reading("a", 2, 2), "new": reading("new", 2, 5)},
        {"a": reading("a", 4, 2), "new": reading("new", 4, 9)},
    ]

    async def two() -> None:
        at: list[float] = []

        async def read() -> dict[str, Stats]:
            at.append(asyncio.get_running_loop().time())
            return batches.pop(0)

        stream = RatesOfAll(2.0, read)
        assert {id: each.cpu for id, each in (await anext(stream)).items()} == {"a": 0.5}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(stream)
        assert {id: each.cpu for id, each in (await anext(stream)).items()} == {"a": 0, "new": 2}
        assert [each - at[0] for each in at] == pytest.approx([0, 2, 4])
        await asyncio.sleep(5)  # nobody asks: two moments pass
        batches.append({})
        assert await anext(stream) == {}
        assert at[-1] - at[0] == pytest.approx(10)

    with asyncio.Runner(loop_factory=Hourglass) as runner:
        runner.run(two())


@pytest.mark.parametrize("interval_s", [0, float("nan")])
def test_an_interval_for_all_is_positive_too(interval_s: float) -> None:
    with pytest.raises(SpecError):
        RatesOfAll(interval_s, lambda: asyncio.sleep(0, {}))
