"""T27 (CVE-2024-45310): missing mount points are made through a link, on the host."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from hostile import Canary, attempt, links_to, make_link, several

from aiocontainer import Mount, Runtime, Spec

if TYPE_CHECKING:
    from hostile import Race

pytestmark = pytest.mark.needs("root", "gcc", "busybox")


@pytest.fixture
def source(public_tmp: str) -> str:
    """A directory to be bound, with a file in it."""
    path = f"{public_tmp}/source"
    os.makedirs(f"{path}/directory")
    with open(f"{path}/file", "w") as file:
        file.write("bound\n")
    return path


def spec(rootfs: str, source: str, below: str) -> Spec:
    """Mounts whose targets are not there yet: of a file, of a directory, of a new file system."""
    return Spec.default(["true"], rootfs=rootfs).with_mount(
        Mount.bind(f"{source}/file", f"{below}/a/b/file"),
        Mount.bind(f"{source}/directory", f"{below}/c/d"),
        Mount.tmpfs(f"{below}/e/f/g"),
    )


@pytest.mark.parametrize("where", ["", "directory", "missing", "empty"])
async def test_link_to_the_host(
    runtime: Runtime, rootfs: str, source: str, canary: Canary, where: str
) -> None:
    for _ in links_to(canary / where, rootfs, "v"):
        await attempt(runtime, spec(rootfs, source, "/v"))
        await attempt(runtime, spec(rootfs, source, "/v/deeper"))


async def test_target_is_itself_a_link(runtime: Runtime, rootfs: str, source: str, canary: Canary) -> None:
    os.makedirs(f"{rootfs}/v/a/b")
    for target in ("file", "missing", "directory"):
        for _ in links_to(canary / target, rootfs, "v/a/b/file"):
            await attempt(runtime, spec(rootfs, source, "/v"))


async def test_race(
    runtime: Runtime,
    rootfs: str,
    source: str,
    canary: Canary,
    race: Race,
) -> None:
    """A part of the path is a directory and a link to the host by turns; what was made goes again."""
    os.mkdir(f"{rootfs}/v")
    make_link(canary.path, f"{rootfs}/other")
    worked = 0
    with race(f"{rootfs}/v", f"{rootfs}/other") as laps:
        for _ in laps:
            worked += getattr(await attempt(runtime, spec(rootfs, source, "/v")), "exit", None) is not None
            clean(rootfs)
    assert worked


def clean(rootfs: str) -> None:
    """Have the targets missing again, by whichever name their directory has at the moment."""
    for name in ("v", "other"):
        with contextlib.suppress(OSError):
            directory = os.open(f"{rootfs}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            for made in ("a", "c", "e"):
                shutil.rmtree(made, ignore_errors=True, dir_fd=directory)
            os.close(directory)


async def test_shared_rootfs(runtime: Runtime, rootfs: str, source: str) -> None:
    """Containers that make the same targets at the same time do not trip over each other."""
    for _ in range(5):
        ended = await several((runtime.run(spec(rootfs, source, "/v")) for _ in range(8)), at_once=8)
        assert all(done.exit.clean for done in ended)
        shutil.rmtree(f"{rootfs}/v")
