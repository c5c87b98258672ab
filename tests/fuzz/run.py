"""Fuzz every target for a bounded time: ``python tests/fuzz/run.py --seconds 60 [NAME...]``.

Targets in C are compiled with clang's libFuzzer, ASan and UBSan; those in Python run under Atheris,
which is libFuzzer too.  Each starts from its corpus and what was found before (``--finds``, a
directory that is kept); a crash is printed and kept where ``--crashes`` says, and makes the exit
status 1.  At the end comes one line per target: inputs tried, processor time, result.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "_native"
FLAGS = [
    *["-std=gnu11", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-Werror"],
    *["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
]


class Target(NamedTuple):
    """One thing to fuzz."""

    name: str
    sources: tuple[str, ...] = ()
    """C files below ``_native``; none: it is a module of this directory."""
    options: tuple[str, ...] = ()

    @property
    def corpus(self) -> Path:
        if not self.sources:
            return HERE / "corpus" / self.name
        return NATIVE / "fuzz" / "corpus" / self.name


TARGETS = (
    Target("decode", ("fuzz/fuzz_decode.c", "decode.c"), ("-max_len=65536",)),  # F1
    Target("spawner", ("fuzz/fuzz_spawner.c", "message.c")),  # F2, the helper's side
    Target("f02_dialogue"),
    Target("f03_mount_options"),
    Target("option", ("fuzz/fuzz_option.c", "path.c")),  # F3, what comes of them
    Target("path", ("fuzz/fuzz_path.c", "path.c")),  # F4
    Target("f05_seccomp"),
    Target("f06_configuration", options=("-max_len=16384",)),
    Target("f07_users"),
    Target("f08_gvariant"),
    Target("f11_procfs"),
    Target("f13_small_parsers"),
)


class Run(NamedTuple):
    """How it went."""

    target: str
    inputs: int
    cpu_s: float
    failed: bool

    def __str__(self) -> str:
        end = "FAILED" if self.failed else "ok"
        return f"{self.target:20} {self.inputs:12,} inputs {self.cpu_s:8.1f} s of processor time  {end}"


def command(target: Target, scratch: Path) -> list[str]:
    """What runs it, built if need be."""
    if not target.sources:
        return [sys.executable, str(HERE / "drive.py"), target.name]
    clang = os.environ.get("CLANG", "clang")
    if shutil.which(clang) is None:
        sys.exit(f"{clang} is not installed; fuzzing needs clang and its runtime library")
    binary = str(scratch / target.name)
    sources = [str(NATIVE / source) for source in target.sources]
    subprocess.run([clang, *FLAGS, *sources, "-lpthread", "-o", binary], check=True)
    return [binary]


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fuzz(target: Target, options: argparse.Namespace, scratch: Path) -> Run:
    finds = options.finds / target.name
    finds.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={options.seconds}", "-timeout=20", "-rss_limit_mb=2048"]
    log = scratch / f"{target.name}.log"
    line = [*command(target, scratch), *limits, *target.options, "-print_final_stats=1"]
    line += [f"-artifact_prefix={options.crashes}/{target.name}-", str(finds)]
    line += [str(target.corpus)] if target.corpus.is_dir() else []
    before = cpu_s()
    with log.open("wb") as output:
        done = subprocess.run(line, stdout=output, stderr=output, check=False, timeout=options.seconds + 120)
    text = log.read_text(errors="replace")
    if done.returncode:
        print(text[-8000:])
    found = re.search(r"number_of_executed_units: *(\d+)", text)
    return Run(target.name, int(found[1]) if found else 0, cpu_s() - before, done.returncode != 0)


def main() -> int:
    """Parse the options and run."""
    known = [target.name for target in TARGETS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each (default: %(default)s)")
    parser.add_argument("--crashes", type=Path, default=Path("fuzz-crashes"), help="where crashes are kept")
    parser.add_argument("--finds", type=Path, help="where new inputs are kept (default: nowhere)")
    options = parser.parse_args()
    unknown = set(options.targets) - set(known)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    options.crashes = options.crashes.resolve()
    options.crashes.mkdir(parents=True, exist_ok=True)
    chosen = [target for target in TARGETS if not options.targets or target.name in options.targets]
    with tempfile.TemporaryDirectory() as scratch:
        options.finds = options.finds or Path(scratch, "finds")
        runs = []
        for target in chosen:
            runs.append(fuzz(target, options, Path(scratch)))
            print(runs[-1], flush=True)
    if not any(options.crashes.iterdir()):
        options.crashes.rmdir()
    return 1 if any(run.failed for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
