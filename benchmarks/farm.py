"""How near a farm comes to the best fixed number of containers at once, and what one costs its supervisor.

    python benchmarks/farm.py [--jobs N] [--alive N] [--search N] [--sleep-s S] [--warm N] [--view]

Runs N jobs (2,000), each a sleep in a container, through a farm that may have *alive* (200) at once. Before
and after, *search* of the same jobs (600) are run with each of several fixed numbers of workers up to that,
which is what one would write without a farm; the best of all is what the farm is compared with. While the
farm is full its process is looked at: private memory for each living container, and children that are no
container. Then containers are asked for *warm* (200) times in turns, made on request and taken from a warm
pool: from the request to the first byte of output. Root is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, NamedTuple

import view
from exits import MEMORY, make_rootfs

from aiocontainer import Farm, FarmMetrics, Job, Runtime, Spec, WarmPool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocontainer import Container

WORKERS = (4, 8, 16, 50, 100, 150, 200)


class Sight(NamedTuple):
    """What the supervisor is like."""

    private_bytes: int
    children: int
    containers: int

    @classmethod
    def of_now(cls, containers: int) -> Sight:
        with open("/proc/self/smaps_rollup") as file:
            fields = {line.split(":")[0]: line.split()[1] for line in file if line.startswith("Private")}
        children = 0
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children") as file:
                children += len(file.read().split())
        return cls(1024 * sum(map(int, fields.values())), children, containers)


async def fixed(runtime: Runtime, spec: Spec, jobs: int, workers: int) -> float:
    """Containers per second with so many workers, each of which runs one after the other."""
    left = iter(range(jobs))

    async def worker() -> None:
        for _ in left:
            done = await runtime.run(spec)
            assert done.exit.clean

    began = time.monotonic()
    await asyncio.gather(*(worker() for _ in range(workers)))
    return jobs / (time.monotonic() - began)


async def farmed(runtime: Runtime, spec: Spec, jobs: int, alive: int) -> tuple[float, Sight, int]:
    """Containers per second, the supervisor when it had most of them, and how many that were."""
    fullest, most = Sight.of_now(0), 0

    def look(metrics: FarmMetrics) -> None:
        nonlocal fullest, most
        most = max(most, metrics.running + metrics.starting)
        if metrics.running > fullest.containers and metrics.ended % 10 == 0:
            fullest = Sight.of_now(metrics.running)

    began = time.monotonic()
    async with Farm(runtime, alive=alive, progress=look) as farm:
        async for result in farm.results(Job(source=spec) for _ in range(jobs)):
            assert result.ok, result
    return jobs / (time.monotonic() - began), fullest, most


async def compare(runtime: Runtime, spec: Spec, options: argparse.Namespace) -> None:
    await fixed(runtime, spec, options.search, options.alive)  # everything is loaded, and the heap has grown
    best: dict[int, float] = {}

    async def search(workers: tuple[int, ...]) -> None:
        for number in workers:
            # Few workers would take for ever: then fewer jobs tell as much.
            rate = await fixed(runtime, spec, min(options.search, 10 * number), number)
            best[number] = max(rate, best.get(number, 0))
            print(f"  {number} workers: {rate:.0f} per second", flush=True)

    await search(tuple(number for number in WORKERS if number <= options.alive))
    gc.collect()
    rate, sight, most = await farmed(runtime, spec, options.jobs, options.alive)
    print(f"farm, {options.jobs} jobs: {rate:.0f} per second, at most {most} alive", flush=True)
    await search(tuple(sorted(best, key=best.__getitem__)[-3:]))
    number = max(best, key=best.__getitem__)
    print(
        f"best: {number} workers, {best[number]:.0f} per second; the farm has {rate / best[number]:.2f} of it"
    )
    print(f"children of the supervisor with {sight.containers} running: {sight.children}")


async def cost(runtime: Runtime, spec: Spec, alive: int) -> None:
    """What the supervisor has for each container that lives, pipes and all."""
    room = asyncio.Semaphore(8)

    async def create() -> Container:
        async with room:
            return await runtime.create(None, spec, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start=True)

    await (await create()).delete(force=True)  # the one helper is there, and everything is loaded
    gc.collect()
    before = Sight.of_now(0)
    containers = await asyncio.gather(*(create() for _ in range(alive)))
    gc.collect()
    after = Sight.of_now(alive)
    each = (after.private_bytes - before.private_bytes) / alive
    print(f"{alive} containers with pipes: {each / 1024:.1f} KiB of the supervisor for each", end=", ")
    print(f"{after.children - before.children - alive} further processes")
    for container in containers:
        await container.delete(force=True)


async def first_byte(container: Container) -> None:
    assert container.stdout is not None
    assert await container.stdout.read(1)


async def warm(runtime: Runtime, spec: Spec, count: int) -> None:
    async def cold_one() -> None:
        async with runtime.container(spec, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL) as container:
            await first_byte(container)
            took.append(time.monotonic() - began)

    async def warm_one() -> None:
        async with pool.take() as container:
            await first_byte(container)
            took.append(time.monotonic() - began)

    ways: dict[str, Callable[[], Awaitable[None]]] = {"cold": cold_one, "warm": warm_one}
    samples: dict[str, list[float]] = {}
    pool = WarmPool(runtime, spec, size=4, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    async with pool:
        for _ in range(count):
            for name, way in ways.items():
                while pool.ready < 4:  # noqa: ASYNC110 - a request that comes while nothing else goes on
                    await asyncio.sleep(0.001)
                took = samples.setdefault(name, [])
                began = time.monotonic()
                await way()
    for name, took in samples.items():
        cut = statistics.quantiles(took, n=100)
        print(f"{name}: to the first byte p50 {cut[49] * 1000:.2f} ms, p90 {cut[89] * 1000:.2f} ms")
    medians = {name: statistics.median(took) for name, took in samples.items()}
    print(f"warm / cold: {medians['warm'] / medians['cold']:.2f}")


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="aioc-test-bench-") as work:
        rootfs = make_rootfs(work)

        def busybox(*args: str) -> Spec:
            return Spec.default(["/bin/busybox", *args], rootfs=rootfs)

        async with Runtime(root=f"{work}/state") as runtime:
            if options.warm:
                await warm(runtime, busybox("echo"), options.warm)
            if options.alive:
                await cost(runtime, busybox("sleep", "600"), options.alive)
            if options.jobs:
                await compare(runtime, busybox("sleep", str(options.sleep_s)), options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--alive", type=int, default=200)
    parser.add_argument("--search", type=int, default=600)
    parser.add_argument("--sleep-s", type=float, default=1.0)
    parser.add_argument("--warm", type=int, default=200)
    parser.add_argument("--view", action="store_true")
    options = parser.parse_args()
    if options.view and not view.is_pure():
        command = view.wrap([sys.executable, *(each for each in sys.argv if each != "--view")])
        os.execvp(command[0], command)
    asyncio.run(main(options))
