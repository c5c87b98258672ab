"""Every public coroutine, interrupted at its n-th suspension for every n, in every way: nothing is left.

A coroutine that becomes public fails the first test until it has a case here, or a reason not to.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec.structs import replace
from support.images import oci_layout
from support.interrupting import WAYS
from support.tars import archive, member

import aiocontainer
from aiocontainer import Container, Events, Farm, Image, Job, Runtime, SeccompRequest, Spec, WarmPool
from aiocontainer.container.rates import RatesStream
from aiocontainer.container.sampling import StatsStream
from aiocontainer.spec import Seccomp, Syscall

if TYPE_CHECKING:
    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root", "busybox")

MOST = 300
"""Suspensions; an operation that has more is stuck in a loop."""
ALIVE: Final = ("created", "running")

EXCUSED: Final = {
    "Container.checkpoint": "needs CRIU, and has tests where there is one",
    "Container.checkpoint_in_rounds": "Container.checkpoint, again and again",
    "Runtime.criu": "needs CRIU, and has tests where there is one",
    "Runtime.restore": "needs CRIU, and has tests where there is one",
    "DaskFarm.__aenter__": "needs Dask, and has tests where there is one",
    "DaskFarm.__aexit__": "needs Dask, and has tests where there is one",
    "DaskFarm.results": "needs Dask, and has tests where there is one",
    "Runtime.list": "an iterator: Runtime.load at each step",
    "SeccompRequest.continue_": "never suspends",
    "SeccompRequest.errno": "never suspends",
    "SeccompRequest.value": "never suspends",
}


class World:
    """What the cases work with; `close` removes what an attempt has made."""

    def __init__(self, runtime: Runtime, rootfs: str) -> None:
        self.runtime = runtime
        self.rootfs = rootfs
        self.sleeper = Spec.default(["sleep", "60"], rootfs=rootfs)
        self._shared: Container | None = None

    def spec(self, *args: str) -> Spec:
        return Spec.default(args, rootfs=self.rootfs)

    async def created(self, spec: Spec | None = None, **options: Any) -> Container:
        if "stdin" not in options:
            options.update(stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
        return await self.runtime.create(None, spec or self.sleeper, **options)

    async def running(self) -> Container:
        """One that lives; the same for many attempts."""
        if self._shared is None or await self._shared.status() != "running":
            self._shared = await self.started()
        return self._shared

    async def started(self, spec: Spec | None = None, **options: Any) -> Container:
        container = await self.created(spec, **options)
        await container.start()
        return container

    async def close(self) -> None:
        async for container in self.runtime.list():
            if container is not self._shared:
                await container.delete(force=True)


Case = Callable[[World], AsyncGenerator[Awaitable[Any], Any]]
CASES: Final[dict[str, Case]] = {}


def covers(*names: str) -> Callable[[Case], Case]:
    """Register a case: it prepares, yields what is to be interrupted, and looks at what came of it."""

    def register(case: Case) -> Case:
        CASES.update(dict.fromkeys(names, case))
        return case

    return register


async def entered(manager: Any, then: Callable[[Any], Awaitable[object]] | None = None) -> None:
    async with manager as value:
        if then is not None:
            await then(value)


# Runtime ------------------------------------------------------------------------------------------------


@covers("Runtime.__aenter__", "Runtime.__aexit__")
async def runtime_block(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    async def create(runtime: Runtime) -> None:
        await runtime.create(None, w.sleeper, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)

    yield entered(Runtime(w.runtime.root), create)


@covers("Runtime.container")
async def runtime_container(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    yield entered(w.runtime.container(w.sleeper, id="aioc-test-cancel", stdout=PIPE))
    await nothing_of(w, "aioc-test-cancel")


async def nothing_of(w: World, id: str) -> None:
    assert [c.id async for c in w.runtime.list() if c.id == id] == []
    assert id not in os.listdir(w.runtime.root)


@covers("Runtime.create")
async def runtime_create(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    create = w.runtime.create("aioc-test-cancel", w.sleeper, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    container = yield create
    if container is None:
        await nothing_of(w, "aioc-test-cancel")
    else:
        await container.delete()


@covers("Container.readiness")
async def readiness(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    nothing = {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": DEVNULL}
    container = await w.runtime.create(None, w.sleeper, notify_socket=True, **nothing)
    listening = yield container.readiness()
    with listening or await container.readiness():
        assert await container.status() == "created"
    await container.delete()


@covers("Runtime.load")
async def runtime_load(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    async with Runtime(w.runtime.root) as other:
        id = (await w.running()).id
        yield other.load(id)
        assert (await other.load(id)).id == id


@covers("Runtime.delete")
async def runtime_delete(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    id = (await w.started()).id
    yield w.runtime.delete(id, force=True)
    await w.runtime.delete(id, force=True)
    await nothing_of(w, id)


@covers("Runtime.run")
async def runtime_run(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    yield w.runtime.run(w.spec("sh", "-c", "cat"), id="aioc-test-cancel", input=b"text")
    await nothing_of(w, "aioc-test-cancel")


@covers("Runtime.stats")
async def runtime_stats(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    await w.running()
    yield w.runtime.stats()


@covers("Runtime.sweep")
async def runtime_sweep(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    half = os.path.join(w.runtime.root, "aioc-test-half")
    os.mkdir(half, 0o700)  # as a creation leaves it that is interrupted at once
    yield w.runtime.sweep()
    await w.runtime.sweep()


@covers("run")
async def module_run(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    yield aiocontainer.run(["true"])


# Container ----------------------------------------------------------------------------------------------


@covers("Container.start")
async def container_start(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    """One that is cancelled has started, or not: the container is complete either way."""
    container = await w.created()
    yield container.start()
    assert await container.status() in ALIVE


@covers("Container.exec", "Process.end")
async def container_exec(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await w.running()
    process = yield container.exec(["sleep", "60"], stdout=PIPE)
    if process is not None:
        await process.end()
        process.close()
    assert await container.processes() == [container.pid]


@covers("Container.end_deadlines")
async def container_end_deadlines(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await w.running()
    process = await container.exec(["sleep", "60"], stdin=DEVNULL, stdout=DEVNULL, timeout_s=60)
    yield container.end_deadlines()
    await process.wait()
    await container.end_deadlines()


@covers("Container.delete")
async def container_delete(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await w.started()
    yield container.delete(force=True, read_stats=True)
    await container.delete(force=True)
    await nothing_of(w, container.id)


@covers("Container.kill")
async def container_kill(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await w.running()
    yield container.kill("CONT", all=True)
    assert await container.status() == "running"


@covers("Container.stop")
async def container_stop(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await w.started()
    yield container.stop(grace_s=0.001)


@covers("Container.pause")
async def container_pause(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await w.running()
    yield container.pause()
    if await container.status() == "paused":
        await container.resume()


@covers("Container.resume")
async def container_resume(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await w.running()
    await container.pause()
    yield container.resume()
    if await container.status() == "paused":
        await container.resume()


@covers("Container.update")
async def container_update(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await w.running()
    yield container.update({})
    assert await container.status() == "running"


def reading(name: str, *args: Any) -> None:
    """A case for what only looks at a running container."""

    @covers(f"Container.{name}")
    async def look(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
        container = await w.running()
        yield getattr(container, name)(*args)
        assert await container.status() == "running"


for reader in ("config", "oci_state", "processes", "resources", "state", "stats", "status"):
    reading(reader)


@covers("Container.wait")
async def container_wait(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await w.started(w.spec("true"))
    yield container.wait()
    assert (await container.wait()).clean


# Processes, terminals -----------------------------------------------------------------------------------


@covers("Process.communicate")
async def process_communicate(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await w.started(w.spec("cat"), stdin=PIPE, stdout=PIPE)
    assert container.process is not None
    yield container.process.communicate(b"text" * 50_000)


@covers("Process.wait")
async def process_wait(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    process = await (await w.running()).exec(["true"], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    yield process.wait()
    assert (await process.wait()).clean


async def with_terminal(w: World) -> Container:
    spec = w.spec("cat")
    assert spec.process is not None
    return await w.started(replace(spec, process=replace(spec.process, terminal=True)), stdin=None)


@covers("Pty.read")
async def pty_read(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    console = (await with_terminal(w)).console
    assert console is not None
    await console.write(b"text\n")
    yield console.read()


@covers("Pty.write")
async def pty_write(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await with_terminal(w)
    assert container.console is not None
    await container.kill("STOP")  # it reads nothing: the terminal is full before this is written
    asyncio.get_running_loop().call_later(0.005, container.process.kill)  # type: ignore[union-attr]
    yield container.console.write(b"line\n" * 10_000)


# Streams ------------------------------------------------------------------------------------------------


async def all_of(stream: Any) -> None:
    async for _ in stream:
        continue


@covers("Events.__aenter__", "Events.__aexit__", "Events.aclose")
async def events_block(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    await w.running()
    stream = w.runtime.events()
    yield entered(stream)
    await stream.aclose()


@covers("Events.__anext__")
async def events_next(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await w.started(w.spec("true"))
    stream: Events[Any] = container.events()
    yield all_of(stream)
    await stream.aclose()


@covers("StatsStream.__anext__", "StatsStream.aclose")
async def stats_stream(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    stream = (await w.running()).stats_stream(0.001)

    async def two() -> None:
        await anext(aiter(stream))
        await anext(aiter(stream))
        await stream.aclose()

    yield two()
    await stream.aclose()


@covers("RatesStream.__anext__", "RatesStream.aclose")
async def rates_stream(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    stream = (await w.running()).sample(0.001)

    async def one() -> None:
        await anext(aiter(stream))
        await stream.aclose()

    yield one()
    await stream.aclose()


# Farms --------------------------------------------------------------------------------------------------


@covers("Farm.__aenter__", "Farm.__aexit__")
async def farm_block(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    async def submit(farm: Farm) -> None:
        for _ in range(3):
            farm.submit(Job(source=w.spec("true")))

    yield entered(Farm(w.runtime, alive=2), submit)
    assert [c.id async for c in w.runtime.list()] == []


@covers("Farm.results")
async def farm_results(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    async def results(farm: Farm) -> None:
        async with contextlib.aclosing(farm.results(Job(source=w.spec("true")) for _ in range(3))) as found:
            await all_of(found)

    yield entered(Farm(w.runtime, alive=2), results)
    assert [c.id async for c in w.runtime.list()] == []


@covers("WarmPool.__aenter__", "WarmPool.__aexit__", "WarmPool.take")
async def warm_pool(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    async def take(pool: WarmPool) -> None:
        async with pool.take() as container:
            await container.wait()

    pool = WarmPool(w.runtime, w.spec("true"), size=2, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    yield entered(pool, take)
    assert [c.id async for c in w.runtime.list()] == []


# Images -------------------------------------------------------------------------------------------------

MACHINE: Final = "linux/amd64"
LAYER = archive(member(b"tmp", type=b"5"), member(b"tmp/file", b"text" * 5000))


def image_of(w: World) -> tuple[Path, Path]:
    """An image's directory, and that of its layers, which lacks them the next time."""
    above = Path(w.runtime.root).parent
    if not (above / "image").exists():
        oci_layout(above / "image", [LAYER])
    return above / "image", above / "layers"


@covers("Image.open")
async def image_open(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    layout, cache = image_of(w)
    image = yield Image.open(layout, cache=cache, platform=MACHINE)
    if image is not None:
        image.close()
    assert await Image.prune(cache) in {(0, 0), (1, 20_000)}
    assert os.listdir(cache / "tmp") == []


@covers("Runtime.image")
async def runtime_image(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    layout, cache = image_of(w)
    async with Runtime(w.runtime.root) as runtime:
        yield runtime.image(layout, cache=cache, platform=MACHINE)
    assert await Image.prune(cache) in {(0, 0), (1, 20_000)}
    assert os.listdir(cache / "tmp") == []


@covers("Image.prune")
async def image_prune(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    layout, cache = image_of(w)
    (await Image.open(layout, cache=cache, platform=MACHINE)).close()
    yield Image.prune(cache)
    assert await Image.prune(cache) in {(0, 0), (1, 20_000)}
    assert os.listdir(cache / "layers") == []


# What a filter asks -------------------------------------------------------------------------------------


async def asking(w: World) -> Container:
    """A running container that waits for an answer."""
    spec = w.spec("mkdir", "/tmp/new")
    assert spec.linux is not None
    profile = Seccomp(
        default_action="SCMP_ACT_ALLOW",
        syscalls=(Syscall(names=("mkdir", "mkdirat"), action="SCMP_ACT_NOTIFY"),),
    )
    spec = replace(spec, linux=replace(spec.linux, seccomp=profile))
    return await w.started(spec, seccomp_listener=True)


@covers("SeccompNotifications.__anext__")
async def notification(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await asking(w)
    yield anext(aiter(container.seccomp_notifications()))


@covers("SeccompRequest.add_fd")
async def add_fd(w: World) -> AsyncGenerator[Awaitable[Any], Any]:
    container = await asking(w)
    request: SeccompRequest = await anext(aiter(container.seccomp_notifications()))
    yield request.add_fd(0)


# ------------------------------------------------------------------------------------------------------


def is_coroutine(value: object) -> bool:
    function = inspect.unwrap(getattr(value, "__func__", value))  # type: ignore[arg-type]
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def coroutines_of(kind: type) -> set[str]:
    special = ("__aenter__", "__aexit__", "__anext__")
    names = (name for name in dir(kind) if name in special or not name.startswith("_"))
    return {f"{kind.__name__}.{name}" for name in names if is_coroutine(inspect.getattr_static(kind, name))}


def public_coroutines() -> set[str]:
    """Every coroutine that a user can call, of what the package exports and of what that returns."""
    found = set()
    for name in aiocontainer.__all__:
        value = getattr(aiocontainer, name)
        if inspect.isclass(value):
            found |= coroutines_of(value)
        elif is_coroutine(value):
            found.add(name)
    return found | coroutines_of(StatsStream) | coroutines_of(RatesStream)


def test_there_is_a_case_for_every_public_coroutine() -> None:
    assert public_coroutines() == CASES.keys() | EXCUSED.keys()


@pytest.fixture
async def world(snap: Leaks, tmp_path: Path, rootfs: str) -> AsyncGenerator[World]:
    root = str(tmp_path / "state")
    snap.watch(root)
    async with Runtime(root) as runtime:
        yield World(runtime, rootfs)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each case in two ways, which take turns; in all of them with --every-way."""
    if "way" not in metafunc.fixturenames:
        return
    ways, pairs = list(WAYS), []
    for i, case in enumerate(dict.fromkeys(CASES.values())):
        chosen = ways if metafunc.config.getoption("--every-way") else {ways[i % 5], ways[(i + 2) % 5]}
        pairs += [pytest.param(case, way, id=f"{case.__name__}-{way}") for way in ways if way in chosen]
    metafunc.parametrize(("case", "way"), pairs)


@pytest.mark.may_block("cases look into directories")
async def test_interrupted(world: World, case: Case, way: str) -> None:
    for at in range(MOST):
        steps = case(world)
        suspended, result = await WAYS[way](await anext(steps), at)
        with contextlib.suppress(StopAsyncIteration):
            await steps.asend(result)
        await world.close()
        if not suspended:
            break
    else:
        raise AssertionError("it never comes to its end")
