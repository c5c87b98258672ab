"""T08 (CVE-2015-3630, CVE-2017-16539): files of the kernel that reach too far are writable."""

from __future__ import annotations

import os
import re

import pytest
from support.guest import compile_program

from aiocontainer import Mount, Runtime, Spec

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

HERE = os.path.dirname(__file__)

# Reviewed: what root inside may open for writing, and why that is no harm.
ALLOWED = (
    r"/proc/[0-9]+/.*",  # processes of its own namespace
    r"/proc/pressure/(cpu|memory|io|irq)",  # proc_pressure(5): registers a trigger of one's own
    r"/proc/net/.*|/proc/[^/]+/net/.*",  # of its own network namespace
)
"""Its own processes; triggers of its own; its own network."""


@pytest.fixture
def walkfs(rootfs: str) -> str:
    compile_program(os.path.join(HERE, "walker.c"), f"{rootfs}/bin/walker")
    return rootfs


async def writable(runtime: Runtime, spec: Spec) -> list[str]:
    done = await runtime.run(spec, timeout_s=60)
    assert done.exit.clean, done
    assert done.stdout is not None
    found = done.stdout.decode().splitlines()
    return sorted(path for path in found if not any(re.fullmatch(each, path) for each in ALLOWED))


async def test_by_the_default_specification(runtime: Runtime, walkfs: str) -> None:
    assert await writable(runtime, Spec.default(["walker", "/proc", "/sys"], rootfs=walkfs)) == []


async def test_control(runtime: Runtime, walkfs: str) -> None:
    """The walker finds what can be opened."""
    script = "touch /t/here /t/not; chmod 444 /t/not; walker /t"
    spec = Spec.default(["sh", "-c", script], rootfs=walkfs).with_mount(Mount.tmpfs("/t"))
    assert await writable(runtime, spec) == ["/t/here"]
