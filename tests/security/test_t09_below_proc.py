"""T09 (CVE-2019-16884): a volume on an attribute file of /proc swallows what is written there."""

from __future__ import annotations

import os
from asyncio.subprocess import DEVNULL

import pytest
from support.guest import mounts_of

from aiocontainer import ContainerError, Mount, Runtime, Spec

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

REFUSED = (
    *("/proc/self/attr", "/proc/self", "/proc/thread-self", "/proc/thread-self/attr/exec", "/proc/1/attr"),
    *(
        "/proc/sys",
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/proc/net/dev",
        "/proc/../proc/self",
    ),
    *(
        "/proc/self/",
        "//proc//self/attr",
        "/./proc/self/attr",
        "/proc/./sys",
        "proc/self/attr",
        "/x/../proc/self",
    ),
    *("/proc/self/attr/../../sys", "/proc/kcore", "/proc/mounts"),
)
PASSED = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/uptime", "/proc/loadavg", "/proc/swaps")
LINKS = ("/proc/self", "proc/self", "/proc/thread-self", "/proc/sys", "../../proc/self", "/chain")


@pytest.fixture
def source(public_tmp: str) -> str:
    path = f"{public_tmp}/volume"
    os.makedirs(f"{path}/attr")
    with open(f"{path}/file", "w") as file:
        file.write("fake\n")
    return path


@pytest.mark.parametrize("kind", ["bind", "file", "tmpfs"])
async def test_by_name(runtime: Runtime, rootfs: str, source: str, kind: str) -> None:
    for place in REFUSED:
        mount = {
            "bind": Mount.bind(source, place),
            "file": Mount.bind(f"{source}/file", place),
            "tmpfs": Mount.tmpfs(place),
        }[kind]
        with pytest.raises(ContainerError):
            await runtime.create(None, Spec.default(["true"], rootfs=rootfs).with_mount(mount))
        assert os.listdir(runtime.root) == []


@pytest.mark.parametrize("text", LINKS)
@pytest.mark.parametrize("below", ["", "/attr", "/attr/exec", "/kernel"])
async def test_through_a_link(runtime: Runtime, rootfs: str, source: str, text: str, below: str) -> None:
    """Whatever the image calls it, nothing comes to lie below /proc."""
    os.symlink(text, f"{rootfs}/lnk")
    os.symlink("/proc/self", f"{rootfs}/chain")
    spec = Spec.default(["sleep", "60"], rootfs=rootfs).with_mount(Mount.bind(source, f"/lnk{below}"))
    try:
        container = await runtime.create(None, spec, stdin=DEVNULL)
    except ContainerError:
        return
    usual = ("/proc/", "/proc")
    own = {
        place
        for place, m in mounts_of(container.pid).items()
        if place.startswith(usual) and m["type"] != "proc"
    }
    await container.delete(force=True)
    async with runtime.container(Spec.default(["sleep", "60"], rootfs=rootfs), stdin=DEVNULL) as ordinary:
        masks = {p for p, m in mounts_of(ordinary.pid).items() if p.startswith(usual) and m["type"] != "proc"}
    assert own <= masks


async def test_what_is_harmless_passes(runtime: Runtime, rootfs: str, source: str) -> None:
    mounts = [Mount.bind(f"{source}/file", place) for place in PASSED]
    spec = Spec.default(["cat", *PASSED], rootfs=rootfs).with_mount(*mounts)
    assert (await runtime.run(spec)).stdout == b"fake\n" * len(PASSED)
