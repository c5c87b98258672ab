"""A command without a bundle: the machine's own file systems, and a directory under a throw-away layer."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import pytest
from support.aside import aside, mount
from support.user import become, expose

from aiocontainer import Command, Runtime

USER = 1000

pytestmark = pytest.mark.needs("root", "busybox", "compiled", "overlay")


async def with_disk(path: str, closed: str) -> dict[str, Any]:
    """See a part of the disk that is mounted again, somewhere else; the loop device of the poor."""
    for target in (path, closed):
        mount("bind", target, "/usr/share")
    script = (
        'ls "$0" | wc -l; mkdir "$0"/aioc-test 2>/dev/null || echo refused; ls -A "$1" 2>/dev/null | wc -l'
    )
    with tempfile.TemporaryDirectory() as state:
        async with Runtime(state) as runtime:
            done = await runtime.run(Command(["/bin/sh", "-c", script, path, closed]))
            assert done.exit.clean, done
            assert done.stdout is not None
            return {"said": done.stdout.decode().split()}


def test_file_systems_of_their_own_are_seen() -> None:
    with tempfile.TemporaryDirectory(dir="/srv", prefix="aioc-test-") as base:
        os.chmod(base, 0o755)
        path, closed = f"{base}/disk", f"{base}/closed/disk"
        os.mkdir(path)
        os.makedirs(closed)
        os.chmod(os.path.dirname(closed), 0o700)
        said = aside(with_disk, path, closed)["said"]
        assert said == [str(len(os.listdir("/usr/share"))), "refused", "0"]


async def work(state: str, rootfs: str) -> list[str]:
    script = "echo new >/home/file && cat /home/file && id -u"
    async with Runtime(state) as runtime:
        done = await runtime.run(Command(["/bin/sh", "-c", script], rootfs=rootfs))
        return [(done.stdout or b"").decode(), (done.stderr or b"").decode()]


async def work_as_user(state: str, rootfs: str) -> list[str]:
    """Do it as an ordinary user."""
    expose(os.path.dirname(state))
    become(USER)
    return await work(state, rootfs)


@pytest.mark.needs("userns")
def test_directory_of_an_ordinary_user_stays_as_it_is(rootfs: str, public_tmp: str) -> None:
    state = f"{public_tmp}/state"
    os.mkdir(state)
    os.chown(state, USER, USER)
    for parent, directories, files in os.walk(rootfs):
        for name in (".", *directories, *files):
            os.chown(os.path.join(parent, name), USER, USER, follow_symlinks=False)
    assert aside(work_as_user, state, rootfs) == ["new\n0\n", ""]
    assert os.listdir(f"{rootfs}/home") == []


def test_directory_of_root_stays_as_it_is(rootfs: str, public_tmp: str) -> None:
    assert aside(work, f"{public_tmp}/state", rootfs) == ["new\n0\n", ""]
    assert os.listdir(f"{rootfs}/home") == []
