"""T50 (CVE-2022-0492): a program of the host's is named in a file of cgroup v1, and then run."""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING

import pytest
from support.specs import shell, with_process

from aiocontainer.spec import CAPABILITIES, Capabilities

if TYPE_CHECKING:
    from aiocontainer import Runtime

pytestmark = pytest.mark.needs("root", "busybox", "cgroup1")

TRY = """
for file in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/release_agent; do
  test -e $file && { echo /evil > $file && echo written $file; } 2>/dev/null
done
for directory in /sys/fs/cgroup/* /sys/fs/cgroup; do
  { mkdir $directory/made && echo made in $directory; } 2>/dev/null
done
"""
MORE = """
mkdir -p /tmp/cg
for kind in memory rdma freezer pids; do
  unshare -UrC sh -c "mount -t cgroup -o $kind cgroup /tmp/cg && echo mounted $kind" 2>/dev/null
done
true
"""


def agents() -> dict[str, str]:
    found = {}
    for path in glob.glob("/sys/fs/cgroup/*/release_agent"):
        with open(path) as file:
            found[path] = file.read()
    return found


@pytest.mark.parametrize("script", [TRY, TRY + MORE])
async def test_nothing_can_be_written(runtime: Runtime, rootfs: str, script: str) -> None:
    before = agents()
    done = await runtime.run(shell(script, rootfs))
    assert (done.stdout or b"") == b""
    assert agents() == before


async def test_not_even_with_capabilities_over_files(runtime: Runtime, rootfs: str) -> None:
    kept = tuple(name for name in CAPABILITIES if name != "CAP_SYS_ADMIN")
    spec = with_process(
        shell(TRY, rootfs), capabilities=Capabilities(bounding=kept, effective=kept, permitted=kept)
    )
    before = agents()
    assert ((await runtime.run(spec)).stdout or b"") == b""
    assert agents() == before
