"""A container's cgroup, of files in memory: what is told when they change, and what when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from aiocontainer._aio import OwnedFd
from aiocontainer.errors import UnsupportedError
from aiocontainer.events import (
    Counters,
    Event,
    Exited,
    ExitStatus,
    Frozen,
    Interest,
    Monitor,
    Oom,
    Thawed,
    Watcher,
    first_reading,
    inotify,
)
from aiocontainer.plan.host import CgroupMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

QUIET = {"low": 0, "high": 0, "max": 0, "oom": 0, "oom_kill": 0, "oom_group_kill": 0}


class Folder:
    """A directory that stands for a cgroup; the one above it is its parent."""

    mode = CgroupMode.V2
    home = ""

    def __init__(self, path: Path) -> None:
        self.root = path
        path.mkdir(parents=True)

    def path(self, controller: str) -> str | None:
        return str(self.root)

    def put(self, file: str, up: int = 0, **values: int) -> None:
        text = "".join(f"{key} {value}\n" for key, value in values.items())
        place = self.root if up == 0 else self.root.parents[up - 1]
        (place / file).write_text(text)

    def memory(self, **values: int) -> None:
        """Count in memory.events: the local file first, as the kernel does."""
        self.put("memory.events.local", **QUIET | values)
        self.put("memory.events", **QUIET | values)

    def read(self, controller: str, file: str, *, up: int = 0) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return ((self.root if up == 0 else self.root.parents[up - 1]) / file).read_bytes()
        return None

    def has(self, controller: str, file: str) -> bool:
        return (self.root / file).exists()

    def read_below(self, controller: str, file: str) -> list[bytes]:
        return [path.read_bytes() for path in self.root.glob(f"*/**/{file}")]

    def open(self, controller: str, file: str, *, flags: int = os.O_RDONLY) -> OwnedFd | None:
        with contextlib.suppress(FileNotFoundError):
            return OwnedFd(os.open(self.root / file, flags))
        return None

    def levels_above(self, controller: str) -> int:
        return 1


class Folder1(Folder):
    mode = CgroupMode.V1


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "above" / "c")
    folder.memory()
    folder.put("cgroup.events", populated=1, frozen=0)
    folder.put("pids.events", max=0)
    folder.put("memory.events.local", up=1, **QUIET)
    return folder


@pytest.fixture
async def watcher() -> AsyncIterator[Watcher]:
    watcher = Watcher()
    yield watcher
    await watcher.close()


def monitor_of(watcher: Watcher, folder: Folder) -> Monitor:
    monitor = Monitor("c", folder, first_reading(folder, fresh=True), watcher.exchange, pid=1)
    watcher.add(monitor)
    return monitor


async def ended(watcher: Watcher, monitor: Monitor, *, killed: bool = False) -> None:
    await watcher.conclude(monitor, killed, lambda: ExitStatus(code=0, oom=monitor.verdict()))


async def test_an_old_reading_says_nothing_of_standing_still(folder: Folder, watcher: Watcher) -> None:
    """One that began before the container went on, and comes after we were told that it does."""
    monitor = monitor_of(watcher, folder)
    async with watcher.events(Interest("c", kinds=(Frozen, Thawed))) as events:
        folder.put("cgroup.events", populated=1, frozen=1)
        assert isinstance(await asyncio.wait_for(anext(events), 5), Frozen)
        old = monitor.read()
        folder.put("cgroup.events", populated=1, frozen=0)
        monitor.froze(False)
        monitor.seen(old)
        assert monitor.is_old
        await ended(watcher, monitor)
        assert [type(event) async for event in events] == [Thawed]


KINDS = ["asyncio", pytest.param("uvloop", marks=pytest.mark.needs("uvloop"))]


async def test_every_kill_is_told_once_in_time(folder: Folder, watcher: Watcher, loop_kind: str) -> None:
    monitor = monitor_of(watcher, folder)
    async with watcher.events(Interest("c", kinds=(Oom, Exited))) as events:
        kills = 0
        for count in (1, 2, 5, 6):
            folder.memory(oom=1, oom_kill=count)
            event = await asyncio.wait_for(anext(events), 5)
            assert isinstance(event, Oom)
            kills += event.kills
            assert kills == count
        folder.memory(oom=1, oom_kill=6, high=9)  # no kill
        await ended(watcher, monitor)
        rest = [event async for event in events]
    assert [type(event) for event in rest] == [Exited]


async def test_what_happened_before_the_watch_of_a_new_container_is_news(
    folder: Folder, watcher: Watcher
) -> None:
    monitor = monitor_of(watcher, folder)
    events = watcher.events(Interest())
    folder.memory(oom=1, oom_kill=1)
    await watcher.arm(fresh=monitor)
    event = await asyncio.wait_for(anext(events), 5)
    assert isinstance(event, Oom)
    assert event.kills == 1


async def test_what_happened_before_somebody_listened_is_not(folder: Folder, watcher: Watcher) -> None:
    monitor = monitor_of(watcher, folder)
    folder.memory(oom=1, oom_kill=1)
    async with watcher.events(Interest()) as events:
        await ended(watcher, monitor)
        watcher.exchange.finish()
        told = [event async for event in events]
    assert [type(event) for event in told] == [Exited]
    assert told[0].exit.oom is not None, "but the verdict is about all of its life"


async def test_kills_below_are_counted_from_when_somebody_listens(folder: Folder, watcher: Watcher) -> None:
    monitor_of(watcher, folder)
    folder.memory(oom=1, oom_kill=3)
    async with watcher.events(Interest("c", kinds=(Oom,))) as events:
        folder.put("memory.events", **QUIET | {"oom_kill": 5})  # not in the local file: it was below
        event = await asyncio.wait_for(anext(events), 5)
    assert (event.kills, event.below) == (2, 2)


async def test_where_its_processes_live_is_not_below(folder: Folder, watcher: Watcher) -> None:
    (folder.root / "inner").mkdir()
    folder.home = "inner"
    folder.put("inner/memory.events.local", **QUIET)
    monitor_of(watcher, folder)
    async with watcher.events(Interest("c", kinds=(Oom,))) as events:
        folder.put("inner/memory.events.local", **QUIET | {"oom_kill": 2})
        folder.put("memory.events", **QUIET | {"oom_kill": 3})
        event = await asyncio.wait_for(anext(events), 5)
    assert (event.kills, event.below) == (3, 1)


async def test_the_last_reading_comes_before_the_exit(folder: Folder, watcher: Watcher) -> None:
    """Also where the kernel's notice has not come yet: it holds back those that follow each other."""
    monitor = monitor_of(watcher, folder)
    async with watcher.events(Interest("c")) as events:
        monitor.armed.close()  # no notice at all
        folder.memory(oom=1, oom_kill=2)
        folder.put("cgroup.events", populated=0, frozen=0)
        await ended(watcher, monitor, killed=True)
        names = [type(event).__name__ async for event in events]
    assert names == ["Oom", "Empty", "Exited"]


async def test_nothing_is_open_while_nobody_listens(folder: Folder, watcher: Watcher) -> None:
    loop = asyncio.get_running_loop()
    monitor = monitor_of(watcher, folder)
    await watcher.arm()
    assert monitor.armed is None
    async with watcher.events(Interest()), watcher.events(Interest("c")):
        assert inotify.instance(loop) is not None
        assert inotify.instance(loop).count == 3
    assert monitor.armed is None
    assert inotify.instance(loop) is None


async def test_listening_to_one_arms_no_other(folder: Folder, watcher: Watcher, tmp_path: Path) -> None:
    monitor = monitor_of(watcher, folder)
    other = Monitor("d", Folder(tmp_path / "d"), Counters(), watcher.exchange)
    watcher.add(other)
    async with watcher.events(Interest("d")):
        assert monitor.armed is None
        assert other.armed is not None
    watcher.discard(other)


async def test_frozen_is_told_once_whoever_says_so(folder: Folder, watcher: Watcher) -> None:
    monitor = monitor_of(watcher, folder)
    async with watcher.events(Interest("c")) as events:
        folder.put("cgroup.events", populated=1, frozen=1)
        first = await asyncio.wait_for(anext(events), 5)
        monitor.froze(True)
        monitor.froze(False)
        folder.put("cgroup.events", populated=1, frozen=0)
        await ended(watcher, monitor)
        rest = [event async for event in events]
    assert [type(event).__name__ for event in (first, *rest)] == ["Frozen", "Thawed", "Exited"]


async def test_limits_of_processes_are_told(folder: Folder, watcher: Watcher) -> None:
    monitor_of(watcher, folder)
    async with watcher.events(Interest()) as events:
        folder.put("pids.events", max=4)
        event = await asyncio.wait_for(anext(events), 5)
    assert (event.limit, event.hits) == ("pids.max", 4)


async def test_the_verdict_sees_whose_limit_it_was(folder: Folder, watcher: Watcher) -> None:
    monitor = monitor_of(watcher, folder)
    folder.put("memory.events.local", up=1, **QUIET | {"oom": 1})
    folder.memory(oom_kill=1)
    (folder.root / "memory.peak").write_text("4096\n")
    monitor.shot = True
    await ended(watcher, monitor, killed=False)
    verdict = monitor.verdict()
    assert verdict is not None
    assert (verdict.limit, verdict.kills, verdict.init_killed, verdict.peak_bytes) == (
        "ancestor",
        1,
        False,
        4096,
    )


async def test_a_cgroup_that_is_gone_takes_nothing_back(folder: Folder, watcher: Watcher) -> None:
    """A service manager removes the cgroup of a unit when it is empty."""
    monitor = monitor_of(watcher, folder)
    async with watcher.events(Interest("c")) as events:
        folder.memory(oom=1, oom_kill=1)
        await asyncio.wait_for(anext(events), 5)
        shutil.rmtree(folder.root)
        await ended(watcher, monitor)
        rest = [type(event).__name__ async for event in events]
    assert rest == ["Empty", "Exited"]
    verdict = monitor.verdict()
    assert verdict is not None
    assert verdict.kills == 1


async def test_v1_counts_below_too(tmp_path: Path, watcher: Watcher) -> None:
    folder = Folder1(tmp_path / "above" / "c")
    (folder.root / "sub").mkdir()
    folder.put("memory.oom_control", oom_kill_disable=0, under_oom=0, oom_kill=1)
    folder.put("sub/memory.oom_control", oom_kill_disable=0, under_oom=0, oom_kill=2)
    (folder.root / "memory.failcnt").write_text("7\n")
    (folder.root.parent / "memory.failcnt").write_text("0\n")
    monitor = monitor_of(watcher, folder)
    await ended(watcher, monitor)
    verdict = monitor.verdict()
    assert verdict is not None
    assert (verdict.kills, verdict.limit, verdict.group) == (3, "container", False)


async def test_without_a_memory_cgroup_kills_cannot_be_told(folder: Folder, watcher: Watcher) -> None:
    monitor = monitor_of(watcher, folder)
    monitor.require_memory()
    (folder.root / "memory.events").unlink()
    with pytest.raises(UnsupportedError, match="memory cgroup"):
        monitor.require_memory()


@pytest.mark.may_block("makes a thousand directories")
async def test_many_exits_are_read_in_few_hops(
    tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiocontainer.events import watcher as module

    hops = 0
    hop = module.in_thread

    async def counted(work: object) -> object:
        nonlocal hops
        hops += 1
        return await hop(work)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "in_thread", counted)
    events = watcher.events(Interest(kinds=(Exited,)), limit=10_000)
    monitors = []
    for number in range(1000):
        monitor = Monitor(str(number), Folder(tmp_path / str(number)), Counters(), watcher.exchange)
        watcher.add(monitor)
        monitors.append(monitor)
    await asyncio.gather(*(ended(watcher, monitor) for monitor in monitors))
    watcher.exchange.finish()
    seen: list[Event] = [event async for event in events]
    assert sorted(event.id for event in seen) == sorted(monitor.id for monitor in monitors)
    assert hops < 10
