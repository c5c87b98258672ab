"""T07 (CVE-2015-3629): the first run leaves a link where the second is to mount."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hostile import Canary, attempt
from msgspec.structs import replace
from support.specs import shell

from aiocontainer import Completed, Mount, Runtime, Spec
from aiocontainer.spec import Root

if TYPE_CHECKING:
    from hostile import Race

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

TARGETS = ("/v/tmpfs", "/v/directory", "/v/deeper/file")


def bundle_of(rootfs: str, source: str, script: str) -> Spec:
    spec = shell(script, rootfs).with_mount(
        Mount.tmpfs("/v/tmpfs"),
        Mount.bind(f"{source}/directory", "/v/directory"),
        Mount.bind(f"{source}/file", "/v/deeper/file"),
    )
    return replace(spec, root=Root(path=rootfs))


@pytest.fixture
def source(public_tmp: str) -> str:
    path = f"{public_tmp}/source"
    os.makedirs(f"{path}/directory")
    with open(f"{path}/file", "w"):
        return path


@pytest.mark.parametrize("target", ["directory", "empty", "missing", "missing/below", ""])
async def test_mount_points_become_links(
    runtime: Runtime, rootfs: str, source: str, canary: Canary, target: str
) -> None:
    assert isinstance(await attempt(runtime, bundle_of(rootfs, source, "true")), Completed)
    # What a process of the first run would do, once its mounts are gone.
    for path in TARGETS:
        where = rootfs + path
        os.rmdir(where) if os.path.isdir(where) else os.unlink(where)
        os.symlink(canary / target, where)
    for _ in range(2):
        await attempt(runtime, bundle_of(rootfs, source, "touch /v/tmpfs/made /v/directory/made; true"))


async def test_directory_above_becomes_a_link(
    runtime: Runtime, rootfs: str, source: str, canary: Canary
) -> None:
    os.symlink(canary.path, f"{rootfs}/v")
    for _ in range(2):
        await attempt(runtime, bundle_of(rootfs, source, "touch /v/tmpfs/made; true"))


async def test_target_is_exchanged_all_the_time(
    runtime: Runtime,
    rootfs: str,
    source: str,
    canary: Canary,
    race: Race,
) -> None:
    """T22 (CVE-2021-30465): between the check and the mount."""
    os.makedirs(f"{rootfs}/v/directory")
    os.symlink(canary / "directory", f"{rootfs}/other")
    spec = bundle_of(rootfs, source, "cat /v/directory/inner 2>/dev/null; true")
    worked = 0
    with race(f"{rootfs}/v", f"{rootfs}/other") as laps:
        for _ in laps:
            done = await attempt(runtime, spec)
            if isinstance(done, Completed):
                assert b"untouched" not in (done.stdout or b"")
                worked += 1
    assert worked
