"""This library, its command line, its peers and the physical limit, interleaved in one run.

    python benchmarks/run.py [--rounds N] [--concurrency 1,4,16,64] [--only NAME,...] [--json FILE]

Each measures create, start, wait and delete of a container that runs `true` under the default
specification (without limits, which crun refuses here), in a private view with a pure cgroup2.
Prints a table of times and of ratios to the floor.  Root is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import floor
import msgspec
import table
import view

from aiocontainer import Runtime, Spec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

FLOOR = "floor"

# State directories stand in memory, as they do by default: /run.
MEMORY = "/dev/shm"

# Containers per round, by concurrency: enough that each worker has several turns.
COUNTS = {1: 24, 4: 32, 16: 64, 64: 128}


class Competitor(Protocol):
    """Runs *count* containers, at most *concurrency* at once."""

    async def __call__(self, count: int, concurrency: int) -> floor.Result: ...


async def crowd(one: Callable[[], Awaitable[None]], count: int, concurrency: int) -> floor.Result:
    """Time *count* calls of *one* by *concurrency* workers."""
    left = iter(range(count))
    samples: list[int] = []

    async def worker() -> None:
        for _ in left:
            start = time.monotonic_ns()
            await one()
            samples.append(time.monotonic_ns() - start)

    start = time.monotonic_ns()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker())
    return floor.Result(samples, time.monotonic_ns() - start)


async def succeed(*command: str) -> bytes:
    """Output of *command*, which must end with 0."""
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {process.returncode}: {err.decode(errors='replace')}")
    return out


def limit(program: floor.Floor) -> Competitor:
    """The floor, with as many worker processes as the others have tasks."""

    async def run(count: int, concurrency: int) -> floor.Result:
        return msgspec.json.decode(await succeed(*program.command(count, concurrency)), type=floor.Result)

    return run


def in_process(runtime: Runtime, spec: Spec, ids: itertools.count[int]) -> Competitor:
    """The library, called from this event loop."""

    async def one() -> None:
        name = f"aioc-test-bench-{next(ids)}"
        container = await runtime.create(name, spec, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
        await container.start()
        await container.wait()
        await container.delete()

    return lambda count, concurrency: crowd(one, count, concurrency)


def command_line(program: list[str], state: str, bundle: str, ids: itertools.count[int]) -> Competitor:
    """A runtime's `run`, started as a process for each container."""

    async def one() -> None:
        name = f"aioc-test-bench-{next(ids)}"
        await succeed(*program, "--root", state, "run", "--bundle", bundle, name)

    return lambda count, concurrency: crowd(one, count, concurrency)


def for_everybody(spec: Spec) -> Spec:
    """*spec* as each competitor accepts it: Debian 12's crun knows no later version of the document."""
    assert spec.linux is not None
    linux = msgspec.structs.replace(spec.linux, resources=None)
    return msgspec.structs.replace(spec, oci_version="1.0.2", linux=linux)


def write_bundle(directory: str, spec: Spec) -> None:
    """Make *directory* the bundle that the command lines are given."""
    Path(directory, "config.json").write_bytes(spec.encode())


@contextlib.asynccontextmanager
async def competitors() -> AsyncIterator[dict[str, Competitor]]:
    """Everybody who can run here, the floor first."""
    ids = itertools.count()
    async with contextlib.AsyncExitStack() as stack:
        program = stack.enter_context(floor.compiled())
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix="aioc-test-bench-", dir=MEMORY))
        spec = for_everybody(Spec.default(["/true"], rootfs=program.rootfs))
        write_bundle(work, spec)
        runtime = await stack.enter_async_context(Runtime(root=f"{work}/library"))
        found: dict[str, Competitor] = {
            FLOOR: limit(program),
            "aiocontainer": in_process(runtime, spec, ids),
            "aiocontainer filtered": in_process(runtime, spec.with_default_seccomp(), ids),
        }
        programs = {
            # -P: not what lies in the working directory.
            "aiocontainer run": [sys.executable, "-P", "-m", "aiocontainer"],
            **{f"{name} run": [path] for name in ("crun", "runc") if (path := shutil.which(name))},
        }
        for name, start in programs.items():
            state = f"{work}/{name.split()[0]}"
            found[name] = command_line(start, state, work, ids)
        yield found


async def play(
    everybody: dict[str, Competitor], rounds: int, concurrencies: list[int]
) -> list[list[table.Cell]]:
    """All rounds; within one, all competitors take their turns at each concurrency."""
    for competitor in everybody.values():
        await competitor(2, 1)  # warm caches and lazy imports
    played: list[list[table.Cell]] = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        cells = []
        for concurrency in concurrencies:
            for name, competitor in everybody.items():
                result = await competitor(COUNTS.get(concurrency, 2 * concurrency), concurrency)
                cells.append(table.Cell(concurrency, name, result.samples_ns, result.wall_ns))
        played.append(cells)
    return played


def summary(rounds: list[list[table.Cell]], concurrencies: list[int], names: list[str]) -> str:
    """The comparisons that the library promises something about."""
    pairs = [("aiocontainer", FLOOR), *((other, "aiocontainer") for other in names if other.endswith(" run"))]
    met = [(one, other) for one, other in pairs if one in names and other in names]
    return "\n".join(
        f"at {n}: {one} takes {table.ratios(rounds, n, one, other)} times as long as {other}"
        for n in concurrencies
        for one, other in met
    )


async def measure(options: argparse.Namespace) -> None:
    concurrencies = [int(text) for text in options.concurrency.split(",")]
    async with competitors() as everybody:
        only = set(options.only.split(",")) if options.only else set(everybody)
        chosen = {name: run for name, run in everybody.items() if name in only | {FLOOR}}
        rounds = await play(chosen, options.rounds, concurrencies)
    print(f"Linux {os.uname().release}, {os.cpu_count()} processors, {options.rounds} rounds\n")
    print(table.render(rounds, base=FLOOR), end="\n\n")
    print(summary(rounds, concurrencies, list(chosen)))
    if options.json is not None:
        options.json.write_bytes(
            msgspec.json.encode([[cell._asdict() for cell in cells] for cells in rounds])
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare create+start+wait+delete with peers and the floor.")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--concurrency", default="1,4,16,64")
    parser.add_argument("--only", help="comma-separated names; the floor always takes part")
    parser.add_argument("--json", type=Path, help="where every sample goes")
    options = parser.parse_args()
    if not view.is_pure():
        command = view.wrap([sys.executable, *sys.argv])
        os.execvp(command[0], command)
    # As an installed command: one that may keep no bytecode compiles this package each time.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    asyncio.run(measure(options))


if __name__ == "__main__":
    main()
