"""How long after a container's end its awaiter runs, and what watching costs while nothing ends.

    python benchmarks/exits.py [--containers N] [--samples N] [--loop asyncio|uvloop] [--idle-s S]

Keeps N containers alive, each with an awaiter, under one stream of all events. Then ends *samples* of
them one by one, each by closing its standard input: the time includes the program's own way out. Last
it ends the rest at once, and counts awaiters and events: none may be lost or doubled. Root is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from aiocontainer import Container, Exited, ExitStatus, Runtime, Spec
from aiocontainer.events import inotify

MEMORY = "/dev/shm"
BATCH = 8


def ticks() -> int:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def inotify_count() -> int:
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue
    return links.count("anon_inode:inotify")


def milliseconds(samples: list[float]) -> str:
    cut = statistics.quantiles(samples, n=100)
    return f"p50 {cut[49] * 1000:.3f} ms, p90 {cut[89] * 1000:.3f} ms, p99 {cut[98] * 1000:.3f} ms"


def make_rootfs(above: str) -> str:
    """Make a root file system that has nothing but busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("busybox is needed")
    rootfs = Path(above) / "rootfs"
    for name in ("bin", "dev", "proc", "sys"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(busybox, rootfs / "bin")
    return str(rootfs)


class Crowd:
    """Containers that live until their standard input ends."""

    def __init__(self, runtime: Runtime, spec: Spec) -> None:
        self._runtime = runtime
        self._spec = spec
        self.inputs: dict[str, int] = {}
        self.waiting: dict[str, asyncio.Task[tuple[ExitStatus, float]]] = {}

    async def fill(self, count: int) -> None:
        left = iter(range(count))

        async def worker() -> None:
            for number in left:
                await self._add(f"bench-{number}")

        await asyncio.gather(*(worker() for _ in range(BATCH)))

    async def _add(self, id: str) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            container = await self._runtime.create(
                id, self._spec, stdin=reader, stdout=DEVNULL, stderr=DEVNULL
            )
        finally:
            os.close(reader)
        self.inputs[id] = writer
        await container.start()
        self.waiting[id] = asyncio.create_task(self._wait(container))

    @staticmethod
    async def _wait(container: Container) -> tuple[ExitStatus, float]:
        exit = await container.wait()
        return exit, time.monotonic()

    async def end_one(self, id: str) -> float:
        began = time.monotonic()
        os.close(self.inputs.pop(id))
        return (await self.waiting[id])[1] - began

    async def end_all(self) -> float:
        began = time.monotonic()
        for id in list(self.inputs):
            os.close(self.inputs.pop(id))
        await asyncio.gather(*self.waiting.values())
        return time.monotonic() - began


async def measure(options: argparse.Namespace, root: str) -> None:
    spec = Spec.default(["/bin/busybox", "cat"], rootfs=make_rootfs(root))
    assert spec.linux is not None
    kept = tuple(each for each in spec.linux.namespaces or () if each.type != "network")
    spec = replace(spec, linux=replace(spec.linux, namespaces=kept))  # the dearest, and of no matter here
    told: Counter[str] = Counter()
    async with Runtime(root=f"{root}/state") as runtime:
        events = runtime.events(limit=10 * options.containers)

        async def listen() -> None:
            async for event in events:
                if isinstance(event, Exited):
                    told[event.id] += 1

        async with events:
            listening = asyncio.create_task(listen())
            crowd = Crowd(runtime, spec)
            await crowd.fill(options.containers)
            instance = inotify.instance(asyncio.get_running_loop())
            print(
                f"{options.containers} containers, {instance.count if instance else 0} watches, "
                f"inotify descriptors: {inotify_count()}"
            )
            before = ticks()
            await asyncio.sleep(options.idle_s)
            print(f"idle for {options.idle_s:g} s: {ticks() - before} ticks of processor time")
            samples = []
            for id in list(crowd.inputs)[: options.samples]:
                samples.append(await crowd.end_one(id))
                await asyncio.sleep(0.005)
            print("one at a time, to the awaiter:", milliseconds(samples))
            print(f"all others at once: {await crowd.end_all():.3f} s")
            statuses = [task.result()[0] for task in crowd.waiting.values()]
            await asyncio.sleep(0.2)
            assert len(statuses) == options.containers
            assert all(each.known and each.code == 0 for each in statuses)
            assert set(told) == set(crowd.waiting), "an event was lost"
            assert set(told.values()) == {1}, "an event was doubled"
            print(f"{len(statuses)} awaiters and {told.total()} events: none lost, none doubled")
            listening.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=500)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--idle-s", type=float, default=10.0)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="aioc-bench-") as root:
        if options.loop == "uvloop":
            import uvloop

            uvloop.run(measure(options, root))
        else:
            asyncio.run(measure(options, root))


if __name__ == "__main__":
    main()
