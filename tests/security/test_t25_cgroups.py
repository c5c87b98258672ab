"""T25 (CVE-2023-25809): root of a user namespace may write to cgroups that a bound /sys brings along."""

from __future__ import annotations

import os
from asyncio.subprocess import DEVNULL
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support.guest import mounts_of
from support.specs import without_mounts

from aiocontainer import Mount, Runtime, Spec
from aiocontainer.spec import IDMapping, Linux, Namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.needs("root", "busybox")

MAPS = (IDMapping(container_id=0, host_id=100000, size=65536),)
SYS = Mount(destination="/sys", type="none", source="/sys", options=("rbind", "nosuid", "ro"))
VIEW = Mount(destination="/sys/fs/cgroup", type="cgroup", options=("nosuid", "rw"))


def mapped(rootfs: str, mounts: Sequence[Mount]) -> Spec:
    """A container with a user namespace, and without one for cgroups and for the network."""
    spec = without_mounts(Spec.default(["sleep", "60"], rootfs=rootfs), "/sys", add=mounts)
    types = (*(Namespace(type=type) for type in ("pid", "ipc", "uts", "mount", "user")),)
    linux = spec.linux or Linux()
    return replace(spec, linux=replace(linux, namespaces=types, uid_mappings=MAPS, gid_mappings=MAPS))


@pytest.mark.parametrize("mounts", [(SYS,), (SYS, VIEW), (VIEW,)])
async def test_each_cgroup_is_read_only_or_its_own(
    runtime: Runtime, rootfs: str, mounts: Sequence[Mount]
) -> None:
    os.makedirs(f"{rootfs}/sys/fs/cgroup", exist_ok=True)
    async with runtime.container(mapped(rootfs, mounts), id="aioc-test-t25", stdin=DEVNULL) as container:
        shown = [each for each in mounts_of(container.pid).values() if each["type"].startswith("cgroup")]
        assert shown
        for each in shown:
            assert each["root"].endswith("/aioc-test-t25") or "ro" in each["options"].split(","), each
