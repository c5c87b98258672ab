"""Share the files of a pytest suite out over containers, as many at a time as this machine has room for.

    python examples/shard.py [DIRECTORY]    # without one it shows itself at work

Each file has its own memory, processes and deadline, and whatever it writes is thrown away.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from aiocontainer import Command, Farm, Job, JobResult, Mount, Runtime

SUITE = {
    "test_good.py": "def test_good(): assert 6 * 7 == 42",
    "test_bad.py": "def test_bad(): assert 6 * 9 == 42",
    "test_hungry.py": "def test_hungry(): bytearray(1 << 30)",
}


def job(directory: Path, file: Path) -> Job:
    """Run one file as the same user, over a throw-away layer; what is below /tmp has to be shown."""
    shown = [Mount.bind(path, path, read_only=True) for path in (str(directory), sys.prefix)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    source = Command(command, rootfs="/", cwd=str(directory), mounts=shown, memory="512M", pids=128)
    return Job(source=source, name=str(file.relative_to(directory)), timeout_s=300, output_bytes=65536)


def jobs_of(directory: Path) -> list[Job]:
    return [job(directory, file) for file in sorted(directory.rglob("test_*.py"))]


def verdict(result: JobResult) -> str:
    if result.completed is None:
        return f"ERROR: {result.error!r}"
    if result.completed.exit.oom:
        return "OUT OF MEMORY"
    return "passed" if result.ok else f"FAILED: {result.completed.exit}"


async def main(jobs: list[Job]) -> int:
    """Return how many files did not pass."""
    failed = 0
    async with Runtime() as runtime, Farm(runtime) as farm:
        async for result in farm.results(jobs):
            print(f"{result.job}: {verdict(result)}, {result.took_s:.1f} s")
            if not result.ok:
                failed += 1
                print((result.completed.stdout or b"").decode(errors="replace") if result.completed else "")
    print(f"{len(jobs) - failed} of {len(jobs)} files passed")
    return failed


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(min(1, asyncio.run(main(jobs_of(Path(sys.argv[1]).resolve())))))
    with tempfile.TemporaryDirectory() as suite:
        for name, text in SUITE.items():
            Path(suite, name).write_text(text)
        asyncio.run(main(jobs_of(Path(suite).resolve())))
