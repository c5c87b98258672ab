"""T02 (CVE-2014-6407): what is copied for the container follows links of the image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hostile import Canary, attempt, links_to
from msgspec.structs import replace
from support.specs import shell

from aiocontainer import Completed, Mount, Runtime, Spec

if TYPE_CHECKING:
    from hostile import Race

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

READ = "find /d -type f -exec cat {} +; find /d -name inner; true"


def copied(rootfs: str, script: str = READ) -> Spec:
    mount = Mount(destination="/d", type="tmpfs", source="tmpfs", options=("tmpcopyup", "nosuid", "nodev"))
    spec = shell(script, rootfs)
    return replace(spec, mounts=(*spec.mounts, mount))


def shows_nothing(done: object) -> None:
    """It was refused, or nothing of the host is in the copy."""
    if isinstance(done, Completed):
        assert done.exit.clean, done
        assert b"untouched" not in (done.stdout or b"")
        assert b"inner" not in (done.stdout or b"")


@pytest.mark.parametrize("target", ["file", "directory", "fifo", "node", "missing", ""])
async def test_link_in_it(runtime: Runtime, rootfs: str, canary: Canary, target: str) -> None:
    os.makedirs(f"{rootfs}/d/sub")
    for _ in links_to(canary / target, rootfs, "d/sub/link"):
        done = await attempt(runtime, copied(rootfs))
        assert isinstance(done, Completed), done
        shows_nothing(done)


@pytest.mark.parametrize("target", ["directory", "missing", ""])
async def test_it_is_a_link(runtime: Runtime, rootfs: str, canary: Canary, target: str) -> None:
    for _ in links_to(canary / target, rootfs, "d"):
        shows_nothing(await attempt(runtime, copied(rootfs)))


async def test_set_id_stays_what_it_is_and_devices_are_none(
    runtime: Runtime, rootfs: str, canary: Canary
) -> None:
    os.mkdir(f"{rootfs}/d")
    with open(f"{rootfs}/d/program", "w"):
        os.chmod(f"{rootfs}/d/program", 0o4755)
    os.mkfifo(f"{rootfs}/d/fifo")
    os.mknod(f"{rootfs}/d/zero", 0o20666, os.makedev(1, 5))
    os.chmod(f"{rootfs}/d/zero", 0o666)
    done = await attempt(runtime, copied(rootfs, "stat -c '%a %F' /d/*; head -c1 /d/zero || echo refused"))
    assert isinstance(done, Completed), done
    lines = (done.stdout or b"").decode().splitlines()
    assert lines == ["644 fifo", "4755 regular empty file", "666 character special file", "refused"]


async def test_race(runtime: Runtime, rootfs: str, canary: Canary, race: Race) -> None:
    """T14: a directory of the copied one is a link to the host every other moment."""
    os.makedirs(f"{rootfs}/d/name")
    with open(f"{rootfs}/d/name/file", "w") as file:
        file.write("inside\n")
    os.symlink(canary.path, f"{rootfs}/other")
    worked = 0
    with race(f"{rootfs}/d/name", f"{rootfs}/other") as laps:
        for _ in laps:
            done = await attempt(runtime, copied(rootfs))
            shows_nothing(done)
            worked += isinstance(done, Completed)
    assert worked
