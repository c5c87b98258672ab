"""OCI config-linux.md "Masked Paths", "Readonly Paths"; config.md "Root"; rootfs propagation."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support.guest import mounts_of
from support.specs import shell, with_linux

from aiocontainer import Container, ContainerError, Runtime, Spec, SpecError
from aiocontainer.spec import Root

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("root", "busybox")


def spec(rootfs: str, **linux: object) -> Spec:
    return with_linux(Spec.default(["sleep", "60"], rootfs=rootfs), **linux)


def place(container: Container, path: str) -> str:
    return f"/proc/{container.pid}/root{path}"


async def test_default_masks(runtime: Runtime, rootfs: str) -> None:
    """Each that this kernel has is null, or an empty directory that cannot be written."""
    base = Spec.default(["sleep", "60"], rootfs=rootfs)
    assert base.linux is not None
    seen = 0
    async with runtime.container(base) as container:
        for path in base.linux.masked_paths:
            if not os.path.exists(path):
                continue
            seen += 1
            found = os.stat(place(container, path))
            if stat.S_ISDIR(found.st_mode):
                assert os.listdir(place(container, path)) == []
            else:
                assert found.st_rdev == os.makedev(1, 3)
                assert stat.S_ISCHR(found.st_mode)
    assert seen > 3


@pytest.mark.proves("$.linux.maskedPaths[]")
async def test_masked(runtime: Runtime, rootfs: str) -> None:
    os.makedirs(f"{rootfs}/srv/directory/inner")
    for name in ("file", "directory/file"):
        with open(f"{rootfs}/srv/{name}", "w") as file:
            file.write("secret\n")
    os.symlink("/srv/file", f"{rootfs}/srv/lead")
    script = (
        "cat /srv/file /srv/lead; ls -A /srv/directory; touch /srv/directory/x; echo; cat /srv/file | wc -c"
    )
    made = with_linux(shell(script, rootfs), masked_paths=("/srv/lead", "/srv/directory", "/srv/missing"))
    done = await runtime.run(made)
    assert done.stdout == b"\n0\n"
    assert b"Read-only" in (done.stderr or b"")
    assert os.path.getsize(f"{rootfs}/srv/file") > 0


async def test_masks_of_directories_share_one_file_system(runtime: Runtime, rootfs: str) -> None:
    paths = [f"/srv/{index}" for index in range(5)]
    for path in paths:
        os.makedirs(rootfs + path)
    async with runtime.container(spec(rootfs, masked_paths=tuple(paths))) as container:
        assert len({os.stat(place(container, path)).st_dev for path in paths}) == 1
        found = mounts_of(container.pid)
        assert all("ro" in found[path]["options"].split(",") for path in paths)


@pytest.mark.proves("$.linux.readonlyPaths[]")
async def test_readonly(runtime: Runtime, rootfs: str) -> None:
    os.makedirs(f"{rootfs}/srv/inner")
    writable = replace(shell("", rootfs), root=Root(path=rootfs, readonly=False))
    script = "touch /srv/x; touch /tmp/x && echo tmp; touch /srv/inner/y; echo x > /proc/sys/kernel/hostname"
    made = with_linux(
        writable.with_args(["sh", "-c", script]), readonly_paths=("/srv", "/proc/sys", "/missing")
    )
    done = await runtime.run(made)
    assert done.stdout == b"tmp\n"
    assert (done.stderr or b"").count(b"Read-only") == 3
    assert os.listdir(f"{rootfs}/srv") == ["inner"]


async def test_readonly_keeps_other_attributes(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(spec(rootfs, readonly_paths=("/dev/shm",))) as container:
        options = set(mounts_of(container.pid)["/dev/shm"]["options"].split(","))
    assert {"ro", "nosuid", "nodev", "noexec"} <= options


async def test_default_readonly_paths(runtime: Runtime, rootfs: str) -> None:
    base = Spec.default(["sleep", "60"], rootfs=rootfs)
    assert base.linux is not None
    async with runtime.container(base) as container:
        found = mounts_of(container.pid)
    there = [path for path in base.linux.readonly_paths if os.path.exists(path)]
    assert "/proc/sys" in there
    assert all("ro" in found[path]["options"].split(",") for path in there)


@pytest.mark.parametrize("field", ["masked_paths", "readonly_paths"])
async def test_paths_must_be_absolute(runtime: Runtime, rootfs: str, field: str) -> None:
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, spec(rootfs, **{field: ("proc/keys",)}))
    word = {"masked_paths": "maskedPaths", "readonly_paths": "readonlyPaths"}[field]
    assert caught.value.origin == f"$.linux.{word}[0]"


# The root.


@pytest.mark.proves("$.root.readonly")
@pytest.mark.parametrize("readonly", [True, False])
async def test_root(runtime: Runtime, rootfs: str, readonly: bool) -> None:
    made = replace(shell("touch /new && echo written", rootfs), root=Root(path=rootfs, readonly=readonly))
    done = await runtime.run(made)
    assert done.stdout == (b"" if readonly else b"written\n")
    assert os.path.exists(f"{rootfs}/new") != readonly


@pytest.mark.proves("$.root.path")
async def test_root_relative_to_the_bundle(
    runtime: Runtime, rootfs: str, bundle: Callable[[Spec], str]
) -> None:
    directory = bundle(replace(shell("echo here", rootfs), root=Root(path="rootfs")))
    assert (await runtime.run(directory)).stdout == b"here\n"


@pytest.mark.parametrize("path", ["", "/no/such/root", "/etc/passwd"])
async def test_root_that_is_none(runtime: Runtime, rootfs: str, path: str) -> None:
    with pytest.raises(ContainerError) as caught:
        await runtime.create(None, replace(shell("true", rootfs), root=Root(path=path)))
    assert caught.value.origin == "$.root.path"  # type: ignore[attr-defined]


async def test_root_is_required(runtime: Runtime, rootfs: str) -> None:
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, replace(shell("true", rootfs), root=None))
    assert caught.value.origin.startswith("$.root")


@pytest.mark.parametrize("no_pivot", [False, True])
async def test_nothing_of_the_old_root_is_left(runtime: Runtime, rootfs: str, no_pivot: bool) -> None:
    """By pivot_root(2): not even in the list of mounts."""
    made = replace(shell("ls / | tr '\\n' ' '; ls -A /..", rootfs), root=Root(path=rootfs))
    container = await runtime.create(None, made, no_pivot=no_pivot)
    with open(f"/proc/{container.pid}/mountinfo") as file:
        places = [line.split()[4] for line in file]
    if not no_pivot:
        assert all(place == "/" or place.startswith(("/proc", "/dev", "/sys")) for place in places)
    assert set(os.listdir(place(container, "/"))) == set(os.listdir(rootfs))
    await container.delete(force=True)


@pytest.mark.proves("$.linux.rootfsPropagation")
@pytest.mark.parametrize(
    ("word", "fields"),
    [
        (None, ""),
        ("private", ""),
        ("rprivate", ""),
        ("slave", ""),
        ("rslave", ""),
        ("shared", "shared"),
        ("rshared", "shared"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ],
)
async def test_rootfs_propagation(runtime: Runtime, rootfs: str, word: str | None, fields: str) -> None:
    async with runtime.container(spec(rootfs, rootfs_propagation=word)) as container:
        assert mounts_of(container.pid)["/"]["shared"].partition(":")[0] == fields
