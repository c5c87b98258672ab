"""Many ends at once: each is told once, to whom it concerns, over one inotify descriptor."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from aiocontainer import Deleted, Exited, Runtime, Spec

if TYPE_CHECKING:
    from pathlib import Path

    from aiocontainer import Container, Event, Events, ExitStatus

pytestmark = pytest.mark.needs("root", "busybox")

LOOPS = ["asyncio", pytest.param("uvloop", marks=pytest.mark.needs("uvloop"))]
AT_ONCE = 8
STATUSES = 251
IN_TIME_S = 100


def inotify_descriptors() -> int:
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue
    return links.count("anon_inode:inotify")


def waiting_spec(rootfs: str) -> Spec:
    """A container that ends with the status that its input says; the dearest namespace is left out."""
    spec = Spec.default(["sh", "-c", "read status; exit $status"], rootfs=rootfs)
    assert spec.linux is not None
    kept = tuple(each for each in spec.linux.namespaces or () if each.type != "network")
    return replace(spec, linux=replace(spec.linux, namespaces=kept))


async def ends_of(stream: Events[Event], count: int) -> Counter[tuple[str, int | None]]:
    """Count ends until as many containers are gone: of each nothing comes after that."""
    ends: Counter[tuple[str, int | None]] = Counter()
    gone = 0
    async for event in stream:
        if isinstance(event, Exited):
            ends[event.id, event.exit.code] += 1
        gone += isinstance(event, Deleted)
        if gone == count:
            break
    return ends


@pytest.mark.parametrize("loop_kind", LOOPS)
async def test_none_is_lost_and_none_doubled(
    runtime: Runtime, rootfs: str, tmp_path: Path, request: pytest.FixtureRequest, loop_kind: str
) -> None:
    many: int = request.config.getoption("--many")
    spec, expected = waiting_spec(rootfs), {f"aioc-test-{i}": i % STATUSES for i in range(many)}
    waiting: dict[str, list[asyncio.Task[ExitStatus]]] = {}
    containers: list[Container] = []
    room = asyncio.Semaphore(AT_ONCE)

    async def create(id: str) -> None:
        os.mkfifo(tmp_path / id)
        # A pipe of which nobody here holds an end; open for both, it is never at its end.  fifo(7)
        input = os.open(tmp_path / id, os.O_RDWR | os.O_CLOEXEC)
        async with room:
            try:
                container = await runtime.create(id, spec, stdin=input, stdout=DEVNULL, stderr=DEVNULL)
            finally:
                os.close(input)
            await container.start()
        containers.append(container)
        waiting[id] = [asyncio.create_task(container.wait()) for _ in range(2)]

    async with asyncio.timeout(IN_TIME_S + many / 10), runtime.events(limit=10 * many) as stream:
        listening = asyncio.create_task(ends_of(stream, many))
        await asyncio.gather(*map(create, expected))
        assert inotify_descriptors() == 1
        for id, status in expected.items():
            input = os.open(tmp_path / id, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(input, b"%d\n" % status)
            os.close(input)
        for id, tasks in waiting.items():
            assert {(await task).code for task in tasks} == {expected[id]}, id
        late = await asyncio.gather(*(container.wait() for container in containers))
        assert [exit.code for exit in late] == [expected[container.id] for container in containers]
        await asyncio.gather(*(container.delete() for container in containers))
        assert await listening == Counter(expected.items())
