"""OCI config-linux.md "Namespaces", "Hostname", "Domainname", and offsets of clocks: V3."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support.guest import look, look_by_exec
from support.specs import shell, with_linux, with_namespaces, with_process

from aiocontainer import ContainerError, Runtime, Spec, SpecError
from aiocontainer.spec import Capabilities, IDMapping, Namespace, TimeOffset, TimeOffsets

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

FILES = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
    "user": "user",
    "time": "time",
}
BASE = ("mount", "pid", "uts", "ipc", "network", "cgroup")
MAPS = (IDMapping(container_id=0, host_id=100000, size=65536),)


def inode(pid: int | str, type: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{FILES[type]}")


def spec(rootfs: str, *types: str | tuple[str, str]) -> Spec:
    """A container that sleeps in these namespaces."""
    made = with_namespaces(Spec.default(["sleep", "60"], rootfs=rootfs), *types)
    names = [each if isinstance(each, str) else each[0] for each in types]
    if "user" in types:
        made = with_linux(made, uid_mappings=MAPS, gid_mappings=MAPS)
    return made if "uts" in names else replace(made, hostname="")


@contextlib.contextmanager
def holder(type: str) -> Iterator[str]:
    """Path of a namespace of this type that somebody else holds."""
    flag = {"mount": "--mount", "network": "--net", "pid": "--pid"}.get(type, f"--{type}")
    command = ["unshare", flag, *(["--fork"] if type == "pid" else []), "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.read(1) == b"x"
        # In a new pid namespace is the child, not unshare(1) itself.
        yield f"/proc/{process.pid}/ns/{FILES[type] if type != 'pid' else 'pid_for_children'}"
        process.stdin.close()


@pytest.mark.proves("$.linux.namespaces[].type")
@pytest.mark.parametrize("type", [*BASE, "user", pytest.param("time", marks=pytest.mark.needs("timens"))])
async def test_new(runtime: Runtime, guestfs: str, type: str) -> None:
    """No path: a new one, in which exec ends up, too."""
    async with runtime.container(spec(guestfs, *{*BASE, type})) as container:
        assert inode(container.pid, type) != inode("self", type)
        process = await container.exec(["sleep", "60"])
        assert inode(process.pid, type) == inode(container.pid, type)
        await process.end()


@pytest.mark.parametrize("type", [type for type in BASE if type != "mount"] + ["user", "time"])
async def test_absent(runtime: Runtime, guestfs: str, type: str) -> None:
    """Not named: that of the runtime."""
    made = spec(guestfs, *(each for each in BASE if each != type))
    if type == "network":
        made = replace(made, mounts=tuple(mount for mount in made.mounts if mount.type != "sysfs"))
    async with runtime.container(made) as container:
        assert inode(container.pid, type) == inode("self", type)


@pytest.mark.proves("$.linux.namespaces[].path")
@pytest.mark.parametrize("type", ["network", "ipc", "uts", "cgroup", "pid"])
async def test_path(runtime: Runtime, guestfs: str, type: str) -> None:
    """With a path: that very one, with the right type."""
    with holder(type) as path:
        others = (each for each in BASE if each != type)
        made = spec(guestfs, *others, (type, path))
        async with runtime.container(made) as container:
            assert inode(container.pid, type) == os.readlink(path)
            process = await container.exec(["sleep", "60"])
            assert inode(process.pid, type) == os.readlink(path)
            await process.end()


async def test_path_of_another_container(runtime: Runtime, guestfs: str) -> None:
    """As the containers of a pod do."""
    async with runtime.container(spec(guestfs, *BASE)) as first:
        shared = ("network", "ipc", "uts", "pid")
        paths = [(type, f"/proc/{first.pid}/ns/{FILES[type]}") for type in shared]
        async with runtime.container(spec(guestfs, "mount", "cgroup", *paths)) as second:
            assert all(inode(second.pid, type) == inode(first.pid, type) for type in shared)
            assert inode(second.pid, "mount") != inode(first.pid, "mount")
            found = await look_by_exec(second)
            assert found["pid"] > 2  # after the first, the second, and what entered


@pytest.mark.parametrize("type", BASE)
async def test_path_of_another_type(runtime: Runtime, guestfs: str, type: str) -> None:
    wrong = "ipc" if type != "ipc" else "uts"
    made = spec(guestfs, *(each for each in BASE if each != type), (type, f"/proc/self/ns/{FILES[wrong]}"))
    with pytest.raises(ContainerError):
        await runtime.create(None, made)


@pytest.mark.parametrize("path", ["/proc/self/ns/missing", "/etc/passwd", "/", "/dev/null", "relative/path"])
async def test_path_that_is_none(runtime: Runtime, guestfs: str, path: str) -> None:
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, spec(guestfs, "mount", "pid", "uts", ("ipc", path)))
    assert caught.value.origin == "$.linux.namespaces[3].path"


async def test_twice(runtime: Runtime, guestfs: str) -> None:
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, spec(guestfs, *BASE, "pid"))
    assert caught.value.origin.startswith("$.linux.namespaces[6]")


async def test_unknown(runtime: Runtime, guestfs: str) -> None:
    text = spec(guestfs, *BASE).encode().replace(b'"network"', b'"netwerk"')
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, text)
    assert caught.value.origin.startswith("$.linux.namespaces[4].type")


async def test_network_is_a_loopback_that_works(runtime: Runtime, guestfs: str) -> None:
    script = "cat /proc/net/dev | tail -n +3 | cut -d: -f1; ping -c 1 -w 2 127.0.0.1 >/dev/null && echo up"
    raw = Capabilities(bounding=("CAP_NET_RAW",), effective=("CAP_NET_RAW",), permitted=("CAP_NET_RAW",))
    done = await runtime.run(with_process(shell(script, guestfs), capabilities=raw))
    assert done.stdout is not None
    assert done.stdout.split() == [b"lo", b"up"]


async def test_pid_namespace_shows_its_own_processes_only(runtime: Runtime, guestfs: str) -> None:
    done = await runtime.run(shell("ls /proc | grep -c '^[0-9]'", guestfs))
    assert done.stdout is not None
    assert int(done.stdout) <= 3  # the shell, ls and grep


@pytest.mark.proves("$.linux.uidMappings[].*", "$.linux.gidMappings[].*")
async def test_user_namespace(runtime: Runtime, guestfs: str) -> None:
    made = spec(guestfs, *BASE, "user")
    found = await look(runtime, made)
    assert (found["uids"], found["gids"], found["groups"]) == ([0] * 3, [0] * 3, [])
    async with runtime.container(made) as container:
        with open(f"/proc/{container.pid}/uid_map") as file:
            assert file.read().split() == ["0", "100000", "65536"]
        with open(f"/proc/{container.pid}/gid_map") as file:
            assert file.read().split() == ["0", "100000", "65536"]
        with open(f"/proc/{container.pid}/status") as file:
            assert "Uid:\t100000\t100000\t100000\t100000\n" in file


@pytest.mark.parametrize("user", [(0, 0), (1000, 5)])
async def test_pipes_are_the_users(runtime: Runtime, guestfs: str, user: tuple[int, int]) -> None:
    """In a user namespace nobody could give them away: /dev/stdout would be out of reach."""
    made = spec(guestfs, *BASE, "user").with_user(*user)
    found = await look(runtime, made)
    assert {(each["uid"], each["gid"]) for number, each in found["fds"].items() if number != "0"} == {user}
    async with runtime.container(made) as container:
        found = await look_by_exec(container)
    assert (found["fds"]["1"]["uid"], found["fds"]["1"]["gid"]) == user


@pytest.mark.proves("$.linux.timeOffsets.*.*")
@pytest.mark.needs("timens")
async def test_time_offsets(runtime: Runtime, guestfs: str) -> None:
    offsets = TimeOffsets(
        boottime=TimeOffset(secs=86400, nanosecs=1), monotonic=TimeOffset(secs=172800, nanosecs=2)
    )
    made = with_linux(spec(guestfs, *BASE, "time"), time_offsets=offsets)
    async with runtime.container(made) as container:
        with open(f"/proc/{container.pid}/timens_offsets") as file:
            rows = [line.split() for line in file]
        assert rows == [["monotonic", "172800", "2"], ["boottime", "86400", "1"]]
        process = await container.exec(["cat", "/proc/uptime"], stdout=PIPE)
        output, _ = await process.communicate()
        assert output is not None
        ahead = float(output.split()[0]) - time.clock_gettime(time.CLOCK_BOOTTIME)
        assert 86395 < ahead < 86405


async def test_time_offsets_without_the_namespace(runtime: Runtime, guestfs: str) -> None:
    offsets = TimeOffsets(boottime=TimeOffset(secs=1))
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, with_linux(spec(guestfs, *BASE), time_offsets=offsets))
    assert caught.value.origin.startswith("$.linux.timeOffsets")


@pytest.mark.proves("$.hostname", "$.domainname")
async def test_hostname_and_domainname(runtime: Runtime, guestfs: str) -> None:
    before = os.uname().nodename
    made = replace(spec(guestfs, *BASE), hostname="inside-1", domainname="example.org")
    found = await look(runtime, made)
    assert (found["hostname"], found["domainname"]) == ("inside-1", "example.org")
    async with runtime.container(made) as container:
        assert (await look_by_exec(container))["hostname"] == "inside-1"
    assert os.uname().nodename == before


async def test_names_that_are_not_given_stay(runtime: Runtime, guestfs: str) -> None:
    found = await look(runtime, replace(spec(guestfs, *BASE), hostname=""))
    assert found["hostname"] == os.uname().nodename


@pytest.mark.parametrize("field", ["hostname", "domainname"])
async def test_names_of_the_machine_are_not_changed(runtime: Runtime, guestfs: str, field: str) -> None:
    """Without a uts namespace, and with one that turns out to be the machine's."""
    kept = (Namespace(type="mount"), Namespace(type="pid"))
    base = with_linux(spec(guestfs, *BASE), namespaces=kept)
    made = replace(base, **{"hostname": "", "domainname": "", field: "evil"})
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, made)
    assert caught.value.origin == f"$.{field}"
    joined = (*kept, Namespace(type="uts", path="/proc/self/ns/uts"))
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, with_linux(made, namespaces=joined))
    assert caught.value.origin == f"$.{field}"


@pytest.mark.parametrize("name", ["x" * 65, "a\nb"])
async def test_hostname_that_the_kernel_does_not_take(runtime: Runtime, guestfs: str, name: str) -> None:
    if len(name) < 65:
        found = await look(runtime, spec(guestfs, *BASE).with_hostname(name))
        assert found["hostname"] == name
        return
    with pytest.raises(ContainerError) as caught:
        await look(runtime, spec(guestfs, *BASE).with_hostname(name))
    assert caught.value.origin == "$.hostname"  # type: ignore[attr-defined]
