"""T43 (CVE-2026-47766, CVE-2026-41579): /dev of the image is a link, and nodes are made on the host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hostile import Canary, attempt, links_to, make_link
from support.specs import without_mounts

from aiocontainer import Runtime, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

NAMES = ("dev", "dev/pts", "dev/shm", "dev/mqueue")


@pytest.fixture(autouse=True)
def _host_dev() -> Iterator[None]:
    """The host's /dev is what it was."""
    before = {name: os.lstat(f"/dev/{name}")[:6] for name in os.listdir("/dev")}
    yield
    now = {name: os.lstat(f"/dev/{name}")[:6] for name in os.listdir("/dev")}
    assert {name: now.get(name) for name in before} == before


def specs(rootfs: str) -> Iterator[Spec]:
    """Without a /dev of the container's own; with only what is mounted below it; with nothing."""
    base = Spec.default(["true"], rootfs=rootfs)
    below = [mount for mount in base.mounts if mount.destination.startswith("/dev/")]
    yield without_mounts(base, "/dev", add=below)
    yield without_mounts(base, "/dev")
    yield base


@pytest.mark.parametrize("target", ["", "directory", "missing", "file"])
@pytest.mark.parametrize("name", NAMES)
async def test_link_to_the_host(
    runtime: Runtime, rootfs: str, canary: Canary, name: str, target: str
) -> None:
    os.makedirs(os.path.dirname(f"{rootfs}/{name}"), exist_ok=True)
    for _ in links_to(os.path.join(canary.path, target), rootfs, name):
        for spec in specs(rootfs):
            await attempt(runtime, spec)


async def test_link_to_the_devices_of_the_host(runtime: Runtime, rootfs: str) -> None:
    """In the container that path is a directory of its own root."""
    os.rmdir(f"{rootfs}/dev")
    make_link("../../../../../../dev", f"{rootfs}/dev")
    for spec in specs(rootfs):
        await attempt(runtime, spec)


async def test_link_inside_is_followed_inside(runtime: Runtime, rootfs: str, canary: Canary) -> None:
    os.rmdir(f"{rootfs}/dev")
    make_link(canary.path, f"{rootfs}/dev")
    spec = without_mounts(Spec.default(["true"], rootfs=rootfs), "/dev")
    os.makedirs(rootfs + canary.path)
    done = await attempt(runtime, spec)
    assert not isinstance(done, Exception), done
    assert {"null", "zero", "tty"} <= set(os.listdir(rootfs + canary.path))
