"""Containers in units of systemd: how many per second, and how long each takes, by us and by runc.

    python benchmarks/units.py [--count N] [--rounds N] [--jobs 1,16]

A container with limits of memory, tasks and CPU time, whose program is a static `true`, is created, started,
waited for and deleted.  Who takes part takes turns in each round: we with a scope for each container, runc
with --systemd-cgroup, we in one scope for all ("delegated"), we without systemd, and runc without.  Ratios
are formed within each round, and their median is shown.  Root of a machine with systemd is needed, and gcc.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aiocontainer import Runtime, Spec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MIB = 1 << 20
PAIRS = (("systemd", "runc --systemd-cgroup"), ("delegated", "cgroupfs"), ("cgroupfs", "runc"))
"""Who is compared with whom: rates of the first by those of the second."""


class Turn(NamedTuple):
    """One of those who take part, for some containers at once."""

    rate: float
    p50_ms: float
    p90_ms: float


def make_bundle(work: str) -> str:
    """A bundle whose program is a static `true`."""
    bundle = f"{work}/bundle"
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        os.makedirs(f"{bundle}/rootfs/{name}")
    source = Path(__file__).with_name("true.c")
    subprocess.run(
        ["gcc", "-static", "-nostdlib", "-O2", "-o", f"{bundle}/rootfs/bin/true", str(source)], check=True
    )
    spec = Spec.default(["/bin/true"], rootfs="rootfs").with_limits(memory=64 * MIB, pids=64, cpus=1.0)
    with open(f"{bundle}/config.json", "wb") as file:
        file.write(spec.encode())
    return bundle


async def ours(runtime: Runtime, bundle: str, id: str) -> None:
    container = await runtime.create(id, bundle, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    await container.start()
    await container.wait()
    await container.delete()


async def theirs(options: list[str], work: str, bundle: str, id: str) -> None:
    command = ["runc", "--root", f"{work}/runc", *options, "run", "--bundle", bundle, id]
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    if await process.wait() != 0:
        raise RuntimeError(f"runc failed: {process.returncode}")


async def turn(one: Callable[[str], Awaitable[None]], count: int, jobs: int) -> Turn:
    """Let *jobs* workers do *count* containers."""
    numbers, took = iter(range(count)), []

    async def worker() -> None:
        for number in numbers:
            before = time.perf_counter()
            await one(f"aioc-test-bench-{number}")
            took.append((time.perf_counter() - before) * 1000)

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(jobs)))
    rate = count / (time.perf_counter() - start)
    return Turn(rate, statistics.median(took), sorted(took)[int(len(took) * 0.9)])


async def main(count: int, rounds: int, jobs: list[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="aioc-test-bench-", dir="/dev/shm") as work:
        bundle = make_bundle(work)
        async with (
            Runtime(root=f"{work}/systemd", cgroups="systemd") as scopes,
            Runtime(root=f"{work}/delegated", cgroups="delegated") as delegated,
            Runtime(root=f"{work}/cgroupfs", cgroups="cgroupfs") as plain,
        ):
            who: dict[str, Callable[[str], Awaitable[None]]] = {
                "systemd": lambda name: ours(scopes, bundle, name),
                "delegated": lambda name: ours(delegated, bundle, name),
                "cgroupfs": lambda name: ours(plain, bundle, name),
            }
            if shutil.which("runc"):
                who["runc --systemd-cgroup"] = lambda name: theirs(["--systemd-cgroup"], work, bundle, name)
                who["runc"] = lambda name: theirs([], work, bundle, name)
            for one in who.values():
                await one("aioc-test-bench-first")  # connected, compiled, read
            for each in jobs:
                found: dict[str, list[Turn]] = {name: [] for name in who}
                for _ in range(rounds):
                    for name, one in who.items():
                        found[name].append(await turn(one, count, each))
                report(each, found)


def report(jobs: int, found: dict[str, list[Turn]]) -> None:
    for name, turns in found.items():
        rate, p50, p90 = (statistics.median(column) for column in zip(*turns, strict=True))
        print(
            f"{jobs:3} at once  {name:24}{rate:8.1f} per second  p50 {p50:7.1f} ms  p90 {p90:7.1f} ms",
            flush=True,
        )
    for one, other in PAIRS:
        if other in found:
            ratios = [a.rate / b.rate for a, b in zip(found[one], found[other], strict=True)]
            print(f"{jobs:3} at once  {one} / {other}: {statistics.median(ratios):.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", default="1,16")
    options = parser.parse_args()
    asyncio.run(main(options.count, options.rounds, [int(each) for each in options.jobs.split(",")]))
