"""Owners that are killed at random moments under load: what was theirs dies, and a sweep leaves nothing."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING

import pytest
from support.processes import is_alive

from aiocontainer import Runtime

if TYPE_CHECKING:
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root", "busybox")

MOST_EVENTS = 100
LATEST_S = 0.02
"""An owner is killed after so many events, and at most so long after the last of them."""
GONE_S = 30.0
IN_TIME_S = 100.0

OWNER = """
import asyncio, os, sys
from asyncio.subprocess import DEVNULL, PIPE
from aiocontainer import Resources, Runtime, Spec

async def work(runtime, rootfs, number):
    quiet = dict(stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    sleep = Spec.default(["sleep", "600"], rootfs=rootfs)
    while True:
        await runtime.run(Spec.default(["true"], rootfs=rootfs))
        async with runtime.container(sleep, **quiet) as container:
            process = await container.exec(["sleep", "600"], timeout_s=600, **quiet)
            await container.pause()
            await container.resume()
            await container.stats()
            await process.end()
        container = await runtime.create(None, sleep, **quiet)
        if number % 2:
            await container.start()
            await container.update({})
        if number % 3:
            await container.delete(force=True)
        number += 1

async def main(root, rootfs, lifetime, cgroups):
    async with Runtime(root, lifetime=lifetime, cgroups=cgroups) as runtime:
        async with runtime.events() as events:
            async with asyncio.TaskGroup() as group:
                for number in range(4):
                    group.create_task(work(runtime, rootfs, number))
                async for event in events:
                    print(type(event).__name__, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def killed_owner(root: str, rootfs: str, lifetime: str, cgroups: str, moments: random.Random) -> None:
    """Let a process make containers, and kill it."""
    arguments = (root, rootfs, lifetime, cgroups)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "faulthandler", "-c", OWNER, *arguments, stdin=DEVNULL, stdout=PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(IN_TIME_S):
        for _ in range(moments.randrange(1, MOST_EVENTS)):
            assert await process.stdout.readline() != b"", "it has failed by itself"
    await asyncio.sleep(moments.uniform(0, LATEST_S))
    assert process.returncode is None, "it has failed by itself"
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def swept(root: str) -> None:
    """Sweep from a fresh runtime until nothing is left; inits may take a moment to die."""
    async with Runtime(root) as runtime, asyncio.timeout(GONE_S):
        while os.listdir(root):
            await runtime.sweep()
            await asyncio.sleep(0.02)


def units() -> set[str]:
    if not os.path.isdir("/run/systemd/system"):
        return set()
    command = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "*aioc*"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line.split()[0] for line in listed.stdout.splitlines() if line.strip()}


MANAGERS = ["auto", pytest.param("systemd", marks=pytest.mark.needs("systemd"))]


@pytest.mark.may_block("it takes pictures of the machine")
@pytest.mark.parametrize("cgroups", MANAGERS)
async def test_what_was_to_die_with_its_owner(
    rootfs: str, tmp_path: Path, snap: Leaks, request: pytest.FixtureRequest, cgroups: str
) -> None:
    root = str(tmp_path / "state")
    snap.watch(root)
    before = units()
    moments = random.Random(5)  # the same ones each time: whose load differs is enough of chance
    for _ in range(request.config.getoption("--kills")):
        await killed_owner(root, rootfs, "owner", cgroups, moments)
        await swept(root)
        assert units() <= before
    assert snap.left() == []


@pytest.mark.may_block("it takes pictures of the machine")
@pytest.mark.parametrize("cgroups", MANAGERS)
async def test_what_was_to_outlive_its_owner(
    rootfs: str, tmp_path: Path, snap: Leaks, request: pytest.FixtureRequest, cgroups: str
) -> None:
    root = str(tmp_path / "state")
    snap.watch(root)
    before = units()
    moments = random.Random(6)
    lived = 0
    for _ in range(request.config.getoption("--kills")):
        await killed_owner(root, rootfs, "detached", cgroups, moments)
        async with Runtime(root, lifetime="detached") as runtime:
            await runtime.sweep()
            containers = [container async for container in runtime.list()]
            assert {container.id for container in containers} == set(os.listdir(root))
            alive = [each for each in containers if await each.status() != "stopped"]
            assert all(is_alive(each.pid) for each in alive)
            lived += len(alive)
            for container in containers:
                await container.delete(force=True)
        assert os.listdir(root) == []
        assert units() <= before
    assert lived > 0
    assert snap.left() == []
