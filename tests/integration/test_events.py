"""Events and verdicts on the real kernel, in whichever cgroups the machine has."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support.cgroups import needs_controllers

from aiocontainer import (
    Container,
    Created,
    Deleted,
    Event,
    Exited,
    Frozen,
    Oom,
    OomVerdict,
    Pressure,
    Runtime,
    Spec,
    Started,
    Thawed,
    UnsupportedError,
    Updated,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.needs("root", "busybox")

MEMORY = Path("/sys/fs/cgroup/memory" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup")
V1 = MEMORY.name == "memory"
LIMIT_FILE = "memory.limit_in_bytes" if V1 else "memory.max"
LIMIT_BYTES = 32 << 20
HOG = "dd if=/dev/zero of=/dev/null bs=200M count=1"
ROUNDS = int(os.environ.get("AIOCONTAINER_ROUNDS", "1"))
LOOPS = ["asyncio", pytest.param("uvloop", marks=pytest.mark.needs("uvloop"))]
ONE_LOOP = os.path.isdir("/run/systemd/system")
"""Our command takes seconds to start in the virtual machine: its tests run on one loop there."""
BUSY = "the test itself works with files"
VFORK = "starting a program holds the loop until its execve(2), however long that waits for a processor"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    slow = ONE_LOOP and {"bundle", "foreign"}.intersection(metafunc.fixturenames)
    metafunc.parametrize("loop_kind", LOOPS[:1] if slow else LOOPS)


def shell(script: str, rootfs: str) -> Spec:
    return Spec.default(["sh", "-c", script], rootfs=rootfs)


@pytest.fixture
def above() -> Iterator[str]:
    """A cgroup for the containers of a test to be in, whose memory is accounted."""
    path = MEMORY / f"aioc-test-events-{os.urandom(3).hex()}"
    if not V1:
        if "memory" not in (MEMORY / "cgroup.controllers").read_text().split():
            pytest.skip("needs the memory controller")
        (MEMORY / "cgroup.subtree_control").write_text("+memory")
    path.mkdir()
    if not V1:
        (path / "cgroup.subtree_control").write_text("+memory")
    yield path.name
    for hierarchy in {path, *Path("/sys/fs/cgroup").glob(f"*/{path.name}")}:
        with contextlib.suppress(FileNotFoundError):
            for below in hierarchy.glob("*/"):
                below.rmdir()  # of a container whose test has failed
            hierarchy.rmdir()


def memory_of(container: Container, paths: dict[str, str]) -> Path:
    return Path(paths["memory" if V1 else ""])


async def limited(
    runtime: Runtime,
    above: str,
    rootfs: str,
    script: str,
    *,
    own: bool = True,
    group: bool = False,
    read_only: bool = True,
) -> Container:
    """Create a container with a limit of its own, or of the one above it."""
    spec = shell(script, rootfs)
    assert spec.linux is not None
    assert spec.root is not None
    spec = replace(spec, root=replace(spec.root, readonly=read_only))
    spec = replace(spec, linux=replace(spec.linux, cgroups_path=f"/{above}/{os.urandom(4).hex()}"))
    c = await runtime.create(None, spec)
    cgroup = memory_of(c, dict((await c.state()).cgroup_paths))
    (cgroup if own else cgroup.parent).joinpath(LIMIT_FILE).write_text(str(LIMIT_BYTES))
    if group:
        (cgroup / "memory.oom.group").write_text("1")
    return c


async def taken(stream: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in stream]


@pytest.mark.may_block(BUSY)
@pytest.mark.parametrize("group", [False, pytest.param(True, marks=pytest.mark.skipif(V1, reason="v2 only"))])
@pytest.mark.parametrize("own", [True, False], ids=["own", "above"])
@pytest.mark.parametrize("victim", ["init", "child"])
async def test_verdicts(
    runtime: Runtime, above: str, rootfs: str, victim: str, own: bool, group: bool
) -> None:
    script = f"exec {HOG}" if victim == "init" else f"{HOG}; exit 137"
    for _ in range(ROUNDS):
        c = await limited(runtime, above, rootfs, script, own=own, group=group)
        async with c.oom_events() as kills:
            await c.start()
            exit = await asyncio.wait_for(c.wait(), 60)
            assert isinstance(exit.oom, OomVerdict)
            init_killed = victim == "init" or group
            assert exit.oom.init_killed is init_killed
            assert (exit.code, exit.signal) == ((None, signal.SIGKILL) if init_killed else (137, None))
            assert exit.oom.limit == ("container" if own else "ancestor")
            assert exit.oom.group is group
            assert exit.oom.kills == (2 if group and victim == "child" else 1)
            if exit.oom.peak_bytes is not None:
                # In v1 its own counter goes first, and only then the one above says no.
                assert 0 < exit.oom.peak_bytes <= LIMIT_BYTES + (1 << 20)
            told = [event async for event in kills if isinstance(event, Oom)]
        assert sum(event.kills for event in told) == exit.oom.kills
        await c.delete()


@pytest.mark.may_block(BUSY)
@pytest.mark.parametrize("script", ["exit 137", "kill -9 $$; exit 137", "sleep 60 & kill -9 $!; exit 137"])
async def test_137_alone_is_no_verdict(runtime: Runtime, above: str, rootfs: str, script: str) -> None:
    for _ in range(ROUNDS):
        c = await limited(runtime, above, rootfs, script)
        async with c.oom_events() as kills:
            await c.start()
            exit = await asyncio.wait_for(c.wait(), 60)
            assert (exit.code, exit.oom) == (137, None)
            assert await taken(kills) == []
        await c.delete()


@pytest.mark.may_block(BUSY)
async def test_an_init_that_we_kill_after_its_child_was_killed(
    runtime: Runtime, above: str, rootfs: str
) -> None:
    c = await limited(runtime, above, rootfs, f"{HOG}; sleep 60")
    async with c.oom_events() as kills:
        await c.start()
        assert isinstance(await asyncio.wait_for(anext(kills), 60), Oom)
        await c.kill("KILL")
        exit = await c.wait()
    assert exit.signal == signal.SIGKILL
    assert exit.oom is not None
    assert (exit.oom.kills, exit.oom.init_killed) == (1, False)
    await c.delete()


@pytest.mark.may_block(BUSY)
async def test_a_loaded_container_gets_the_same_verdict(
    runtime: Runtime, above: str, rootfs: str, tmp_path: Path
) -> None:
    c = await limited(runtime, above, rootfs, f"{HOG}; exit 5", own=False)
    async with Runtime(root=runtime.root) as other:
        same = await other.load(c.id)
        await c.start()
        first, second = await asyncio.gather(c.wait(), same.wait())
    assert first.oom is not None
    assert second.oom == first.oom
    await c.delete()


async def test_the_life_of_a_container_in_order(runtime: Runtime, rootfs: str) -> None:
    async with runtime.events() as all_of_them:
        c = await runtime.create("aioc-test-e1", shell("exit 4", rootfs))
        own = asyncio.create_task(taken(c.events()))
        await c.start()
        await c.wait()
        assert isinstance((await own)[-1], Exited)
        late = await taken(c.events())
        await c.delete()
        told = []
        async with asyncio.timeout(10):
            async for event in all_of_them:
                told.append(event)
                if isinstance(event, Deleted):
                    break
    kinds = [type(event) for event in told if type(event).__name__ != "Empty"]
    assert kinds == [Created, Started, Exited, Deleted]
    exited = next(event for event in told if isinstance(event, Exited))
    assert exited.exit == await c.wait()
    assert exited.exit.code == 4
    assert [type(event) for event in late] == [Exited]


async def test_changed_limits_are_told(runtime: Runtime, rootfs: str) -> None:
    needs_controllers("pids")
    async with runtime.container(shell("sleep 60", rootfs)) as c, c.events() as events:
        await c.update({"pids": {"limit": 50}})
        event = await asyncio.wait_for(anext(events), 10)
    assert isinstance(event, Updated)


async def test_pausing_is_told_once_by_whoever(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(shell("sleep 60", rootfs)) as c, c.events() as events:
        await c.pause()
        await c.resume()
        await c.kill("KILL")
        told = await taken(events)
    assert [type(event) for event in told if isinstance(event, Frozen | Thawed)] == [Frozen, Thawed]


async def test_without_memory_there_are_no_kills_to_be_told(runtime: Runtime, rootfs: str) -> None:
    if V1:
        pytest.skip("every container has a memory cgroup in v1")
    async with runtime.container(shell("sleep 60", rootfs)) as c:
        if not os.path.exists(f"{(await c.state()).cgroup_paths['']}/memory.events"):
            with pytest.raises(UnsupportedError, match="memory"):
                await anext(c.oom_events())


async def test_processors_under_pressure(runtime: Runtime, rootfs: str) -> None:
    burn = "for i in 1 2 3 4 5 6; do while :; do :; done & done; wait"
    async with runtime.container(shell(burn, rootfs)) as c:
        events = c.pressure_events(None, resource="cpu", some=0.05)
        try:
            event = await asyncio.wait_for(anext(events), 20)
        except UnsupportedError as exc:
            pytest.skip(str(exc))
    assert isinstance(event, Pressure)
    assert (event.resource, event.level) == ("cpu", None)
    await events.aclose()


@pytest.mark.skipif(not V1, reason="v1 only")
@pytest.mark.may_block(BUSY)
async def test_levels_of_v1(runtime: Runtime, above: str, rootfs: str) -> None:
    script = "while :; do dd if=/dev/zero of=/file bs=1M count=64; done"
    c = await limited(runtime, above, rootfs, script, read_only=False)
    async with c.pressure_events("low") as events:
        await c.start()
        event = await asyncio.wait_for(anext(events), 30)
    assert (event.resource, event.level) == ("memory", "low")
    await c.delete(force=True)


def command(runtime: Runtime, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "aiocontainer", "--root", runtime.root, *arguments)


async def succeed(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(*arguments, stdin=DEVNULL, stdout=DEVNULL)
    assert await process.wait() == 0


@pytest.fixture
async def foreign(runtime: Runtime) -> AsyncIterator[str]:
    """The id of a container that another process will create."""
    id = f"aioc-test-{os.urandom(4).hex()}"
    yield id
    await runtime.delete(id, force=True)


@pytest.mark.may_block(VFORK)
async def test_containers_of_other_processes(
    runtime: Runtime, rootfs: str, bundle: Callable[[Spec], str], foreign: str
) -> None:
    path, other = bundle(shell("sleep 0.5; exit 7", rootfs)), foreign
    async with runtime.events() as events:
        await succeed(*command(runtime, "create", "-b", path, other))
        await succeed(*command(runtime, "start", other))
        told: list[Event] = []
        async with asyncio.timeout(60):
            async for event in events:
                told.append(event)
                if isinstance(event, Exited):
                    await succeed(*command(runtime, "delete", other))
                if isinstance(event, Deleted):
                    break
    assert [type(event) for event in told if type(event).__name__ != "Empty"] == [
        Created,
        Started,
        Exited,
        Deleted,
    ]
    exit = next(event for event in told if isinstance(event, Exited)).exit
    assert (exit.code == 7) if exit.known else (exit.returncode is None)


@pytest.mark.may_block(BUSY)
async def test_the_command_tells_of_kills(runtime: Runtime, above: str, rootfs: str) -> None:
    wait = "trap 'go=1' USR1; until [ $go ]; do sleep 0.1; done"
    c = await limited(runtime, above, rootfs, f"{wait}; {HOG}; sleep 0.5; exit 0")
    await c.start()
    process = await asyncio.create_subprocess_exec(
        *command(runtime, "events", "--interval", "500ms", c.id), stdin=DEVNULL, stdout=PIPE
    )
    assert process.stdout is not None
    first = await asyncio.wait_for(process.stdout.readline(), 100)
    await c.kill("USR1")
    rest, _ = await asyncio.wait_for(process.communicate(), 100)
    out = first + rest
    assert process.returncode == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["id"] for line in lines} == {c.id}
    assert [line["data"]["kills"] for line in lines if line["type"] == "oom"] == [1]
    assert any(line["type"] == "stats" for line in lines)
    await c.delete()


@pytest.mark.may_block(VFORK)
async def test_a_watcher_that_comes_late(
    runtime: Runtime, rootfs: str, bundle: Callable[[Spec], str], foreign: str
) -> None:
    path, old = bundle(shell("sleep 60", rootfs)), foreign
    await succeed(*command(runtime, "run", "-d", "-b", path, old))
    async with runtime.events() as events:
        await succeed(*command(runtime, "kill", old, "KILL"))
        event = await asyncio.wait_for(anext(events), 20)
        while not isinstance(event, Exited):
            event = await asyncio.wait_for(anext(events), 20)
    assert event.exit.signal in (signal.SIGKILL, None)


def processor_ticks() -> int:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def ticks_of(seconds: float) -> int:
    """Return what this process uses while it sleeps."""
    before = processor_ticks()
    await asyncio.sleep(seconds)
    return processor_ticks() - before


async def test_watching_costs_nothing_while_nothing_happens(runtime: Runtime, rootfs: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        containers = [
            await stack.enter_async_context(runtime.container(shell("sleep 60", rootfs))) for _ in range(5)
        ]
        stream = await stack.enter_async_context(runtime.events())
        waiting = [asyncio.create_task(anext(stream)), *(asyncio.create_task(c.wait()) for c in containers)]
        # A busy machine charges a tick to who sleeps now and then; who looks every so often never rests.
        await asyncio.sleep(1)
        used: list[int] = []
        while 0 not in used:
            assert len(used) < 6, used
            used.append(await ticks_of(3))
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
