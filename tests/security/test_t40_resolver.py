"""T40 (crun CVE-2019-18837): a path of a crafted image leads to the host."""

from __future__ import annotations

import os
from asyncio.subprocess import DEVNULL
from typing import TYPE_CHECKING

import pytest
from support.guest import mounts_of

from aiocontainer import ContainerError, Mount, Runtime, Spec

if TYPE_CHECKING:
    from hostile import Canary

pytestmark = pytest.mark.needs("root", "gcc", "busybox")


@pytest.fixture
def source(public_tmp: str) -> str:
    os.makedirs(f"{public_tmp}/source/marker")
    return f"{public_tmp}/source"


async def places(runtime: Runtime, rootfs: str, source: str, target: str) -> list[str] | None:
    """Where it was mounted; None if that was refused."""
    spec = Spec.default(["sleep", "60"], rootfs=rootfs).with_mount(Mount.bind(source, target))
    try:
        container = await runtime.create(None, spec, stdin=DEVNULL)
    except ContainerError:
        return None
    found = [place for place, mount in mounts_of(container.pid).items() if mount["root"].endswith("/source")]
    await container.delete(force=True)
    return found


def chain(rootfs: str, count: int, end: str) -> str:
    """So many links, each to the next, the last to *end*."""
    for index in range(count):
        os.symlink(f"l{index + 1}" if index + 1 < count else end, f"{rootfs}/l{index}")
    return "/l0"


@pytest.mark.parametrize(("count", "good"), [(1, True), (39, True), (40, True), (41, False), (60, False)])
async def test_chains(runtime: Runtime, rootfs: str, source: str, count: int, good: bool) -> None:
    """path_resolution(7): 40 links are the most."""
    os.mkdir(f"{rootfs}/end")
    found = await places(runtime, rootfs, source, chain(rootfs, count, "/end"))
    assert found == (["/end"] if good else None)


@pytest.mark.parametrize(
    ("text", "target", "place"),
    [
        ("../../../../end", "/l0", "/end"),
        ("/../../end", "/l0", "/end"),
        ("/", "/l0/end", "/end"),
        ("/", "/l0/l0/l0/end/", "/end"),
        (".", "//l0//.//end", "/end"),
        ("end/../end/.", "/l0", "/end"),
        ("l0", "/l0", None),
        ("/l0/x", "/l0", None),
        ("end", "/l0/../../..//end", "/end"),
    ],
)
async def test_links(
    runtime: Runtime, rootfs: str, source: str, text: str, target: str, place: str | None
) -> None:
    os.mkdir(f"{rootfs}/end")
    os.symlink(text, f"{rootfs}/l0")
    assert await places(runtime, rootfs, source, target) == ([place] if place else None)


@pytest.mark.parametrize("target", ["directory", "empty", "missing", ""])
async def test_links_to_the_host(
    runtime: Runtime, rootfs: str, source: str, canary: Canary, target: str
) -> None:
    """Inside they lead to that path of the container, which is made."""
    os.symlink(canary / target, f"{rootfs}/l0")
    inside = (canary / target).rstrip("/")
    assert await places(runtime, rootfs, source, "/l0") == [inside]
    assert await places(runtime, rootfs, source, "/l0/../../../.." + inside) == [inside]
    assert await places(runtime, rootfs, source, "/l0/made") == [f"{inside}/made"]
    assert os.path.isdir(f"{rootfs}{inside}/made")


async def test_every_byte(runtime: Runtime, rootfs: str, source: str) -> None:
    for first in range(1, 256, 32):
        raw = bytes(byte for byte in range(first, min(first + 32, 256)) if byte != ord("/"))
        name = raw.decode("latin-1")  # in UTF-8 as a document has it
        mount = Mount.bind(source, f"/n/{name}")
        spec = Spec.default(["sleep", "60"], rootfs=rootfs).with_mount(mount)
        async with runtime.container(spec, stdin=DEVNULL) as container:
            assert os.listdir(f"/proc/{container.pid}/root/n/{name}") == ["marker"]
        assert os.listdir(f"{rootfs}/n") == [name]
        os.rmdir(f"{rootfs}/n/{name}")


@pytest.mark.parametrize(("length", "good"), [(255, True), (256, False)])
async def test_long_names(runtime: Runtime, rootfs: str, source: str, length: int, good: bool) -> None:
    found = await places(runtime, rootfs, source, "/" + "n" * length)
    assert (found is not None) == good


@pytest.mark.parametrize(("length", "good"), [(3500, True), (4200, False), (9000, False)])
async def test_long_paths(runtime: Runtime, rootfs: str, source: str, length: int, good: bool) -> None:
    found = await places(runtime, rootfs, source, ("/" + "p" * 99) * (length // 100))
    assert (found is not None) == good
