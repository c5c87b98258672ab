"""OCI config.md "Mounts": targets, order, options, binds, and the default file systems."""

from __future__ import annotations

import os
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest
from support.guest import mounts_of
from support.specs import shell, without_mounts

from aiocontainer import ContainerError, Mount, Runtime, Spec, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("root", "busybox")

Mounts = dict[str, dict[str, str]]


@pytest.fixture
def source(public_tmp: str) -> str:
    path = f"{public_tmp}/source"
    os.makedirs(f"{path}/inner")
    with open(f"{path}/file", "w") as file:
        file.write("content\n")
    return path


async def mounted(runtime: Runtime, spec: Spec) -> Mounts:
    container = await runtime.create(None, spec)
    try:
        return mounts_of(container.pid)
    finally:
        await container.delete(force=True)


def sleeper(rootfs: str, *mounts: Mount) -> Spec:
    return Spec.default(["sleep", "60"], rootfs=rootfs).with_mount(*mounts)


@pytest.mark.proves("$.mounts[].destination", "$.mounts[].type")
async def test_default_file_systems(runtime: Runtime, rootfs: str) -> None:
    found = await mounted(runtime, sleeper(rootfs))
    types = {place: found[place]["type"] for place in found if not place.startswith("/proc/")}
    cgroups = {place: type for place, type in types.items() if place.startswith("/sys/fs/cgroup")}
    assert cgroups
    assert {place: type for place, type in types.items() if place not in cgroups} == {
        "/": types["/"],
        "/proc": "proc",
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
        "/sys": "sysfs",
        **{place: "tmpfs" for place in types if place == "/sys/firmware"},
    }
    assert "ro" in found["/"]["options"].split(",")
    assert {"nosuid", "noexec", "nodev", "ro"} <= set(found["/sys"]["options"].split(","))
    assert {"nosuid", "noexec"} <= set(found["/dev/pts"]["options"].split(","))
    assert "size=65536k" in found["/dev/shm"]["superblock"]
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= set(found["/dev/pts"]["superblock"].split(","))


async def test_nothing_of_the_host_is_mounted(runtime: Runtime, rootfs: str) -> None:
    with open("/proc/self/mountinfo") as file:
        ours = {line.split()[0] for line in file}
    async with runtime.container(sleeper(rootfs)) as container:
        with open(f"/proc/{container.pid}/mountinfo") as file:
            assert not ours & {line.split()[0] for line in file}


async def test_order_is_that_of_the_list(runtime: Runtime, rootfs: str, source: str) -> None:
    """A later one may lie on an earlier one, or cover it."""
    spec = sleeper(rootfs, Mount.tmpfs("/tmp/a"), Mount.tmpfs("/tmp/a/b"), Mount.bind(source, "/tmp/a/b/c"))
    found = await mounted(runtime, spec)
    assert [found[f"/tmp/{place}"]["type"] for place in ("a", "a/b")] == ["tmpfs", "tmpfs"]
    assert found["/tmp/a/b/c"]["root"].endswith("/source")
    covered = sleeper(rootfs, Mount.tmpfs("/tmp/a/b"), Mount.tmpfs("/tmp/a"))
    done = await runtime.run(covered.with_args(["ls", "-A", "/tmp/a"]))
    assert done.stdout == b""


FLAGS = {
    "ro": ("ro", "rw"),
    "nosuid": ("nosuid", "suid"),
    "nodev": ("nodev", "dev"),
    "noexec": ("noexec", "exec"),
    "noatime": ("noatime", "atime"),
    "nodiratime": ("nodiratime", "diratime"),
    "relatime": ("relatime", "norelatime"),
    "nosymfollow": ("nosymfollow", "symfollow"),
}


@pytest.mark.proves("$.mounts[].options[]")
@pytest.mark.parametrize("word", FLAGS)
@pytest.mark.parametrize("kind", ["tmpfs", "bind", "rbind"])
async def test_option(runtime: Runtime, rootfs: str, source: str, word: str, kind: str) -> None:
    if kind == "tmpfs":
        mount = Mount(destination="/tmp/m", type="tmpfs", source="tmpfs", options=(word,))
    else:
        mount = Mount(destination="/tmp/m", type="none", source=source, options=(kind, word))
    found = await mounted(runtime, sleeper(rootfs, mount))
    assert FLAGS[word][0] in found["/tmp/m"]["options"].split(",")


@pytest.mark.parametrize("word", [off for _, off in FLAGS.values() if off != "norelatime"])
async def test_option_off(runtime: Runtime, rootfs: str, source: str, word: str) -> None:
    on = next(on for on, off in FLAGS.values() if off == word)
    options = ("bind", on, word)
    mount = Mount(destination="/tmp/m", type="bind", source=source, options=options)
    found = await mounted(runtime, sleeper(rootfs, mount))
    assert on not in found["/tmp/m"]["options"].split(",")


async def test_recursive_option_reaches_submounts(
    runtime: Runtime, rootfs: str, source: str, in_private_mounts: Callable[[str], None]
) -> None:
    in_private_mounts(f"{source}/inner")
    for options, inner in ((("rbind", "rro"), "ro"), (("rbind", "ro"), "rw")):
        mount = Mount(destination="/tmp/m", type="bind", source=source, options=options)
        found = await mounted(runtime, sleeper(rootfs, mount))
        assert "ro" in found["/tmp/m"]["options"].split(",")
        assert inner in found["/tmp/m/inner"]["options"].split(",")


@pytest.fixture
def in_private_mounts(runtime: Runtime) -> object:
    """Function that mounts a tmpfs on a directory of the host, for the length of the test."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    done: list[bytes] = []

    def mount(path: str) -> None:
        assert libc.mount(b"tmpfs", path.encode(), b"tmpfs", 0, None) == 0
        done.append(path.encode())

    yield mount
    for path in reversed(done):
        assert libc.umount2(path, 2) == 0


@pytest.mark.proves("$.mounts[].source")
async def test_bind_and_rbind(
    runtime: Runtime, rootfs: str, source: str, in_private_mounts: Callable[[str], None]
) -> None:
    in_private_mounts(f"{source}/inner")
    for option, deep in (("bind", False), ("rbind", True)):
        mount = Mount(destination="/tmp/m", type="bind", source=source, options=(option,))
        assert ("/tmp/m/inner" in await mounted(runtime, sleeper(rootfs, mount))) == deep


async def test_bind_of_a_file(runtime: Runtime, rootfs: str, source: str) -> None:
    spec = shell("cat /etc/made/here; echo no > /etc/made/here", rootfs)
    mount = Mount.bind(f"{source}/file", "/etc/made/here", read_only=True)
    done = await runtime.run(spec.with_mount(mount))
    assert done.stdout == b"content\n"
    assert b"Read-only" in (done.stderr or b"")
    assert os.path.getsize(f"{rootfs}/etc/made/here") == 0


async def test_bind_that_can_be_written(runtime: Runtime, rootfs: str, source: str) -> None:
    done = await runtime.run(shell("echo new > /tmp/m/new", rootfs).with_mount(Mount.bind(source, "/tmp/m")))
    assert done.exit.clean
    assert os.path.exists(f"{source}/new")


async def test_source_relative_to_the_bundle(
    runtime: Runtime, rootfs: str, source: str, bundle: Callable[[Spec], str]
) -> None:
    spec = shell("cat /tmp/m/file", rootfs).with_mount(Mount.bind("source", "/tmp/m"))
    done = await runtime.run(bundle(spec))
    assert done.stdout == b"content\n"


async def test_source_that_is_missing(runtime: Runtime, rootfs: str) -> None:
    with pytest.raises(ContainerError) as caught:
        await runtime.create(None, sleeper(rootfs, Mount.bind("/no/such", "/tmp/m")))
    assert caught.value.origin.startswith("$.mounts[7]")  # type: ignore[attr-defined]


async def test_file_on_a_directory(runtime: Runtime, rootfs: str, source: str) -> None:
    for mount in (Mount.bind(f"{source}/file", "/tmp"), Mount.bind(source, "/etc/passwd")):
        with pytest.raises(ContainerError) as caught:
            await runtime.create(None, sleeper(rootfs, mount))
        assert caught.value.origin.startswith("$.mounts[7]")  # type: ignore[attr-defined]


async def test_target_through_links_stays_inside(runtime: Runtime, rootfs: str) -> None:
    os.symlink("/var", f"{rootfs}/lead")
    os.symlink("../../../../tmp", f"{rootfs}/up")
    found = await mounted(runtime, sleeper(rootfs, Mount.tmpfs("/lead/a"), Mount.tmpfs("/up/b")))
    assert {"/var/a", "/tmp/b"} <= set(found)


async def test_target_relative_is_taken_from_the_root(runtime: Runtime, rootfs: str) -> None:
    """Deprecated, but in the field; runc warns as well."""
    found = await mounted(runtime, sleeper(rootfs, Mount.tmpfs("tmp/relative")))
    assert "/tmp/relative" in found


@pytest.mark.parametrize("options", [(), ("tmpcopyup",)], ids=["plain", "copy-up"])
async def test_mode_of_a_tmpfs(runtime: Runtime, rootfs: str, options: tuple[str, ...]) -> None:
    """That of the directory that it covers; where there was none, the file system's own."""
    os.makedirs(f"{rootfs}/srv/there")
    os.chmod(f"{rootfs}/srv/there", 0o2750)
    mounts = (Mount.tmpfs(f"/srv/{name}", options=options) for name in ("there", "new"))
    done = await runtime.run(
        sleeper(rootfs, *mounts).with_args(["stat", "-c", "%a", "/srv/there", "/srv/new"])
    )
    assert done.stdout == b"2750\n1777\n"


async def test_data_goes_to_the_file_system(runtime: Runtime, rootfs: str) -> None:
    options = ("size=1M", "mode=0701", "uid=5", "nr_inodes=100")
    mount = Mount(destination="/tmp/m", type="tmpfs", source="name", options=options)
    spec = sleeper(rootfs, mount)
    found = (await mounted(runtime, spec))["/tmp/m"]
    assert found["source"] == "name"
    assert {"size=1024k", "nr_inodes=100", "mode=701", "uid=5"} <= set(found["superblock"].split(","))


@pytest.mark.parametrize("options", [("sizes=1M",), ("size=much",)])
async def test_data_that_the_file_system_does_not_know(
    runtime: Runtime, rootfs: str, options: tuple[str, ...]
) -> None:
    mount = Mount(destination="/tmp/m", type="tmpfs", source="tmpfs", options=options)
    with pytest.raises(ContainerError) as caught:
        await runtime.create(None, sleeper(rootfs, mount))
    assert caught.value.origin.startswith("$.mounts[7]")  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [("bind", "size=1M"), ("bind", "mode=755")])
async def test_data_on_a_bind(runtime: Runtime, rootfs: str, source: str, options: tuple[str, ...]) -> None:
    mount = Mount(destination="/tmp/m", type="bind", source=source, options=options)
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, sleeper(rootfs, mount))
    assert caught.value.origin == "$.mounts[7].options[1]"


@pytest.mark.parametrize(
    ("word", "fields"),
    [
        ("private", ""),
        ("rprivate", ""),
        ("shared", "shared"),
        ("rshared", "shared"),
        ("slave", "master"),
        ("rslave", "master"),
        ("unbindable", "unbindable"),
    ],
)
async def test_propagation(
    runtime: Runtime,
    rootfs: str,
    source: str,
    in_private_mounts: Callable[[str], None],
    shared: Callable[[str], None],
    word: str,
    fields: str,
) -> None:
    in_private_mounts(source)
    shared(source)
    mount = Mount(destination="/tmp/m", type="bind", source=source, options=("rbind", word))
    found = (await mounted(runtime, sleeper(rootfs, mount)))["/tmp/m"]["shared"]
    assert found.partition(":")[0] == fields


@pytest.fixture
def shared() -> object:
    """Function that makes a mount shared."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def share(path: str) -> None:
        assert libc.mount(None, path.encode(), None, 1 << 20, None) == 0

    return share


@pytest.mark.parametrize(
    "below", ["/proc/self", "/proc/sys/kernel", "/proc/1/attr", "/proc/../proc/self/attr"]
)
async def test_nothing_is_mounted_below_proc(runtime: Runtime, rootfs: str, below: str) -> None:
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, sleeper(rootfs, Mount.tmpfs(below)))
    assert caught.value.origin == "$.mounts[7].destination"


async def test_what_may_be_mounted_below_proc(runtime: Runtime, rootfs: str, source: str) -> None:
    done = await runtime.run(
        sleeper(rootfs, Mount.bind(f"{source}/file", "/proc/uptime")).with_args(["cat", "/proc/uptime"])
    )
    assert done.stdout == b"content\n"


async def test_unknown_file_system(runtime: Runtime, rootfs: str) -> None:
    mount = Mount(destination="/tmp/m", type="nosuchfs", source="x")
    with pytest.raises(ContainerError) as caught:
        await runtime.create(None, sleeper(rootfs, mount))
    assert caught.value.origin.startswith("$.mounts[7]")  # type: ignore[attr-defined]


async def test_no_mounts_at_all(runtime: Runtime, rootfs: str) -> None:
    spec = without_mounts(shell("echo alive", rootfs), "/proc", "/dev", "/sys")
    container = await runtime.create(None, spec, stdout=PIPE)
    await container.start()
    assert container.stdout is not None
    assert await container.stdout.read() == b"alive\n"
    await container.delete(force=True)
