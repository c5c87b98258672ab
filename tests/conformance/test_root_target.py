"""S40, S64, S73: mounts on "/", tmpfs that are filled, and file systems of the kernel in every namespace."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from support.guest import mounts_of

from aiocontainer import Mount, Runtime, Spec
from aiocontainer.spec import IDMapping, Linux, Namespace, Root

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.needs("root", "busybox", "compiled")

MAPS = (IDMapping(container_id=0, host_id=100000, size=65536),)


def spec_of(rootfs: str, script: str, *first: Mount, without: Sequence[str] = (), **changes: Any) -> Spec:
    spec = Spec.default(["sh", "-c", script], rootfs=rootfs)
    linux = spec.linux or Linux()
    namespaces = tuple(each for each in linux.namespaces if each.type not in without)
    spec = replace(spec, mounts=(*first, *spec.mounts), linux=replace(linux, namespaces=namespaces))
    return replace(spec, **changes)


async def said(runtime: Runtime, spec: Spec) -> str:
    done = await runtime.run(spec)
    assert done.exit.clean, done
    assert done.stdout is not None
    return done.stdout.decode()


async def test_copy_in_memory_takes_the_place_of_the_root(runtime: Runtime, rootfs: str) -> None:
    copied = Mount(destination="/", type="tmpfs", source="tmpfs", options=("tmpcopyup",))
    script = "echo new >/etc/new && cat /etc/new /etc/passwd && grep -c ' / / ' /proc/self/mountinfo"
    found = await said(runtime, spec_of(rootfs, script, copied, root=Root(path=rootfs)))
    assert found.startswith("new\nroot:x:0:0:root")
    assert not os.path.exists(f"{rootfs}/etc/new")
    assert sorted(os.listdir(f"{rootfs}/dev")) == []


async def test_other_directory_takes_the_place_of_the_root(
    runtime: Runtime, rootfs: str, public_tmp: str
) -> None:
    other = f"{public_tmp}/other"
    shutil.copytree(rootfs, other, symlinks=True)
    with open(f"{other}/etc/which", "w") as file:
        file.write("other")
    bound = Mount(destination="/", type="bind", source=other, options=("rbind",))
    assert await said(runtime, spec_of(rootfs, "cat /etc/which", bound)) == "other"


async def test_read_only_root_that_was_covered(runtime: Runtime, rootfs: str) -> None:
    copied = Mount(destination="/", type="tmpfs", source="tmpfs", options=("tmpcopyup", "ro"))
    assert await said(runtime, spec_of(rootfs, "touch /x 2>/dev/null || echo refused", copied)) == "refused\n"


async def test_covered_directory_is_copied(runtime: Runtime, rootfs: str) -> None:
    os.chown(f"{rootfs}/home", 1000, 1000)
    with open(f"{rootfs}/home/file", "w") as file:
        file.write("image\n")
    copied = Mount(destination="/home", type="tmpfs", source="tmpfs", options=("tmpcopyup", "nosuid"))
    spec = spec_of(rootfs, "cat /home/file; echo c >/home/file; stat -c %u:%g /home", copied)
    spec = replace(spec, mounts=(*spec.mounts[1:], copied))
    assert await said(runtime, replace(spec, root=Root(path=rootfs))) == "image\n1000:1000\n"
    with open(f"{rootfs}/home/file") as file:
        assert file.read() == "image\n"


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("missing", ["", "ipc", "network", "pid"])
async def test_file_systems_of_the_kernel(runtime: Runtime, rootfs: str, user: bool, missing: str) -> None:
    """Without a namespace of the container's own they are the host's, mounted or bound."""
    for name in ("dev", "proc", "sys"):
        os.chown(f"{rootfs}/{name}", 100000 * user, 100000 * user)
    spec = spec_of(rootfs, "sleep 60", without=[missing])
    linux = spec.linux or Linux()
    if user:
        namespaces = (*linux.namespaces, Namespace(type="user"))
        linux = replace(linux, namespaces=namespaces, uid_mappings=MAPS, gid_mappings=MAPS)
    mounts = tuple(each for each in spec.mounts if not (user and missing == "ipc" and each.type == "mqueue"))
    async with runtime.container(replace(spec, linux=linux, mounts=mounts)) as container:
        found = mounts_of(container.pid)
        types = {place: found[place]["type"] for place in ("/proc", "/dev/pts", "/sys")}
        assert types == {"/proc": "proc", "/dev/pts": "devpts", "/sys": "sysfs"}
        if not (user and missing == "ipc"):
            assert found["/dev/mqueue"]["type"] == "mqueue"
        assert "ro" in found["/sys"]["options"].split(",")
        shown = os.listdir(f"/proc/{container.pid}/root/sys/class/net")
        assert (shown == ["lo"]) == (missing != "network")
        assert os.path.exists(f"/proc/{container.pid}/root/proc/{os.getpid()}/stat") == (missing == "pid")


async def test_long_list_of_layers(runtime: Runtime, rootfs: str, public_tmp: str) -> None:
    paths = [os.path.join(public_tmp, f"{number}-{'x' * 100}") for number in range(5)]
    for number, path in enumerate(paths):
        os.mkdir(path)
        with open(f"{path}/file-{number}", "w") as file:
            file.write(str(number))
    overlay = Mount(
        destination="/mnt", type="overlay", source="overlay", options=(f"lowerdir={':'.join(paths)}", "ro")
    )
    assert await said(runtime, spec_of(rootfs, "cat /mnt/*; echo", overlay)) == "01234\n"


@pytest.mark.parametrize("user", [False, True])
async def test_links(runtime: Runtime, rootfs: str, public_tmp: str, user: bool) -> None:
    """S67, S68: with a user namespace the parent opens the source, without one the helper."""
    link, other = f"{public_tmp}/link", f"{public_tmp}/other"
    with open(other, "w") as file:
        file.write("other\n")
    os.symlink(other, link)
    for name in ("covered", "followed"):
        os.symlink("passwd", f"{rootfs}/etc/{name}")
    os.chown(f"{rootfs}/etc", 100000 * user, 100000 * user)

    def bind(source: str, name: str, *options: str) -> Mount:
        return Mount(destination=f"/etc/{name}", type="bind", source=source, options=("bind", *options))

    mounts = (
        bind(link, "copied", "copy-symlink"),
        bind(other, "bound", "copy-symlink"),
        bind(link, "itself", "src-nofollow"),
        bind(other, "covered", "dest-nofollow"),
        bind(link, "through"),
    )
    script = "cd /etc; readlink copied; cat bound; readlink itself; cat covered through; head -n1 followed"
    spec = spec_of(rootfs, script, *mounts)
    linux = spec.linux or Linux()
    if user:
        for name in ("dev", "proc", "sys"):
            os.chown(f"{rootfs}/{name}", 100000, 100000)
        types = (*linux.namespaces, Namespace(type="user"))
        linux = replace(linux, namespaces=types, uid_mappings=MAPS, gid_mappings=MAPS)
    found = await said(runtime, replace(spec, linux=linux))
    root = "root:x:0:0:root:/root:/bin/sh"
    assert found.splitlines() == [other, "other", other, "other", "other", root]
    assert os.readlink(f"{rootfs}/etc/copied") == other


async def test_sources_that_mapped_ids_cannot_reach(runtime: Runtime, rootfs: str, public_tmp: str) -> None:
    """S75: the parent opens them, in the order of the plan; each is the one that belongs to its mount."""
    closed = f"{public_tmp}/closed"
    os.makedirs(f"{closed}/directory")
    for number in range(3):
        with open(f"{closed}/file-{number}", "w") as file:
            file.write(f"{number}\n")
    os.mkdir(f"{closed}/directory/below")
    os.rename(rootfs, f"{closed}/rootfs")
    os.chmod(closed, 0o700)
    rootfs = f"{closed}/rootfs"
    for name in ("dev", "proc", "sys", "etc"):
        os.chown(f"{rootfs}/{name}", 100000, 100000)
    binds = [
        Mount.bind(f"{closed}/file-{number}", f"/etc/{number}", read_only=bool(number)) for number in range(3)
    ]
    mapped = Mount(
        destination="/etc/d", type="bind", source=f"{closed}/directory", options=("rbind", "idmap")
    )
    spec = spec_of(rootfs, "cat /etc/2 /etc/0 /etc/1; ls /etc/d; stat -c %u /etc/d", *binds, mapped)
    linux = spec.linux or Linux()
    types = (*linux.namespaces, Namespace(type="user"))
    linux = replace(linux, namespaces=types, uid_mappings=MAPS, gid_mappings=MAPS)
    assert await said(runtime, replace(spec, linux=linux)) == "2\n0\n1\nbelow\n0\n"
