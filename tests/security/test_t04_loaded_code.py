"""T04 (CVE-2014-9357, CVE-2019-14271): something privileged loads code or settings from the image."""

from __future__ import annotations

import ctypes
import os
from asyncio.subprocess import DEVNULL
from typing import TYPE_CHECKING

import pytest

from aiocontainer import Runtime, Spec
from aiocontainer.native import spawner

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

# What libraries look for when they are started, translate texts or look up users; and tools by name.
BAIT = (
    *("etc/ld.so.preload", "etc/ld.so.cache", "etc/nsswitch.conf", "etc/host.conf", "etc/localtime"),
    *("lib/x86_64-linux-gnu/libnss_files.so.2", "lib64/ld-linux-x86-64.so.2", "lib/libc.so.6"),
    *("usr/lib/locale/locale-archive", "usr/lib/gconv/gconv-modules", "usr/share/locale/locale.alias"),
    *("bin/newuidmap", "bin/newgidmap", "usr/bin/newuidmap", "usr/bin/newgidmap", "bin/modprobe"),
)
OPENED = 0x21  # IN_OPEN | IN_ACCESS


@pytest.fixture
def bait(rootfs: str) -> Iterator[int]:
    """An inotify that sees whoever opens any of these, in whatever namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    for name in BAIT:
        path = os.path.join(rootfs, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        with open(path, "w") as file:
            file.write("#!/bin/sh\ntouch /bitten\n")
        os.chmod(path, 0o755)
        assert libc.inotify_add_watch(watch, path.encode(), OPENED) >= 0
    yield watch
    os.close(watch)


def was_opened(watch: int) -> bool:
    try:
        return bool(os.read(watch, 4096))
    except BlockingIOError:
        return False


def test_helper_needs_no_other_code() -> None:
    """ELF(5): no interpreter, no library."""
    with open(spawner._HELPER, "rb") as file:
        image = file.read()
    assert image[:4] == b"\x7fELF"
    at, size, count = (
        int.from_bytes(image[0x20:0x28], "little"),
        int.from_bytes(image[0x36:0x38], "little"),
        int.from_bytes(image[0x38:0x3A], "little"),
    )
    kinds = {int.from_bytes(image[at + i * size : at + i * size + 4], "little") for i in range(count)}
    assert 3 not in kinds, "PT_INTERP"


@pytest.mark.parametrize("user", [0, 1000])
async def test_nobody_bites(runtime: Runtime, rootfs: str, bait: int, user: int) -> None:
    spec = Spec.default(["sleep", "60"], rootfs=rootfs).with_user(user, user).with_default_seccomp()
    async with runtime.container(spec, stdin=DEVNULL) as container:
        process = await container.exec(["/bin/true"], stdin=DEVNULL, user=str(user))
        assert (await process.wait()).clean
        process.close()
    assert not was_opened(bait)
    assert not os.path.exists(f"{rootfs}/bitten")


async def test_control(runtime: Runtime, rootfs: str, bait: int) -> None:
    """Who does is seen."""
    await runtime.run(Spec.default(["cat", "/etc/nsswitch.conf"], rootfs=rootfs))
    assert was_opened(bait)
