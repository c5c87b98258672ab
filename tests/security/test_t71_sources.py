"""T71: one mount is made of what was opened for another."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace
from support.specs import shell

from aiocontainer import Mount, Runtime
from aiocontainer.spec import IDMapping

pytestmark = pytest.mark.needs("root", "busybox")

COUNT = 24
IDS = (IDMapping(container_id=0, host_id=5000, size=65536),)


async def test_each_has_its_own(runtime: Runtime, rootfs: str, public_tmp: str) -> None:
    """Directories and files, mapped and not, cgroups between them, some there twice, some missing."""
    mounts = []
    for index in range(COUNT):
        source = f"{public_tmp}/s{index}"
        os.mkdir(source)
        with open(f"{source}/name", "w") as file:
            file.write(f"{index}\n")
        mount = Mount.bind(f"{source}/name" if index % 3 == 0 else source, f"/m/{index}")
        if index % 4 == 1:
            mount = replace(mount, uid_mappings=IDS, gid_mappings=IDS)
        mounts.append(mount)
        if index % 7 == 0:
            mounts.append(Mount(destination=f"/c{index}", type="cgroup", options=("ro",)))
    script = f"for i in $(seq 0 {COUNT - 1}); do cat /m/$i/name 2>/dev/null || cat /m/$i; done"
    done = await runtime.run(shell(script, rootfs).with_mount(*mounts))
    assert (done.stdout or b"").split() == [str(index).encode() for index in range(COUNT)], done
