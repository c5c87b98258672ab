"""Five hundred containers, sixteen at a time: every status is right, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING

import pytest
from support.leaks import picture

from aiocontainer import Runtime, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root", "busybox")

CONTAINERS = 500
AT_ONCE = 16
IN_TIME_S = 60
MOST_THREADS = 64
"""Far above what the loop's executor ever has, far below one for each container."""


def namespaces() -> Iterator[str]:
    """Every namespace that some process is in."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            yield from (os.readlink(f"/proc/{pid}/ns/{name}") for name in os.listdir(f"/proc/{pid}/ns"))
        except OSError:  # it ended meanwhile
            continue


def everything(root: str) -> set[str]:
    """Cgroups, mounts, processes, descriptors, keys, states, namespaces."""
    return {*picture([root]), *(f"namespace {name}" for name in namespaces())}


def left_since(before: set[str], root: str, patience_s: float = 5) -> set[str]:
    """What is new and stays; other people's containers on this machine come and go."""
    deadline = time.monotonic() + patience_s
    left = everything(root) - before
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left &= everything(root)
    return left


async def step_by_step(runtime: Runtime, spec: Spec) -> tuple[int | None, bytes]:
    container = await runtime.create(None, spec, stdin=DEVNULL, stdout=PIPE)
    try:
        await container.start()
        assert container.stdout is not None
        output = await container.stdout.read()
        return (await container.wait()).code, output
    finally:
        await container.delete(force=True)


async def at_once(runtime: Runtime, spec: Spec) -> tuple[int | None, bytes]:
    done = await runtime.run(spec)
    return done.exit.code, done.stdout or b""


@pytest.mark.may_block("it takes pictures of the machine")
async def test_five_hundred(rootfs: str, tmp_path: Path, snap: Leaks) -> None:
    root = str(tmp_path / "state")
    snap.watch(root)
    limit = asyncio.Semaphore(AT_ONCE)
    running = most = threads = 0

    async def one(runtime: Runtime, index: int) -> tuple[int | None, bytes]:
        nonlocal running, most, threads
        spec = Spec.default(["sh", "-c", f"echo {index}; exit {index % 256}"], rootfs=rootfs)
        async with limit:
            running += 1
            most, threads = max(most, running), max(threads, threading.active_count())
            try:
                return await (step_by_step if index % 2 else at_once)(runtime, spec)
            finally:
                running -= 1

    before = everything(root)
    async with Runtime(root) as runtime:
        async with asyncio.timeout(IN_TIME_S):
            results = await asyncio.gather(*(one(runtime, index) for index in range(CONTAINERS)))
        assert results == [(index % 256, b"%d\n" % index) for index in range(CONTAINERS)]
        assert most == AT_ONCE
        assert threads < MOST_THREADS
        assert [container async for container in runtime.list()] == []
    assert left_since(before, root) == set()
    assert os.listdir(root) == []
