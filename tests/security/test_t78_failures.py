"""T78: each failure leaves a descriptor open."""

from __future__ import annotations

import os

import pytest
from support.specs import shell, with_process

from aiocontainer import ContainerError, Mount, Runtime, Spec

pytestmark = pytest.mark.needs("root", "busybox")

TIMES = int(os.environ.get("AIOCONTAINER_FAILURES", "15"))


def count() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_failing_creates(runtime: Runtime, rootfs: str) -> None:
    """In the plan, while opening, in the helper, and at the program."""
    base = Spec.default(["true"], rootfs=rootfs)
    failing = (
        base.with_mount(Mount.tmpfs("/proc/self")),
        base.with_mount(Mount.bind("/etc", "/a"), Mount.bind("/nowhere-at-all", "/b")),
        base.with_mount(Mount.bind("/etc", "/a"), Mount(destination="/m", type="nosuchfs", source="x")),
        with_process(base, args=("/bin/nosuch",)),
        with_process(base, cwd="/proc/self/fd/3"),
    )
    before = None
    for _ in range(TIMES):
        for spec in failing:
            with pytest.raises(ContainerError):
                await runtime.run(spec)
        before = before or count()  # after the first round everything that stays is there
    assert count() == before


async def test_failing_execs(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(shell("sleep 60", rootfs)) as container:
        before = None
        for _ in range(TIMES):
            for args, options in ((["/bin/nosuch"], {}), (["true"], {"cwd": "/nowhere"})):
                with pytest.raises(ContainerError):
                    await container.exec(args, **options)
            before = before or count()
        assert count() == before
