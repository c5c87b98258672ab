"""The physical limit: build `floor.c` and run it.

    python benchmarks/floor.py [--rounds N] [--count N] [--jobs 1,4,16]

Prints each of its modes beside `direct`, interleaved.  Root is needed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import table
import view

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Floor", "Result", "compiled"]

HERE = Path(__file__).parent
MODES = {
    "direct": ("--mode", "direct"),
    "exec-helper": ("--mode", "exec-helper"),
    "resident": ("--mode", "resident"),
    "direct, no cgroup": ("--no-cgroup",),
    "direct, no network": ("--no-net",),
    "bare vfork, execve": ("--mode", "bare"),
}


class Result(msgspec.Struct, frozen=True):
    """What one run of the program prints."""

    samples_ns: list[int]
    wall_ns: int


class Floor(msgspec.Struct, frozen=True):
    """The program, and a root file system that holds `/true`, `/pause` and the mount points."""

    program: str
    rootfs: str

    def command(self, count: int, jobs: int, *options: str) -> list[str]:
        """Command line; it wants to run inside the view."""
        numbers = ["--count", str(count), "--jobs", str(jobs), "--samples"]
        cgroup = f"/sys/fs/cgroup/aioc-test-floor-{os.getpid()}"
        return [self.program, "--rootfs", self.rootfs, "--cgroup", cgroup, *numbers, *options]


def compile_c(source: str, target: Path, *options: str) -> None:
    subprocess.run(["gcc", "-O2", "-static", *options, "-o", target, HERE / source], check=True)


@contextlib.contextmanager
def compiled() -> Iterator[Floor]:
    """Build the program and its root file system; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="aioc-test-bench-") as work:
        rootfs = Path(work, "rootfs")
        for name in ("proc", "dev", "sys"):
            (rootfs / name).mkdir(parents=True)
        for name in ("true", "pause"):
            compile_c(f"{name}.c", rootfs / name, "-nostdlib")
        compile_c("floor.c", Path(work, "floor"))
        yield Floor(program=f"{work}/floor", rootfs=str(rootfs))


def measure(floor: Floor, mode: str, count: int, jobs: int) -> table.Cell:
    """One cell of one round."""
    command = view.wrap(floor.command(count, jobs, *MODES[mode]))
    printed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    result = msgspec.json.decode(printed, type=Result)
    return table.Cell(jobs, mode, result.samples_ns, result.wall_ns)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the physical limit.")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--count", type=int, default=96, help="containers per cell and round")
    parser.add_argument("--jobs", default="1,4,16")
    options = parser.parse_args()
    jobs = [int(text) for text in options.jobs.split(",")]
    with compiled() as floor:
        rounds = [
            [measure(floor, mode, options.count, n) for n in jobs for mode in MODES]
            for _ in range(options.rounds)
        ]
    print(table.render(rounds, base="direct"))


if __name__ == "__main__":
    main()
