"""T28 (CVE-2025-31133): what masks a file is the container's own /dev/null, which is something else."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from hostile import Canary, make_link
from support.specs import with_linux, without_mounts

from aiocontainer import Container, ContainerError, Mount, Runtime, Spec

if TYPE_CHECKING:
    from hostile import Race

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

MASKED = ("/proc/keys", "/proc/timer_list", "/secret", "/proc/missing")
CORE_PATTERN = "/proc/sys/kernel/core_pattern"


@pytest.fixture
def volume(public_tmp: str, rootfs: str) -> str:
    """A directory of the attacker's, to be bound as /dev."""
    path = f"{public_tmp}/volume"
    os.mkdir(path)
    with open(f"{rootfs}/secret", "w") as file:
        file.write("secret\n")
    return path


def spec(rootfs: str, volume: str) -> Spec:
    base = Spec.default(["sleep", "60"], rootfs=rootfs)
    return with_linux(without_mounts(base, "/dev", add=[Mount.bind(volume, "/dev")]), masked_paths=MASKED)


def put(kind: str, path: str) -> None:
    """Something else than null."""
    if kind == "link":
        make_link(CORE_PATTERN, path)
    elif kind == "file":
        with open(path, "w") as file:
            file.write("fake\n")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        os.mkdir(path)
    else:
        mode, device = {"zero": (stat.S_IFCHR, (1, 5)), "block": (stat.S_IFBLK, (7, 0))}[kind]
        os.mknod(path, mode | 0o666, os.makedev(*device))


def masked(container: Container) -> None:
    """Each of the paths is null, the only one that counts."""
    for path in MASKED[:3]:
        found = os.stat(f"/proc/{container.pid}/root{path}")
        assert stat.S_ISCHR(found.st_mode), path
        assert found.st_rdev == os.makedev(1, 3), path


@pytest.fixture(autouse=True)
def _core_pattern() -> object:
    with open(CORE_PATTERN) as file:
        before = file.read()
    yield
    with open(CORE_PATTERN) as file:
        assert file.read() == before


@pytest.mark.parametrize("kind", ["link", "file", "fifo", "directory", "zero", "block"])
async def test_null_is_something_else(
    runtime: Runtime, rootfs: str, volume: str, canary: Canary, kind: str
) -> None:
    put(kind, f"{volume}/null")
    try:
        container = await runtime.create(None, spec(rootfs, volume))
    except ContainerError:
        return
    masked(container)
    await container.delete(force=True)


async def test_race(
    runtime: Runtime,
    rootfs: str,
    volume: str,
    race: Race,
) -> None:
    """Null, and a link by turns."""
    os.mknod(f"{volume}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    make_link(CORE_PATTERN, f"{volume}/other")
    made = 0
    with race(f"{volume}/null", f"{volume}/other") as laps:
        for _ in laps:
            try:
                container = await runtime.create(None, spec(rootfs, volume))
            except ContainerError:
                continue
            made += 1
            masked(container)
            await container.delete(force=True)
    assert made
