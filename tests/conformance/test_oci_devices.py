"""OCI config-linux.md "Devices", "Default Devices"; config.md's links of /dev; device access."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from msgspec import json
from support.specs import shell, with_linux, with_process, without_mounts

from aiocontainer import Container, ContainerError, Mount, Runtime, Spec, SpecError
from aiocontainer.spec import CAPABILITIES, Capabilities, Device, DeviceRule, IDMapping, Namespace, Resources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.needs("root", "busybox")

DEFAULT = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def path(container: Container, name: str) -> str:
    """Where a name of the container's /dev is for us."""
    return f"/proc/{container.pid}/root/dev/{name}"


@pytest.fixture
async def plain(runtime: Runtime, rootfs: str) -> AsyncIterator[Container]:
    async with runtime.container(Spec.default(["sleep", "60"], rootfs=rootfs)) as container:
        yield container


@pytest.mark.parametrize("name", DEFAULT)
async def test_default_node(plain: Container, name: str) -> None:
    found = os.lstat(path(plain, name))
    assert stat.S_ISCHR(found.st_mode)
    assert (os.major(found.st_rdev), os.minor(found.st_rdev)) == DEFAULT[name]
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o666, 0, 0)


@pytest.mark.parametrize("name", LINKS)
async def test_default_link(plain: Container, name: str) -> None:
    assert os.readlink(path(plain, name)) == LINKS[name]


async def test_nothing_else_is_in_dev(plain: Container) -> None:
    names = {*DEFAULT, *LINKS, "pts", "shm", "mqueue", "core"}
    assert set(os.listdir(path(plain, ""))) <= names


async def test_ptmx_is_of_the_containers_own_devpts(plain: Container) -> None:
    found = os.stat(path(plain, "pts/ptmx"))
    assert (os.major(found.st_rdev), os.minor(found.st_rdev)) == (5, 2)
    assert found.st_dev != os.stat("/dev/pts").st_dev
    assert os.listdir(path(plain, "pts")) == ["ptmx"]


async def test_default_nodes_work(runtime: Runtime, rootfs: str) -> None:
    script = """
    echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c
    echo x > /dev/full || echo full
    echo out > /dev/stdout; echo err > /dev/stderr; echo in | cat /dev/stdin
    """
    done = await runtime.run(shell(script, rootfs))
    assert done.stdout == b"3\n4\nfull\nout\nin\n"
    assert done.stderr is not None
    assert done.stderr.endswith(b"err\n")


async def test_user_namespace_has_the_same_nodes(runtime: Runtime, rootfs: str) -> None:
    """Bound there, because nobody may make them."""
    maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
    base = Spec.default(["sleep", "60"], rootfs=rootfs)
    assert base.linux is not None
    namespaces = (*base.linux.namespaces, Namespace(type="user"))
    spec = with_linux(base, namespaces=namespaces, uid_mappings=maps, gid_mappings=maps)
    async with runtime.container(spec) as container:
        for name, numbers in DEFAULT.items():
            found = os.lstat(path(container, name))
            assert (os.major(found.st_rdev), os.minor(found.st_rdev)) == numbers


WANTED = (
    Device(path="/dev/fuse", type="c", major=10, minor=229, file_mode=0o600, uid=5, gid=6),
    Device(path="/dev/deep/er/loop", type="b", major=7, minor=0, file_mode=0o660),
    Device(path="/dev/pipe", type="p", file_mode=0o622, uid=1),
    Device(path="/dev/unbuffered", type="u", major=1, minor=3),
    Device(path="/srv/node", type="c", major=1, minor=7),
)


@pytest.mark.proves("$.linux.devices[].*")
async def test_devices(runtime: Runtime, rootfs: str) -> None:
    spec = with_linux(Spec.default(["sleep", "60"], rootfs=rootfs), devices=WANTED)
    kinds = {"c": stat.S_ISCHR, "u": stat.S_ISCHR, "b": stat.S_ISBLK, "p": stat.S_ISFIFO}
    async with runtime.container(spec) as container:
        for device in WANTED:
            found = os.lstat(f"/proc/{container.pid}/root{device.path}")
            assert kinds[device.type](found.st_mode), device
            if device.type != "p":
                assert (os.major(found.st_rdev), os.minor(found.st_rdev)) == (device.major, device.minor)
            mode = 0o666 if device.file_mode is None else device.file_mode
            ids = (device.uid or 0, device.gid or 0)
            assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, *ids), device


async def test_device_in_the_place_of_a_default_one(runtime: Runtime, rootfs: str) -> None:
    device = Device(path="/dev/zero", type="c", major=1, minor=5, file_mode=0o600)
    spec = with_linux(Spec.default(["sleep", "60"], rootfs=rootfs), devices=(device,))
    async with runtime.container(spec) as container:
        assert stat.S_IMODE(os.lstat(path(container, "zero")).st_mode) == 0o600


async def test_two_devices_of_one_path(runtime: Runtime, rootfs: str) -> None:
    devices = (WANTED[0], Device(path="/dev/fuse", type="c", major=1, minor=3))
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, with_linux(Spec.default(["true"], rootfs=rootfs), devices=devices))
    assert caught.value.origin.startswith("$.linux.devices[1]")


async def test_something_else_is_in_the_way(runtime: Runtime, rootfs: str) -> None:
    os.mkdir(f"{rootfs}/srv")
    os.mknod(f"{rootfs}/srv/node", 0o20666, os.makedev(1, 8))
    spec = with_linux(Spec.default(["true"], rootfs=rootfs), devices=WANTED[4:])
    with pytest.raises(ContainerError) as caught:
        await runtime.create(None, spec)
    assert caught.value.origin.startswith("$.linux.devices[0]")  # type: ignore[attr-defined]


@pytest.mark.parametrize("field", ["major", "minor", "path", "type"])
async def test_required(runtime: Runtime, rootfs: str, field: str) -> None:
    document = json.decode(with_linux(Spec.default(["true"], rootfs=rootfs), devices=WANTED[:1]).encode())
    del document["linux"]["devices"][0][field]
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, json.encode(document))
    assert caught.value.origin.startswith("$.linux.devices[0]")


async def test_bound_dev_is_left_alone(runtime: Runtime, rootfs: str, public_tmp: str) -> None:
    os.mkdir(f"{public_tmp}/dev")
    base = Spec.default(["true"], rootfs=rootfs)
    spec = without_mounts(base, "/dev", add=[Mount.bind(f"{public_tmp}/dev", "/dev")])
    assert (await runtime.run(spec)).exit.clean
    assert os.listdir(f"{public_tmp}/dev") == []


# Access.

ALL = Capabilities(bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES)


def with_rules(rootfs: str, script: str, *rules: DeviceRule) -> Spec:
    base = with_process(shell(script, rootfs), capabilities=ALL, no_new_privileges=False)
    return with_linux(base, resources=Resources(devices=rules))


DENY = DeviceRule(allow=False, access="rwm")
PROBE = """
cd /dev/shm
mknod kmsg c 1 11 2>/dev/null && echo made-kmsg
mknod mem c 1 1 2>/dev/null && echo made-mem
head -c 0 /dev/null && echo null
head -c 1 /dev/zero > /dev/null && echo zero
"""


async def test_nodes_that_every_container_may_use(runtime: Runtime, rootfs: str) -> None:
    """All else is denied by the default: made, or used."""
    done = await runtime.run(with_rules(rootfs, PROBE + "head -c 1 kmsg 2>/dev/null && echo kmsg", DENY))
    words = set((done.stdout or b"").split())
    assert {b"null", b"zero"} <= words
    assert b"kmsg" not in words


@pytest.mark.proves("$.linux.resources.devices[].allow")
async def test_rule_allows(runtime: Runtime, rootfs: str) -> None:
    """/dev/shm is mounted nodev: the node is one of the specification's own."""
    device = Device(path="/dev/kmsg", type="c", major=1, minor=11)
    script = "exec 3</dev/kmsg && echo opened"
    allow = DeviceRule(allow=True, type="c", major=1, minor=11, access="rw")
    for rules, output in (((DENY,), b""), ((DENY, allow), b"opened\n")):
        spec = with_linux(with_rules(rootfs, script, *rules), devices=(device,))
        done = await runtime.run(spec)
        assert done.stdout == output, (rules, done)


OTHER_RULES = {
    "type": DeviceRule(allow=True, type="b", major=1, minor=11, access="rw"),
    "major": DeviceRule(allow=True, type="c", major=2, minor=11, access="rw"),
    "minor": DeviceRule(allow=True, type="c", major=1, minor=12, access="rw"),
    "access": DeviceRule(allow=True, type="c", major=1, minor=11, access="w"),
}


@pytest.mark.proves(
    "$.linux.resources.devices[].type",
    "$.linux.resources.devices[].major",
    "$.linux.resources.devices[].minor",
    "$.linux.resources.devices[].access",
)
@pytest.mark.parametrize("member", OTHER_RULES)
async def test_rule_is_about_another_device(runtime: Runtime, rootfs: str, member: str) -> None:
    """What differs in one member allows nothing."""
    device = Device(path="/dev/kmsg", type="c", major=1, minor=11)
    script = "(exec 3</dev/kmsg) && echo read; (exec 3>/dev/kmsg) && echo written"
    for rule, output in (
        (DeviceRule(allow=True, type="c", major=1, minor=11, access="rw"), b"read\nwritten\n"),
        (OTHER_RULES[member], b"written\n" if member == "access" else b""),
    ):
        spec = with_linux(with_rules(rootfs, script, DENY, rule), devices=(device,))
        assert (await runtime.run(spec)).stdout == output
