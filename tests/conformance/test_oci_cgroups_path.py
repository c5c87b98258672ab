"""OCI config-linux.md "Cgroups Path": where a container's cgroup is, as its processes find it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.specs import with_linux

from aiocontainer import Spec

if TYPE_CHECKING:
    from aiocontainer import Runtime

pytestmark = pytest.mark.needs("root", "busybox")

PARENT = "aioc-test-parent"


def cgroups(pid: int) -> dict[str, str]:
    """Path by hierarchy."""
    with open(f"/proc/{pid}/cgroup") as file:
        return {line.split(":")[1]: line.rstrip("\n").split(":", 2)[2] for line in file}


def own() -> dict[str, str]:
    return cgroups(os.getpid())


@pytest.mark.proves("$.linux.cgroupsPath")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/{PARENT}/web", f"/{PARENT}/web"),
        (f"/{PARENT}/../{PARENT}/./web", f"/{PARENT}/web"),
        (f"/../../{PARENT}/web", f"/{PARENT}/web"),
    ],
)
async def test_absolute(runtime: Runtime, rootfs: str, path: str, expected: str) -> None:
    """The same in every hierarchy that containers get a cgroup in; gone afterwards."""
    spec = with_linux(Spec.default(["sleep", "60"], rootfs=rootfs), cgroups_path=path)
    async with runtime.container(spec) as container:
        found = cgroups(container.pid)
        process = await container.exec(["sleep", "60"])
        assert cgroups(process.pid) == found
        await process.end()
    moved = {hierarchy: place for hierarchy, place in found.items() if place != own()[hierarchy]}
    assert moved
    assert set(moved.values()) == {expected}


@pytest.mark.proves("$.linux.cgroupsPath")
async def test_relative(runtime: Runtime, rootfs: str) -> None:
    """v1: below our own; v2: beside our own, which has processes of its own."""
    spec = with_linux(Spec.default(["sleep", "60"], rootfs=rootfs), cgroups_path=f"{PARENT}/web")
    async with runtime.container(spec) as container:
        found = cgroups(container.pid)
    moved = {hierarchy: place for hierarchy, place in found.items() if place != own()[hierarchy]}
    assert moved
    for hierarchy, place in moved.items():
        base = own()[hierarchy] if hierarchy else os.path.dirname(own()[hierarchy])
        assert place == f"{base.rstrip('/')}/{PARENT}/web", hierarchy
