"""T70: the program's user becomes the owner of the host's /dev/null."""

from __future__ import annotations

import os
from asyncio.subprocess import DEVNULL
from typing import TYPE_CHECKING

import pytest
from support.specs import shell

from aiocontainer import Runtime, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "busybox")

STREAMS = {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": DEVNULL}


@pytest.fixture(autouse=True)
def _null() -> Iterator[None]:
    before = os.stat("/dev/null")
    yield
    after = os.stat("/dev/null")
    os.chown("/dev/null", before.st_uid, before.st_gid)
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


async def test_init(runtime: Runtime, rootfs: str) -> None:
    spec = Spec.default(["sleep", "60"], rootfs=rootfs).with_user(1000, 1000)
    async with runtime.container(spec, **STREAMS):
        pass


async def test_exec(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(shell("sleep 60", rootfs), **STREAMS) as container:
        process = await container.exec(["true"], user="1000:1000", **STREAMS)
        assert (await process.wait()).clean


async def test_a_device_that_is_handed_over(runtime: Runtime, rootfs: str) -> None:
    with open("/dev/null", "r+b", buffering=0) as null:
        spec = Spec.default(["true"], rootfs=rootfs).with_user(1000, 1000)
        async with runtime.container(spec, stdin=null, stdout=null, stderr=null) as container:
            assert (await container.wait()).clean
