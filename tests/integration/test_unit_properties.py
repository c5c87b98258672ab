"""Properties of a unit as systemd itself has them: seconds, and the types in our table."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.specs import shell

from aiocontainer import Runtime
from aiocontainer.spec import UNIT_PROPERTIES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = [pytest.mark.needs("root", "systemd", "cgroup2", "busybox"), pytest.mark.may_block("busctl")]

ID = "aioc-test-properties"
UNIT = f"aiocontainer-{ID}.scope"


WRITTEN_OTHERWISE = {"Conditions", "Asserts"}
"""What is read in another type than it is set."""


def properties(unit: str) -> dict[str, dict[str, Any]]:
    """All properties of a unit with their types, by the bus."""
    call = ["busctl", "--json=short", "call", "org.freedesktop.systemd1"]
    manager = ["/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "GetUnit", "s", unit]
    path = json.loads(subprocess.run([*call, *manager], capture_output=True, check=True).stdout)["data"][0]
    getall = [path, "org.freedesktop.DBus.Properties", "GetAll", "s", ""]
    found = json.loads(subprocess.run([*call, *getall], capture_output=True, check=True).stdout)
    assert found["type"] == "a{sv}"
    answer: dict[str, dict[str, Any]] = found["data"][0]
    return answer


@pytest.fixture
async def runtime(snap: Leaks, tmp_path: Path) -> AsyncIterator[Runtime]:
    root = str(tmp_path / "state")
    snap.watch(root)
    async with Runtime(root=root, cgroups="systemd") as runtime:
        yield runtime


async def test_seconds_become_microseconds(runtime: Runtime, rootfs: str) -> None:
    spec = shell("sleep 1000", rootfs).with_annotation("org.systemd.property.TimeoutStopSec", "2.5")
    spec = spec.with_annotation("org.systemd.property.RuntimeMaxSec", "uint16 3600")
    container = await runtime.create(ID, spec)
    try:
        found = properties(UNIT)
    finally:
        await container.delete(force=True)
    assert found["TimeoutStopUSec"]["data"] == 2_500_000
    assert found["RuntimeMaxUSec"]["data"] == 3_600_000_000


async def test_the_table_has_the_types_that_systemd_has(runtime: Runtime, rootfs: str) -> None:
    container = await runtime.create(ID, shell("sleep 1000", rootfs))
    try:
        found = properties(UNIT)
    finally:
        await container.delete(force=True)
    known = UNIT_PROPERTIES.keys() & found.keys() - WRITTEN_OTHERWISE
    assert len(known) > 70
    assert {name: found[name]["type"] for name in known} == {name: UNIT_PROPERTIES[name] for name in known}
