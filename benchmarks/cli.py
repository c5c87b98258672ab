"""The command line beside Debian's runtimes, and what of its time is the interpreter's own start.

    python benchmarks/cli.py [--program FILE] [--rounds N] [--samples N]

Each round measures, turn by turn: `run`; `create`, `start` and `delete` as a sum; `state`; `kill` (signal
0); `list`; `exec`; and the interpreter with nothing to do.  Prints medians, and ratios to runc in the
same round.  FILE is the installed command: this package as a user has it, with its bytecode.  Without
it, the command of the environment that runs this.  Containers run `true` under the default specification
(without limits, which Debian's crun refuses here), in a private view with a pure cgroup2.  Root is needed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import floor
import msgspec
import view
from run import MEMORY, for_everybody, write_bundle

from aiocontainer import Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS: Final = "aiocontainer"
BASE: Final = "runc"
NAME: Final = "aioc-test-bench"

Operation = dict[str, float]
"""What was done to milliseconds."""


def timed(command: list[str]) -> float:
    """Run *command*, which must end with 0; returns milliseconds."""
    start = time.monotonic_ns()
    # No pipes: a container that was created would keep their ends.
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=ACTIONS)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    taken = (time.monotonic_ns() - start) / 1e6
    if status != 0:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        raise RuntimeError(f"{' '.join(command)}: {status}; again: {done.returncode}: {done.stderr}")
    return taken


ACTIONS: Final = [
    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
]


def wait_stopped(program: list[str]) -> None:
    """Wait until the container has ended, which `delete` wants."""
    while True:
        text = subprocess.run([*program, "state", NAME], capture_output=True, check=True).stdout
        if msgspec.json.decode(text)["status"] == "stopped":
            return


def measure(program: list[str], short: str, long: str) -> Operation:
    """One turn of one program."""
    found = {"run": timed([*program, "run", "--bundle", short, NAME])}
    life = timed([*program, "create", "--bundle", short, NAME]) + timed([*program, "start", NAME])
    wait_stopped(program)
    found["create+start+delete"] = life + timed([*program, "delete", NAME])
    timed([*program, "run", "--detach", "--bundle", long, NAME])
    try:
        found["state"] = timed([*program, "state", NAME])
        found["kill"] = timed([*program, "kill", NAME, "0"])
        found["list"] = timed([*program, "list"])
        found["exec"] = timed([*program, "exec", NAME, "/true"])
    finally:
        timed([*program, "delete", "--force", NAME])
    return found


def interpreter(program: str) -> list[str]:
    """The interpreter of an installed command, in the way in which it is started."""
    python = os.path.join(os.path.dirname(program), "python3")
    return [python if os.path.exists(python) else sys.executable, "-I", "-S"]


@contextlib.contextmanager
def programs(ours: str) -> Iterator[tuple[dict[str, list[str]], str, str]]:
    """Everybody who can run here; a bundle that ends at once, and one that stays."""
    with floor.compiled() as program, tempfile.TemporaryDirectory(prefix=f"{NAME}-", dir=MEMORY) as work:
        bundles = []
        for name, words in (("short", ["/true"]), ("long", ["/pause"])):
            os.mkdir(bundle := f"{work}/{name}")
            write_bundle(bundle, for_everybody(Spec.default(words, rootfs=program.rootfs)))
            bundles.append(bundle)
        found = {OURS: [ours, "--root", f"{work}/{OURS}"]}
        for name in (BASE, "crun"):
            if path := shutil.which(name):
                found[name] = [path, "--root", f"{work}/{name}"]
        yield found, *bundles


def play(ours: str, rounds: int, samples: int) -> dict[str, list[Operation]]:
    """Name to the median of each operation, one a round; all take turns within a round."""
    played: dict[str, list[Operation]] = {}
    with programs(ours) as (everybody, short, long):
        start: dict[str, Callable[[], Operation]] = {
            name: lambda command=command: measure(command, short, long) for name, command in everybody.items()
        }
        bare = [*interpreter(ours), "-c", "pass"]
        start["interpreter"] = lambda: {"start": timed(bare)}
        for turn in start.values():
            turn()  # warm caches
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            turns: dict[str, list[Operation]] = {name: [] for name in start}
            for _ in range(samples):
                for name, turn in start.items():
                    turns[name].append(turn())
            for name, found in turns.items():
                played.setdefault(name, []).append(
                    {key: statistics.median(each[key] for each in found) for key in found[0]}
                )
    return played


def render(played: dict[str, list[Operation]]) -> str:
    """A table: medians of the rounds, and the ratio to runc with its extremes."""
    lines = ["| command | who | ms | ratio to runc |", "|---|---|---:|---|"]
    for operation in played[OURS][0]:
        for name, rounds in played.items():
            if operation not in rounds[0]:
                continue
            ratio = ""
            if BASE in played:
                found = sorted(
                    one[operation] / base[operation] for one, base in zip(rounds, played[BASE], strict=True)
                )
                ratio = f"{statistics.median(found):.2f} [{found[0]:.2f}, {found[-1]:.2f}]"
            ms = statistics.median(each[operation] for each in rounds)
            lines.append(f"| {operation} | {name} | {ms:.1f} | {ratio} |")
    start = statistics.median(each["start"] for each in played["interpreter"])
    lines.append(f"| (nothing) | the interpreter's own start | {start:.1f} | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the commands with those of Debian's runtimes.")
    parser.add_argument("--program", type=Path, default=Path(sys.executable).with_name(OURS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=12)
    options = parser.parse_args()
    if not view.is_pure():
        command = view.wrap([sys.executable, *sys.argv])
        os.execvp(command[0], command)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print(f"Linux {os.uname().release}, {os.cpu_count()} processors, {options.rounds} rounds\n")
    print(render(play(str(options.program.absolute()), options.rounds, options.samples)))


if __name__ == "__main__":
    main()
