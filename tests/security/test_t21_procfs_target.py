"""T21 (CVE-2019-19921, CVE-2023-27561): procfs is mounted where the image says that /proc is."""

from __future__ import annotations

import contextlib
import os
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest
from hostile import Canary, make_link
from msgspec.structs import replace
from support.guest import mounts_of

from aiocontainer import ContainerError, Mount, Runtime, Spec

if TYPE_CHECKING:
    from hostile import Race

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

LINKS = {
    "absolute": "/vol",
    "relative": "vol",
    "up": "../../vol",
    "chained": "/chain",
    "dangling": "/nowhere",
    "itself": "{name}",
    "host": "{canary}/directory",
    "procfs": "/sys",
}


def volume(rootfs: str, path: str, name: str) -> Spec:
    """The default specification, with a directory of the host as /vol: there before /proc is made."""
    os.makedirs(f"{rootfs}/vol", exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.symlink("/vol", f"{rootfs}/chain")
    spec = Spec.default(["guest", "wait"], rootfs=rootfs)
    return replace(spec, mounts=(Mount.bind(path, "/vol"), *spec.mounts))


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("name", ["proc", "sys"])
async def test_link(
    runtime: Runtime, guestfs: str, public_tmp: str, canary: Canary, name: str, kind: str
) -> None:
    os.mkdir(f"{public_tmp}/volume")
    make_link(LINKS[kind].format(name=name, canary=canary.path), f"{guestfs}/{name}")
    with pytest.raises(ContainerError):
        await runtime.create(None, volume(guestfs, f"{public_tmp}/volume", name))
    assert os.listdir(f"{public_tmp}/volume") == []


@pytest.mark.parametrize("kind", ["file", "fifo", "device"])
@pytest.mark.parametrize("name", ["proc", "sys"])
async def test_no_directory(runtime: Runtime, guestfs: str, canary: Canary, name: str, kind: str) -> None:
    os.rmdir(f"{guestfs}/{name}")
    if kind == "file":
        os.close(os.open(f"{guestfs}/{name}", os.O_CREAT, 0o755))
    elif kind == "fifo":
        os.mkfifo(f"{guestfs}/{name}")
    else:
        os.mknod(f"{guestfs}/{name}", 0o20666, os.makedev(1, 7))
    with pytest.raises(ContainerError):
        await runtime.create(None, Spec.default(["guest"], rootfs=guestfs))


@pytest.mark.parametrize("name", ["proc", "sys"])
async def test_race(
    runtime: Runtime,
    guestfs: str,
    public_tmp: str,
    canary: Canary,
    race: Race,
    name: str,
) -> None:
    """A directory that is a link to the volume every other moment."""
    os.mkdir(f"{public_tmp}/volume")
    os.symlink("/vol", f"{guestfs}/other")
    spec = volume(guestfs, f"{public_tmp}/volume", name)
    filesystem = {"proc": "proc", "sys": "sysfs"}[name]
    ended = {"made": 0, "refused": 0}
    with race(f"{guestfs}/{name}", f"{guestfs}/other") as laps:
        for _ in laps:
            try:
                container = await runtime.create(None, spec, stdin=PIPE, stdout=PIPE)
            except ContainerError:
                ended["refused"] += 1
                continue
            ended["made"] += 1
            mounts = mounts_of(container.pid)
            # A mount moves along with its directory, to the other name and back, even as we read.
            places = {place.split("/")[1] for place, found in mounts.items() if found["type"] == filesystem}
            assert places
            assert places <= {name, "other"}
            assert mounts["/vol"]["type"] not in ("proc", "sysfs")
            await container.delete(force=True)
    assert all(ended.values()), ended
