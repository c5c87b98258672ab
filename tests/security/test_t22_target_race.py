"""T22 (CVE-2021-30465): a part of the target becomes a link between the check and the mount."""

from __future__ import annotations

import os
from asyncio.subprocess import DEVNULL
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support.guest import mounts_of

from aiocontainer import ContainerError, Mount, Runtime, Spec
from aiocontainer.spec import IDMapping

if TYPE_CHECKING:
    from hostile import Canary, Race

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

IDS = (IDMapping(container_id=0, host_id=5000, size=65536),)


def mount_of(kind: str, source: str) -> Mount:
    """Each way to mount something below a volume that a neighbour shares."""
    target = "/v/d/x"
    match kind:
        case "tmpfs":
            return Mount.tmpfs(target)
        case "copied":
            return Mount.tmpfs(target, options=["tmpcopyup"])
        case "cgroup":
            return Mount(destination=target, type="cgroup", options=("ro",))
        case "mapped":
            return Mount(
                destination=target,
                type="bind",
                source=source,
                options=("bind",),
                uid_mappings=IDS,
                gid_mappings=IDS,
            )
    return Mount.bind(source, target)


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "copied", "cgroup", "mapped"])
@pytest.mark.parametrize("where", ["", "/directory"])
async def test_race(
    runtime: Runtime,
    rootfs: str,
    public_tmp: str,
    canary: Canary,
    race: Race,
    kind: str,
    where: str,
) -> None:
    """The mount is where the plan says, or there is no container; the host is never in it."""
    volume, source = f"{public_tmp}/volume", f"{public_tmp}/source"
    os.makedirs(f"{volume}/d/x")
    os.mkdir(source)
    os.symlink(canary.path + where, f"{volume}/other")
    spec = Spec.default(["sleep", "60"], rootfs=rootfs)
    spec = replace(spec, mounts=(*spec.mounts, Mount.bind(volume, "/v"), mount_of(kind, source)))
    ended = {"made": 0, "refused": 0}
    with race(f"{volume}/d", f"{volume}/other") as laps:
        for _ in laps:
            try:
                container = await runtime.create(None, spec, stdin=DEVNULL)
            except ContainerError:
                ended["refused"] += 1
                continue
            ended["made"] += 1
            # It moves along with its directory, to the other name and back, even as we read; and a
            # link that leads where the host has the canary leads to nothing but that name inside.
            places = [place for place in mounts_of(container.pid) if place.endswith("/x")]
            inside = {"/v/d/x", "/v/other/x", f"{canary.path}{where}/x"}
            assert places, "the mount is nowhere"
            assert set(places) <= inside, places
            await container.delete(force=True)
    assert ended["made"], ended
