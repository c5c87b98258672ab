"""Containers made and deleted many times leave as much as there was: cgroups, units, descriptors.

AIOCONTAINER_CYCLES is how many there are for each driver.  With units the service manager executes itself
anew at a third of them, and the bus is restarted at two thirds.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.leaks import cgroup_roots
from support.specs import shell, with_linux

from aiocontainer import Runtime
from aiocontainer.spec import decode_resources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.leaks import Leaks

    from aiocontainer import Spec
    from aiocontainer.runtime import CgroupChoice

CYCLES = int(os.environ.get("AIOCONTAINER_CYCLES", "24"))
WORKERS = 4

pytestmark = [
    pytest.mark.needs("root", "busybox"),
    pytest.mark.may_block("counts"),
    pytest.mark.timeout(60 + 3 * CYCLES),
]

UNITS = [pytest.mark.needs("systemd", "cgroup2")]
DISTURBANCES = (("daemon-reexec",), ("restart", "dbus.service"))
LOST = "systemd-logind.service"
"""It does not find the bus again by itself, and nobody could log in."""


class Count(NamedTuple):
    """What there is."""

    cgroups: list[str]
    units: list[str]
    fds: int


def count() -> Count:
    below = [
        os.path.join(directory, name)
        for root in cgroup_roots()
        for directory, names, _ in os.walk(root)
        for name in names
        if "aioc" in name
    ]
    listed = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "*aioc*"]
    units = []
    if os.path.isdir("/run/systemd/system"):
        done = subprocess.run(listed, capture_output=True, text=True, check=True, timeout=60)
        units = done.stdout.splitlines()
    return Count(sorted(below), units, len(os.listdir("/proc/self/fd")))


@pytest.fixture
async def cycling(snap: Leaks, tmp_path: Path, driver: CgroupChoice) -> AsyncIterator[Runtime]:
    root = str(tmp_path / "state")
    snap.watch(root)
    async with Runtime(root=root, cgroups=driver) as runtime:
        yield runtime


async def cycle(runtime: Runtime, spec: Spec, id: str) -> None:
    container = await runtime.create(id, spec)
    await container.start()
    assert (await container.wait()).code == 3
    await container.delete()


@pytest.mark.parametrize(
    "driver",
    [
        pytest.param("auto", id="cgroupfs"),
        pytest.param("systemd", marks=UNITS),
        pytest.param("delegated", marks=UNITS),
    ],
)
async def test_as_much_as_there_was(cycling: Runtime, driver: str, rootfs: str) -> None:
    limits = b'{"pids": {"limit": 50}}' if driver != "auto" else b"{}"
    spec = with_linux(shell("exit 3", rootfs), resources=decode_resources(limits))
    await asyncio.gather(*(cycle(cycling, spec, f"aioc-test-first-{n}") for n in range(WORKERS)))
    before, numbers, disturbed = count(), iter(range(CYCLES)), []
    disturb = (
        dict(zip((CYCLES // 3, 2 * CYCLES // 3), DISTURBANCES, strict=True)) if driver == "systemd" else {}
    )

    async def worker() -> None:
        for number in numbers:
            if number in disturb:
                disturbed.append(await asyncio.create_subprocess_exec("systemctl", *disturb[number]))
            await cycle(cycling, spec, f"aioc-test-cycle-{number}")

    await asyncio.gather(*(worker() for _ in range(WORKERS)))
    assert [await each.wait() for each in disturbed] == [0] * len(disturb)
    if disturb:
        again = await asyncio.create_subprocess_exec("systemctl", "restart", LOST)
        assert await again.wait() == 0
    await cycle(cycling, spec, "aioc-test-last")
    assert count() == before
