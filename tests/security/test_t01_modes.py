"""T01 (CVE-2014-3499): another user of the machine gets at what drives a container."""

from __future__ import annotations

import os
import socket
import stat
from asyncio.subprocess import DEVNULL
from typing import TYPE_CHECKING

import pytest
from hostile import fork
from support.specs import shell

from aiocontainer import Runtime, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

ID = "aioc-test-t01"
OTHER = 65534


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """A caller who takes nothing away from anybody."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def state(public_tmp: str, snap: Leaks) -> str:
    snap.watch(f"{public_tmp}/state")
    return f"{public_tmp}/state"


def as_other(path: str) -> list[str]:
    """What somebody else can do with everything there; by a child that becomes him."""
    everything = [path, *(os.path.join(top, name) for top, one, two in os.walk(path) for name in one + two)]
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        os.setgroups([])
        os.setresgid(OTHER, OTHER, OTHER)
        os.setresuid(OTHER, OTHER, OTHER)
        found = [each for each in everything if opens(each)]
        os.write(writer, "\n".join(found).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text.splitlines()


def opens(path: str) -> bool:
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
                peer.connect(path)
        else:
            os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


def modes(path: str) -> dict[str, int]:
    """Permissions of others and of the group, where there are any."""
    found = {}
    for top, directories, files in os.walk(path):
        for name in (".", *directories, *files):
            mode = stat.S_IMODE(os.lstat(os.path.join(top, name)).st_mode)
            if mode & 0o077:
                found[os.path.join(top, name)] = mode
    return found


@pytest.mark.parametrize("started", [False, True])
async def test_nothing_is_anybody_elses(state: str, rootfs: str, started: bool) -> None:
    async with Runtime(state) as runtime:
        container = await runtime.create(ID, shell("sleep 60", rootfs), stdin=DEVNULL)
        if started:
            await container.start()
        assert os.path.isdir(f"{state}/{ID}")
        assert modes(state) == {}
        assert as_other(state) == []
        await container.delete(force=True)


async def test_who_has_the_root_open_still_gets_nothing(state: str, rootfs: str) -> None:
    """A directory and a socket keep others out by themselves, not only by what is above."""
    async with Runtime(state) as runtime:
        container = await runtime.create(ID, Spec.default(["sleep", "60"], rootfs=rootfs), stdin=DEVNULL)
        os.chmod(state, 0o755)
        try:
            assert as_other(f"{state}/{ID}") == []
        finally:
            os.chmod(state, 0o700)
        await container.delete(force=True)
