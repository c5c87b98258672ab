"""T30 (CVE-2025-52881): what is meant for a file of the kernel is written to another one."""

from __future__ import annotations

import os
import shutil
import subprocess
from asyncio.subprocess import DEVNULL
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support.specs import with_linux, with_process

from aiocontainer import Container, ContainerError, Mount, Runtime, Spec

if TYPE_CHECKING:
    from hostile import Race

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

FAKES = (
    "sys/kernel/msgmax",
    "self/oom_score_adj",
    "self/attr/exec",
    "self/attr/apparmor/exec",
    "sysrq-trigger",
)


@pytest.fixture
def fake(public_tmp: str) -> str:
    """A volume with what could be taken for a /proc in it."""
    for name in FAKES:
        os.makedirs(os.path.dirname(f"{public_tmp}/volume/proc/{name}"), exist_ok=True)
        with open(f"{public_tmp}/volume/proc/{name}", "w") as file:
            file.write("fake\n")
    return f"{public_tmp}/volume"


def untouched(volume: str) -> None:
    for name in FAKES:
        with open(f"{volume}/proc/{name}") as file:
            assert file.read() == "fake\n", name


def spec(rootfs: str, volume: str) -> Spec:
    base = with_process(Spec.default(["sleep", "60"], rootfs=rootfs), oom_score_adj=321)
    base = with_linux(base, sysctl={"kernel.msgmax": "4321"})
    return replace(base, mounts=(Mount.bind(volume, "/vol"), *base.mounts))


def in_force(container: Container) -> None:
    """Seen from outside: the kernel itself was told."""
    with open(f"/proc/{container.pid}/oom_score_adj") as file:
        assert file.read().strip() == "321"
    entered = ["nsenter", f"--ipc=/proc/{container.pid}/ns/ipc", "cat", "/proc/sys/kernel/msgmax"]
    assert subprocess.run(entered, capture_output=True, check=True).stdout.strip() == b"4321"


@pytest.mark.parametrize("text", ["/vol/proc", "vol/proc", "../vol/proc"])
async def test_proc_is_a_link(runtime: Runtime, rootfs: str, fake: str, text: str) -> None:
    os.rmdir(f"{rootfs}/proc")
    os.symlink(text, f"{rootfs}/proc")
    with pytest.raises(ContainerError):
        await runtime.create(None, spec(rootfs, fake))
    untouched(fake)


async def test_proc_of_the_image(runtime: Runtime, rootfs: str, fake: str) -> None:
    """It has files of its own there, below where procfs comes to lie."""
    shutil.copytree(f"{fake}/proc", f"{rootfs}/proc", dirs_exist_ok=True)
    async with runtime.container(spec(rootfs, fake), stdin=DEVNULL) as container:
        in_force(container)
    untouched(fake)
    untouched(rootfs)


async def test_race(
    runtime: Runtime,
    rootfs: str,
    fake: str,
    race: Race,
) -> None:
    """/proc is a directory, and a link into the volume, by turns."""
    os.symlink("/vol/proc", f"{rootfs}/other")
    ended = {"made": 0, "refused": 0}
    with race(f"{rootfs}/proc", f"{rootfs}/other") as laps:
        for _ in laps:
            try:
                container = await runtime.create(None, spec(rootfs, fake), stdin=DEVNULL)
            except ContainerError:
                ended["refused"] += 1
            else:
                ended["made"] += 1
                in_force(container)
                await container.delete(force=True)
            untouched(fake)
    assert all(ended.values()), ended
