"""S45, S62, S63, S69: owners in a mount as its id maps have them; S99, S105: user namespaces joined."""

from __future__ import annotations

import ctypes
import os
from asyncio.subprocess import DEVNULL
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from support.guest import look
from support.strangers import user_namespace

from aiocontainer import Mount, Runtime, Spec, SpecError, UnsupportedError
from aiocontainer.spec import IDMapping, Linux, Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "gcc", "busybox", "compiled")

FIRST, SIZE = 100000, 65536
MAPS = (IDMapping(container_id=0, host_id=FIRST, size=SIZE),)
MINE = (IDMapping(container_id=0, host_id=5000, size=100), IDMapping(container_id=1000, host_id=1, size=1))


@pytest.fixture
def data(public_tmp: str) -> str:
    """A directory with files of several owners."""
    path = os.path.join(public_tmp, "data")
    os.mkdir(path)
    for uid, gid in ((0, 0), (7, 8), (1000, 1000), (200000, 5)):
        with open(f"{path}/{uid}", "w"):
            os.chown(f"{path}/{uid}", uid, gid)
    return path


def with_mount(rootfs: str, mount: Mount, **linux: Any) -> Spec:
    os.makedirs(f"{rootfs}/data", exist_ok=True)  # root of the container may not make it
    spec = Spec.default(["sh", "-c", "cd /data; stat -c '%n %u:%g' *"], rootfs=rootfs)
    spec = replace(spec, mounts=(*spec.mounts, mount))
    return replace(spec, linux=replace(spec.linux or Linux(), **linux))


def in_user_namespace(rootfs: str, mount: Mount) -> Spec:
    spec = with_mount(rootfs, mount)
    types = (*(spec.linux or Linux()).namespaces, Namespace(type="user"))
    return with_mount(rootfs, mount, namespaces=types, uid_mappings=MAPS, gid_mappings=MAPS)


def bind(source: str, *options: str, **maps: Any) -> Mount:
    return Mount(destination="/data", type="bind", source=source, options=options, **maps)


async def owners(runtime: Runtime, spec: Spec) -> dict[str, str]:
    done = await runtime.run(spec)
    assert done.exit.clean, done
    assert done.stdout is not None
    return dict(line.split() for line in done.stdout.decode().splitlines())


@pytest.mark.proves("$.mounts[].uidMappings[].*", "$.mounts[].gidMappings[].*")
async def test_maps_of_the_mount(runtime: Runtime, rootfs: str, data: str) -> None:
    mount = bind(data, "rbind", uid_mappings=MINE, gid_mappings=MINE)
    found = await owners(runtime, with_mount(rootfs, mount))
    assert found == {"0": "5000:5000", "7": "5007:5008", "1000": "1:1", "200000": "65534:5005"}


async def test_new_files_have_the_owner_on_disk(runtime: Runtime, rootfs: str, data: str) -> None:
    os.chown(data, 1000, 1000)
    mount = bind(data, "bind", "idmap=uids=1000-0-1;gids=1000-0-1")
    spec = with_mount(rootfs, mount).with_args(["touch", "/data/new"])
    assert (await runtime.run(spec)).exit.clean
    made = os.stat(f"{data}/new")
    assert (made.st_uid, made.st_gid) == (1000, 1000)


async def test_maps_of_the_container(runtime: Runtime, rootfs: str, data: str) -> None:
    plain = await owners(runtime, in_user_namespace(rootfs, bind(data, "rbind")))
    assert plain == {"0": "65534:65534", "7": "65534:65534", "1000": "65534:65534", "200000": "65534:65534"}
    mapped = await owners(runtime, in_user_namespace(rootfs, bind(data, "rbind", "idmap")))
    assert mapped == {"0": "0:0", "7": "7:8", "1000": "1000:1000", "200000": "65534:5"}


async def test_relative_maps_in_the_option(runtime: Runtime, rootfs: str, data: str) -> None:
    mount = bind(data, "bind", "idmap=uids=@0-10-1#@7-20-1;gids=@0-30-1")
    found = await owners(runtime, in_user_namespace(rootfs, mount))
    assert (found["0"], found["7"]) == ("10:30", "20:65534")


@pytest.mark.parametrize(("option", "below"), [("idmap", "0:0"), ("ridmap", "5000:5000")])
async def test_how_deep_the_map_goes(
    runtime: Runtime, rootfs: str, data: str, option: str, below: str
) -> None:
    """A file system of its own below the source; its owner is mapped with ridmap alone."""
    os.mkdir(f"{data}/sub")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"tmpfs", os.fsencode(f"{data}/sub"), b"tmpfs", 0, None) == 0
    try:
        mount = bind(data, "rbind", option, uid_mappings=MINE, gid_mappings=MINE)
        spec = with_mount(rootfs, mount).with_args(["stat", "-c", "%u:%g", "/data", "/data/sub"])
        done = await runtime.run(spec)
    finally:
        libc.umount2(os.fsencode(f"{data}/sub"), 2)
    assert done.stdout == f"5000:5000\n{below}\n".encode()


async def test_file_system_that_cannot_be_mapped(runtime: Runtime, rootfs: str) -> None:
    mount = bind("/proc/self", "bind", uid_mappings=MINE, gid_mappings=MINE)
    with pytest.raises(UnsupportedError, match="can be mapped") as caught:
        await runtime.create(None, with_mount(rootfs, mount))
    assert caught.value.origin.endswith(".source")


async def test_nothing_of_the_host_is_mapped(runtime: Runtime, rootfs: str, data: str) -> None:
    mount = bind(data, "rbind", uid_mappings=MINE, gid_mappings=MINE)
    async with runtime.container(with_mount(rootfs, mount).with_args(["sleep", "60"]), stdin=DEVNULL):
        assert os.stat(f"{data}/7").st_uid == 7
        with open("/proc/self/mountinfo") as file:
            assert "idmapped" not in file.read()


# Joining a user namespace.


@pytest.fixture
def somebody() -> Iterator[int]:
    """A process in a user namespace of its own."""
    with user_namespace() as pid:
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(f"0 {FIRST} {SIZE}\n")
        yield pid


def joining(rootfs: str, path: str, mount: Mount, **linux: Any) -> Spec:
    spec = with_mount(rootfs, mount)
    types = (*(spec.linux or Linux()).namespaces, Namespace(type="user", path=path))
    return with_mount(rootfs, mount, namespaces=types, **linux)


async def test_joined_maps_map_the_mount(runtime: Runtime, rootfs: str, data: str, somebody: int) -> None:
    spec = joining(rootfs, f"/proc/{somebody}/ns/user", bind(data, "rbind", "idmap"))
    assert (await owners(runtime, spec))["7"] == "7:8"


async def test_other_maps_than_the_joined_are_refused(
    runtime: Runtime, rootfs: str, data: str, somebody: int
) -> None:
    path = f"/proc/{somebody}/ns/user"
    same = joining(rootfs, path, bind(data, "rbind", "idmap"), uid_mappings=MAPS, gid_mappings=MAPS)
    assert (await owners(runtime, same))["7"] == "7:8"
    other = joining(rootfs, path, bind(data, "rbind", "idmap"), uid_mappings=MINE, gid_mappings=MAPS)
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, other)
    assert caught.value.origin == "$.linux.uidMappings"


async def test_joining_our_own_namespaces_does_nothing(runtime: Runtime, guestfs: str) -> None:
    spec = Spec.default(["guest"], rootfs=guestfs)
    linux = spec.linux or Linux()
    own = {"user": "user", "network": "net", "ipc": "ipc", "cgroup": "cgroup"}
    kept = [each for each in linux.namespaces if each.type not in own]
    joined = [Namespace(type=type, path=f"/proc/self/ns/{name}") for type, name in own.items()]  # type: ignore[arg-type]
    spec = replace(spec, linux=replace(linux, namespaces=(*kept, *joined)))
    assert (await look(runtime, spec))["uids"] == [0, 0, 0]
    async with runtime.container(spec.with_args(["sleep", "60"]), stdin=DEVNULL) as container:
        for name in own.values():
            assert os.readlink(f"/proc/{container.pid}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}")


async def test_our_own_mount_namespace_is_not_mounted_in(runtime: Runtime, rootfs: str) -> None:
    spec = Spec.default(["true"], rootfs=rootfs)
    linux = spec.linux or Linux()
    kept = [each for each in linux.namespaces if each.type != "mount"]
    joined = Namespace(type="mount", path="/proc/self/ns/mnt")
    with pytest.raises(SpecError, match="would change the host"):
        await runtime.create(None, replace(spec, linux=replace(linux, namespaces=(*kept, joined))))


async def test_namespace_of_another_type(runtime: Runtime, rootfs: str, data: str) -> None:
    with pytest.raises(SpecError, match="no user namespace"):
        await runtime.create(None, joining(rootfs, "/proc/self/ns/net", bind(data, "rbind")))
    with pytest.raises(SpecError, match="is no namespace"):
        await runtime.create(None, joining(rootfs, "/proc/self/stat", bind(data, "rbind")))
