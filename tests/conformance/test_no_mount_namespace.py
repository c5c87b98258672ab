"""S37: without a mount namespace the root is entered by chroot(2), and nobody's mounts change."""

from __future__ import annotations

import os
import stat
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from support.guest import look, look_by_exec

from aiocontainer import Runtime, Spec, UnsupportedError
from aiocontainer.spec import IDMapping, Linux, Namespace, Root

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.needs("root", "gcc", "busybox", "compiled")


def bare(args: Sequence[str], rootfs: str, *types: Any, **linux: Any) -> Spec:
    """A specification that asks for nothing that a mount namespace is needed for."""
    spec = Spec.default(args, rootfs=rootfs)
    namespaces = tuple(Namespace(type=type) for type in ("pid", "uts", "ipc", *types))
    return replace(spec, mounts=(), root=Root(path=rootfs), linux=Linux(namespaces=namespaces, **linux))


def mount_namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/mnt")


async def test_root_is_entered_and_the_namespace_is_the_hosts(runtime: Runtime, guestfs: str) -> None:
    with open("/proc/self/mountinfo") as file:
        before = file.read()
    spec = bare(["sleep", "60"], guestfs)
    async with runtime.container(spec, stdin=DEVNULL) as container:
        assert mount_namespace(container.pid) == os.readlink("/proc/self/ns/mnt")
        assert os.path.samefile(f"/proc/{container.pid}/root", guestfs)
        assert os.readlink(f"/proc/{container.pid}/cwd") == guestfs
        with open("/proc/self/mountinfo") as file:
            assert file.read() == before


async def test_default_devices_are_there(runtime: Runtime, guestfs: str) -> None:
    done = await runtime.run(bare(["sh", "-c", "echo x >/dev/null; stat -c %t:%T /dev/null"], guestfs))
    assert (done.exit.clean, done.stdout) == (True, b"1:3\n")
    assert stat.S_ISCHR(os.lstat(f"{guestfs}/dev/null").st_mode)
    assert os.readlink(f"{guestfs}/dev/ptmx") == "pts/ptmx"


async def test_devices_are_made_in_the_root_alone(runtime: Runtime, guestfs: str, public_tmp: str) -> None:
    """T43 once more: the image says that /dev is a directory of the host."""
    os.mkdir(f"{public_tmp}/host")
    os.rmdir(f"{guestfs}/dev")
    os.symlink(f"{public_tmp}/host", f"{guestfs}/dev")
    done = await runtime.run(bare(["true"], guestfs))
    assert done.exit.clean
    assert os.listdir(f"{public_tmp}/host") == []
    assert os.path.lexists(f"{guestfs}/{public_tmp}/host/null")


async def test_exec_is_in_the_same_root(runtime: Runtime, guestfs: str) -> None:
    spec = bare(["sleep", "60"], guestfs)
    async with runtime.container(spec, stdin=DEVNULL) as container:
        process = await container.exec(["sh", "-c", "pwd; ls /bin/guest; sleep 60"], stdout=PIPE)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"/\n"
        assert await process.stdout.readline() == b"/bin/guest\n"
        assert os.path.samefile(f"/proc/{process.pid}/root", guestfs)
        process.kill()
        await process.wait()
        process.close()


async def test_exec_cannot_be_led_out(runtime: Runtime, guestfs: str, public_tmp: str) -> None:
    os.symlink(public_tmp, f"{guestfs}/out")
    spec = bare(["sleep", "60"], guestfs)
    async with runtime.container(spec, stdin=DEVNULL) as container:
        process = await container.exec(["ls", f"{public_tmp}/config.json"], stdout=PIPE, stderr=PIPE)
        assert (await process.wait()).code
        process.close()


async def test_ids_may_be_mapped(runtime: Runtime, guestfs: str) -> None:
    maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
    for path, _, _ in os.walk(guestfs):
        os.chown(path, 100000, 100000)
    spec = bare(["guest"], guestfs, "user", uid_mappings=maps, gid_mappings=maps)
    assert (await look(runtime, spec))["uids"] == [0, 0, 0]
    async with runtime.container(spec.with_args(["sleep", "60"]), stdin=DEVNULL) as container:
        assert os.stat(f"/proc/{container.pid}").st_uid == 100000
        assert (await look_by_exec(container))["uids"] == [0, 0, 0]


async def test_terminal_is_refused(runtime: Runtime, guestfs: str) -> None:
    spec = bare(["true"], guestfs)
    assert spec.process is not None
    spec = replace(spec, process=replace(spec.process, terminal=True))
    with pytest.raises(UnsupportedError, match="mount namespace"):
        await runtime.create(None, spec)
