"""S38: what linux.rootfsPropagation and mount options of propagation let through, and in which direction."""

from __future__ import annotations

import asyncio
import os
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from typing import Any

import pytest
from msgspec.structs import replace
from support.aside import aside, mount

from aiocontainer import Mount, Runtime, Spec, SpecError
from aiocontainer.spec import Linux

pytestmark = pytest.mark.needs("root", "busybox", "compiled")

PROPAGATIONS = ("shared", "slave", "private", "unbindable")

# Of the root and of the file system below it: does its peer group reach the container's, or is it one.
RESULTS = {
    None: ("private", "slave"),
    "slave": ("private", "slave"),
    "private": ("private", "private"),
    "shared": ("shared", "slave"),
    "unbindable": ("unbindable", "private"),
    "rslave": ("private", "slave"),
    "rprivate": ("private", "private"),
    "rshared": ("shared", "shared"),
    "runbindable": ("unbindable", "unbindable"),
}


def kinds(pid: int) -> dict[str, str]:
    """Mount point to the kind of its propagation."""
    found = {}
    with open(f"/proc/{pid}/mountinfo") as file:
        for line in file:
            fields = line.partition(" - ")[0].split()
            tags = {tag.partition(":")[0] for tag in fields[6:]}
            names = ("unbindable", "shared", "master")
            kind = next((name for name in names if name in tags), "private")
            found[fields[4]] = {"master": "slave"}.get(kind, kind)
    return found


def spec_of(rootfs: str, propagation: str | None, *mounts: Mount) -> Spec:
    spec = Spec.default(["sleep", "60"], rootfs=rootfs)
    linux = replace(spec.linux or Linux(), rootfs_propagation=propagation)
    return replace(spec, mounts=(*spec.mounts, *mounts), linux=linux)


async def look(rootfs: str, propagation: str | None) -> dict[str, Any]:
    """Run a container over a shared root with a shared mount in it; say what came through."""
    sub = f"{rootfs}/mnt"
    os.makedirs(sub, exist_ok=True)
    mount("bind", rootfs, rootfs)
    mount("tmpfs", sub)
    for path in (rootfs, sub):
        mount("make-shared", path)
    os.mkdir(f"{sub}/late")
    os.mkdir(f"{sub}/inner")
    with tempfile.TemporaryDirectory() as state:
        async with (
            Runtime(state) as runtime,
            runtime.container(spec_of(rootfs, propagation), stdin=DEVNULL) as container,
        ):
            before = [point for point in kinds(os.getpid()) if point.startswith(rootfs)]
            mount("tmpfs", f"{sub}/late")
            came = "/mnt/late" in kinds(container.pid)
            process = await container.exec(["true"], stdout=PIPE)
            await process.wait()
            found = kinds(container.pid)
            return {
                "root": found["/"],
                "sub": found["/mnt"],
                "came": came,
                "before": before,
            }


@pytest.mark.proves("$.linux.rootfsPropagation")
@pytest.mark.parametrize("propagation", RESULTS)
def test_root_and_what_is_below(rootfs: str, propagation: str | None) -> None:
    found = aside(look, rootfs, propagation)
    assert (found["root"], found["sub"]) == RESULTS[propagation]
    assert found["came"] == (found["sub"] in {"slave", "shared"})
    assert found["before"] == [rootfs, f"{rootfs}/mnt"], "the container's own mounts have come out"


@pytest.mark.parametrize("propagation", ["private", "rprivate"])
async def test_private_needs_a_pivot(runtime: Runtime, rootfs: str, propagation: str) -> None:
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, spec_of(rootfs, propagation), no_pivot=True)
    assert caught.value.origin == "$.linux.rootfsPropagation"


async def volume(rootfs: str, path: str, option: str) -> dict[str, Any]:
    """Run a container with a shared volume, which mounts something in it."""
    mount("tmpfs", path)
    mount("make-shared", path)
    for name in ("inside", "outside"):
        os.mkdir(f"{path}/{name}")
    bound = Mount(destination="/v", type="bind", source=path, options=("rbind", option))
    spec = spec_of(rootfs, "shared" if option.endswith("shared") else None, bound)
    assert spec.process is not None
    admin = ("CAP_SYS_ADMIN",)
    caps = replace(
        spec.process.capabilities, bounding=admin, effective=admin, permitted=admin, inheritable=()
    )  # type: ignore[type-var]
    script = "mount -t tmpfs inside /v/inside && echo made; sleep 60"
    spec = replace(spec, process=replace(spec.process, args=("sh", "-c", script), capabilities=caps))
    with tempfile.TemporaryDirectory() as state:
        async with (
            Runtime(state) as runtime,
            runtime.container(spec, stdin=DEVNULL, stdout=PIPE) as container,
        ):
            assert container.stdout is not None
            line = await asyncio.wait_for(container.stdout.readline(), 20)
            mount("tmpfs", f"{path}/outside")
            return {
                "made": line == b"made\n",
                "kind": kinds(container.pid)["/v"],
                "in": "/v/outside" in kinds(container.pid),
                "out": os.path.ismount(f"{path}/inside"),
            }


@pytest.mark.parametrize(
    ("option", "kind", "into", "out"),
    [
        ("rprivate", "private", False, False),
        ("rslave", "slave", True, False),
        ("rshared", "shared", True, True),
        ("unbindable", "unbindable", False, False),
        ("ro", "slave", True, False),
    ],
)
def test_volumes(rootfs: str, public_tmp: str, option: str, kind: str, into: bool, out: bool) -> None:
    path = f"{public_tmp}/volume"
    os.mkdir(path)
    assert aside(volume, rootfs, path, option) == {"made": True, "kind": kind, "in": into, "out": out}
