"""Fuzz the plan decoder for a bounded time: clang's libFuzzer with ASan and UBSan.

The corpus is the golden plans, and whatever was found to be worth keeping.  New finds of a run go to
a scratch directory; a crash is printed, kept where ``--crashes`` says, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = [
    *["-std=gnu11", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-Werror"],
    *["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
]
SOURCES = [HERE / "fuzz_decode.c", HERE.parent / "decode.c"]


def build(target: Path) -> None:
    """Compile harness and decoder, and nothing else of the helper."""
    clang = os.environ.get("CLANG", "clang")
    if shutil.which(clang) is None:
        sys.exit(f"{clang} is not installed; fuzzing needs clang and its runtime library")
    subprocess.run([clang, *FLAGS, *map(str, SOURCES), "-o", str(target)], check=True)


def fuzz(binary: Path, corpus: Path, crashes: Path, seconds: int) -> int:
    """Run it; the exit status of libFuzzer."""
    crashes.mkdir(parents=True, exist_ok=True)
    command = [str(binary), f"-max_total_time={seconds}", "-max_len=65536", "-print_final_stats=1"]
    command += [f"-artifact_prefix={crashes}/", str(corpus), str(HERE / "corpus")]
    return subprocess.run(command, check=False, timeout=seconds + 60).returncode


def main() -> int:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--crashes", type=Path, default=Path("fuzz-crashes"), help="where crashes are kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        binary, corpus = Path(scratch, "fuzz_decode"), Path(scratch, "corpus")
        corpus.mkdir()
        build(binary)
        status = fuzz(binary, corpus, options.crashes, options.seconds)
    if not any(options.crashes.iterdir()):
        options.crashes.rmdir()
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
