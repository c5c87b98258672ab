"""T29 (CVE-2025-52565): the console is bound by the name of a pty that the image has put there."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest
from hostile import Canary, make_link
from support.specs import with_process, without_mounts

from aiocontainer import Container, ContainerError, Mount, Runtime, Spec

if TYPE_CHECKING:
    from hostile import Race

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

_TIOCGPTN = 0x80045430


@pytest.fixture
def volume(public_tmp: str) -> str:
    path = f"{public_tmp}/volume"
    os.mkdir(path)
    return path


def terminal(rootfs: str, *mounts: Mount, without: tuple[str, ...] = ("/dev/pts",)) -> Spec:
    """A container with a terminal, and other mounts in the place of some."""
    base = without_mounts(Spec.default(["sleep", "60"], rootfs=rootfs), *without, add=mounts)
    return with_process(base, terminal=True)


def check(container: Container) -> None:
    """What is at /dev/console, and the streams, are the other end of the master that we have."""
    assert container.console is not None
    number = int.from_bytes(fcntl.ioctl(container.console.fileno(), _TIOCGPTN, bytes(4)), "little")
    places = ["root/dev/console", *(f"fd/{fd}" for fd in range(3))]
    found = [os.stat(f"/proc/{container.pid}/{place}") for place in places]
    assert {each.st_rdev for each in found} == {os.makedev(136 + (number >> 8), number & 0xFF)}
    assert all(stat.S_ISCHR(each.st_mode) for each in found)


async def refused_or_right(runtime: Runtime, spec: Spec) -> bool:
    try:
        container = await runtime.create(None, spec)
    except ContainerError:
        return False
    try:
        check(container)
    finally:
        await container.delete(force=True)
    return True


def fake_devpts(volume: str, kind: str, canary: Canary) -> None:
    """Something that looks like a devpts."""
    if kind == "link":
        make_link(canary / "node", f"{volume}/0")
        make_link("/dev/zero", f"{volume}/ptmx")
    elif kind in ("host", "file"):
        make_link({"host": canary / "file", "file": "/etc/passwd"}[kind], f"{volume}/0")
        make_link("/dev/ptmx", f"{volume}/ptmx")
    elif kind == "nodes":
        os.mknod(f"{volume}/ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
        os.mknod(f"{volume}/0", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif kind == "fifo":
        os.mkfifo(f"{volume}/ptmx")
        os.mkfifo(f"{volume}/0")


@pytest.mark.parametrize("kind", ["link", "host", "file", "nodes", "fifo", "empty"])
async def test_fake_devpts(runtime: Runtime, guestfs: str, volume: str, canary: Canary, kind: str) -> None:
    fake_devpts(volume, kind, canary)
    assert not await refused_or_right(runtime, terminal(guestfs, Mount.bind(volume, "/dev/pts")))


async def test_devpts_of_the_host(runtime: Runtime, guestfs: str, canary: Canary) -> None:
    """A devpts, if not the container's own: what is bound is the terminal, whatever has its name."""
    await refused_or_right(runtime, terminal(guestfs, Mount.bind("/dev/pts", "/dev/pts")))


@pytest.mark.parametrize("node", ["/dev/null", "/dev/zero", "/dev/ptmx"])
async def test_covered_ptmx(runtime: Runtime, guestfs: str, canary: Canary, node: str) -> None:
    """The devpts is the container's own, but its multiplexer is covered by something else."""
    base = terminal(guestfs, without=())
    assert not await refused_or_right(runtime, base.with_mount(Mount.bind(node, "/dev/pts/ptmx")))


@pytest.mark.parametrize("kind", ["link", "directory", "fifo", "file", "node"])
async def test_what_is_at_dev_console(runtime: Runtime, guestfs: str, canary: Canary, kind: str) -> None:
    """/dev is the image's own, the devpts in it the container's."""
    path = f"{guestfs}/dev/console"
    if kind == "link":
        make_link(canary / "file", path)
    elif kind == "directory":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "file":
        shutil.copy("/etc/hostname", path)
    else:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 7))
    devpts = next(m for m in Spec.default([], rootfs="/").mounts if m.type == "devpts")
    worked = await refused_or_right(runtime, terminal(guestfs, devpts, without=("/dev",)))
    assert worked == (kind in ("file", "node"))


async def test_read_only_dev(runtime: Runtime, guestfs: str, public_tmp: str, canary: Canary) -> None:
    os.mkdir(f"{public_tmp}/dev")
    os.mkdir(f"{public_tmp}/dev/pts")
    bound = Mount.bind(f"{public_tmp}/dev", "/dev", read_only=True)
    devpts = next(m for m in Spec.default([], rootfs="/").mounts if m.type == "devpts")
    await refused_or_right(runtime, terminal(guestfs, bound, devpts, without=("/dev",)))
    assert sorted(os.listdir(f"{public_tmp}/dev")) == ["pts"]


async def test_ordinary_terminal(runtime: Runtime, guestfs: str, canary: Canary) -> None:
    assert await refused_or_right(runtime, terminal(guestfs, without=()))


async def test_race(
    runtime: Runtime,
    guestfs: str,
    volume: str,
    canary: Canary,
    race: Race,
) -> None:
    """/dev is a volume where `console` is a file and a link to the host by turns."""
    devpts = next(m for m in Spec.default([], rootfs="/").mounts if m.type == "devpts")
    spec = terminal(guestfs, Mount.bind(volume, "/dev"), devpts, without=("/dev",))
    os.mkdir(f"{volume}/pts")
    os.close(os.open(f"{volume}/console", os.O_CREAT, 0o600))
    make_link(canary / "file", f"{volume}/other")
    with race(f"{volume}/console", f"{volume}/other") as laps:
        for _ in laps:
            try:
                container = await runtime.create(None, spec)
            except ContainerError:
                continue
            for number in range(3):
                found = os.stat(f"/proc/{container.pid}/fd/{number}")
                assert 136 <= os.major(found.st_rdev) <= 143
            await container.delete(force=True)
