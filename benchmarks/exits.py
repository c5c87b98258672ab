"""How long after a container's end its awaiter runs, and what watching costs while nothing ends.

    python benchmarks/exits.py [--containers N] [--samples N] [--loop asyncio|uvloop] [--idle-s S]

Keeps N containers alive (5,000 if not said), each with an awaiter, under one stream of all events. Then
ends *samples* of them one by one, each by a line of input, while an observer, a process that does nothing
but poll their pidfds, notes when the kernel has made an end known: from there to the awaiter is what this
library takes; the way from the line to the end is the program's own way out, and the kernel's taking down
of its namespaces. Last it ends the rest at once, and counts awaiters and events:
none may be lost or doubled. Root is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import select
import shutil
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from aiocontainer import Container, Exited, ExitStatus, Runtime, Spec
from aiocontainer.events import inotify

MEMORY = "/dev/shm"
BATCH = 8
STATUSES = 251
"""Exit statuses that are told apart."""


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


def observe() -> None:
    """Be the observer: pids come as words; then, when one line says "go", tell of each end."""
    os.nice(-10)  # what it adds to a moment counts for the library otherwise
    poll = select.epoll()
    watched = {}
    for word in sys.stdin.readline().split():
        pidfd = os.pidfd_open(int(word))
        watched[pidfd] = word
        poll.register(pidfd, select.EPOLLIN)
    print("ready", flush=True)
    poll.register(0, select.EPOLLIN | select.EPOLLHUP)
    ends = []
    while True:
        found = poll.poll()
        at = time.monotonic()
        for fd, _ in found:
            if fd == 0:
                print(*ends, sep="\n", flush=True)
                return
            poll.unregister(fd)
            ends.append(f"{watched[fd]} {at!r}")


class Observer:
    """Another process that notes when processes end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def of(cls, pids: list[int]) -> Observer:
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--observe", stdin=PIPE, stdout=PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(" ".join(map(str, pids)).encode() + b"\n")
        assert await process.stdout.readline() == b"ready\n"
        return cls(process)

    async def ends(self) -> dict[int, float]:
        """Moments of the monotonic clock by pid."""
        out, _ = await self._process.communicate(b"")  # closes its input
        return {int(pid): float(at) for pid, at in (line.split() for line in out.splitlines())}


class Crowd:
    """Containers that live until they are told with which status to end.

    By named pipes, of which nobody holds an end: a descriptor for each would be one of few.  fifo(7)
    """

    def __init__(self, runtime: Runtime, spec: Spec, pipes: str) -> None:
        self._runtime = runtime
        self._spec = spec
        self._pipes = pipes
        os.mkdir(pipes)
        self.left: list[str] = []
        self.waiting: dict[str, asyncio.Task[tuple[ExitStatus, float]]] = {}
        self.pids: dict[str, int] = {}

    async def fill(self, count: int) -> None:
        left = iter(range(count))

        async def worker() -> None:
            for number in left:
                await self._add(f"bench-{number}")

        await asyncio.gather(*(worker() for _ in range(BATCH)))

    async def _add(self, id: str) -> None:
        os.mkfifo(f"{self._pipes}/{id}")
        # Open for both, it is never at its end.
        input = os.open(f"{self._pipes}/{id}", os.O_RDWR | os.O_CLOEXEC)
        try:
            container = await self._runtime.create(
                id, self._spec, stdin=input, stdout=DEVNULL, stderr=DEVNULL
            )
        finally:
            os.close(input)
        self.left.append(id)
        await container.start()
        self.pids[id] = container.pid
        self.waiting[id] = asyncio.create_task(self._wait(container))

    @staticmethod
    async def _wait(container: Container) -> tuple[ExitStatus, float]:
        exit = await container.wait()
        return exit, time.monotonic()

    def _let_go(self, id: str) -> None:
        input = os.open(f"{self._pipes}/{id}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(input, b"%d\n" % self.status(id))
        os.close(input)

    @staticmethod
    def status(id: str) -> int:
        return int(id.rpartition("-")[2]) % STATUSES

    async def end_one(self, id: str) -> tuple[float, float]:
        """When it was let go, and when its awaiter knew of its end."""
        self.left.remove(id)
        began = time.monotonic()
        self._let_go(id)
        return began, (await self.waiting[id])[1]

    async def end_all(self) -> float:
        began = time.monotonic()
        for id in self.left:
            self._let_go(id)
        await asyncio.gather(*self.waiting.values())
        return time.monotonic() - began

    def check(self, told: Counter[str]) -> None:
        """None lost, none doubled, none mistaken for another."""
        for id, task in self.waiting.items():
            exit = task.result()[0]
            assert exit.known, id
            assert exit.code == self.status(id), (id, exit)
        assert set(told) == set(self.waiting), "an event was lost"
        assert set(told.values()) == {1}, "an event was doubled"


async def one_by_one(crowd: Crowd, ids: list[str]) -> None:
    observer = await Observer.of([crowd.pids[id] for id in ids])
    moments = {}
    for id in ids:
        moments[crowd.pids[id]] = await crowd.end_one(id)
        await asyncio.sleep(0.005)
    ends = await observer.ends()
    print("one at a time, from its end to the awaiter:", end=" ")
    print(milliseconds([told - ends[pid] for pid, (_, told) in moments.items()]))
    print("from its input to its end:", end=" ")
    print(milliseconds([ends[pid] - began for pid, (began, _) in moments.items()]))


async def measure(options: argparse.Namespace, root: str) -> None:
    spec = Spec.default(["/bin/busybox", "sh", "-c", "read status; exit $status"], rootfs=make_rootfs(root))
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
            crowd = Crowd(runtime, spec, f"{root}/pipes")
            await crowd.fill(options.containers)
            instance = inotify.instance(asyncio.get_running_loop())
            print(
                f"{options.containers} containers, {instance.count if instance else 0} watches, "
                f"inotify descriptors: {inotify_count()}"
            )
            before = ticks()
            await asyncio.sleep(options.idle_s)
            print(f"idle for {options.idle_s:g} s: {ticks() - before} ticks of processor time")
            await one_by_one(crowd, crowd.left[: options.samples])
            print(f"all others at once: {await crowd.end_all():.3f} s")
            await asyncio.sleep(0.2)
            crowd.check(told)
            print(f"{len(crowd.waiting)} awaiters and {told.total()} events: none lost, none doubled")
            listening.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=5000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--idle-s", type=float, default=10.0)
    parser.add_argument("--observe", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    options = parser.parse_args()
    if options.observe:
        observe()
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1 << 18)), hard))
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="aioc-bench-") as root:
        if options.loop == "uvloop":
            import uvloop

            uvloop.run(measure(options, root))
        else:
            asyncio.run(measure(options, root))


if __name__ == "__main__":
    main()
