"""What it costs to ask many containers what they use.

    python benchmarks/stats.py [--count N] [--rounds N] [--view]

Makes N created containers (1,000 if not said) on this machine's cgroups, or with --view in a private view
with a pure cgroup2, and reads them: all in one batch, whole and in part, and one by one; then one of them
again and again, with and without files that are kept open.  Time is wall time and, because machines are
shared, CPU time of this process.  Root is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from typing import TYPE_CHECKING

import view

from aiocontainer import Command, Runtime, StatsMask
from aiocontainer.cgroups.stats.reading import KeptFiles
from aiocontainer.container.stats import read_stats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocontainer import Container

MEMORY = "/dev/shm"
SOME = StatsMask.CPU | StatsMask.MEMORY | StatsMask.PIDS
AGAIN = 200  # readings of one container per round


async def timed(work: Callable[[], Awaitable[object]], rounds: int, count: int) -> str:
    """Median microseconds for one container: wall and CPU."""
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        await work()
        walls.append((time.perf_counter() - wall) / count * 1e6)
        cpus.append((time.process_time() - cpu) / count * 1e6)
    return f"{statistics.median(walls):8.0f} {statistics.median(cpus):8.0f}"


async def late(work: Awaitable[object]) -> float:
    """By how many milliseconds the loop was late at most, while *work* was done."""
    worst, task = 0.0, asyncio.ensure_future(work)
    while not task.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - before - 0.001)
    await task
    return worst * 1000


async def measure(runtime: Runtime, containers: list[Container], rounds: int) -> None:
    async def one_by_one() -> None:
        for container in containers:
            await container.stats()

    def again(mask: StatsMask, kept: KeptFiles | None) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            accounts = containers[0].accounts()
            for _ in range(AGAIN):
                read_stats(accounts, mask, kept)

        return work

    count, kept = len(containers), KeptFiles()
    print(f"{count} containers; microseconds for one, wall and CPU")
    rows: list[tuple[str, Callable[[], Awaitable[object]], int]] = [
        ("batch, everything", runtime.stats, count),
        ("batch, CPU, memory and pids", lambda: runtime.stats(mask=SOME), count),
        ("batch, CPU alone", lambda: runtime.stats(mask=StatsMask.CPU), count),
        ("one by one, everything", one_by_one, count),
        ("one again, everything", again(StatsMask.ALL, None), AGAIN),
        ("one again, files kept open", again(StatsMask.ALL, kept), AGAIN),
        ("one again, CPU, memory and pids", again(SOME, None), AGAIN),
        ("the same, files kept open", again(SOME, kept), AGAIN),
    ]
    for name, work, each in rows:
        print(f"{name:34}{await timed(work, rounds, each)}", flush=True)
    lateness = await late(runtime.stats())
    print(f"{len(kept)} files kept open for one; the loop was late by {lateness:.1f} ms at most")
    kept.close()


async def main(count: int, rounds: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1 << 18)), hard))
    with tempfile.TemporaryDirectory(prefix="aioc-test-bench-", dir=MEMORY) as work:
        async with Runtime(root=f"{work}/state") as runtime:
            limit = asyncio.Semaphore(8)

            async def create(i: int) -> Container:
                async with limit:
                    return await runtime.create(
                        f"aioc-test-stats-{i}",
                        Command(["/bin/true"]),
                        stdin=DEVNULL,
                        stdout=DEVNULL,
                        stderr=DEVNULL,
                        no_new_keyring=True,  # a user may have few keys: keyrings(7)
                    )

            containers = await asyncio.gather(*map(create, range(count)))
            await measure(runtime, containers, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--view", action="store_true")
    options = parser.parse_args()
    if options.view and not view.is_pure():
        command = [sys.executable, __file__, "--count", str(options.count), "--rounds", str(options.rounds)]
        command = view.wrap(command)
        os.execvp(command[0], command)
    asyncio.run(main(options.count, options.rounds))
