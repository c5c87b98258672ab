"""OCI config-linux.md "Control groups": limits that do nothing any more, and those of rare controllers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from aiocontainer import CgroupError, Spec, UnsupportedError

if TYPE_CHECKING:
    from aiocontainer import Container, Runtime

pytestmark = pytest.mark.needs("root", "busybox")


def limited(rootfs: str, **resources: Any) -> bytes:
    document = json.loads(Spec.default(["sleep", "60"], rootfs=rootfs).encode())
    document["linux"]["resources"] |= resources
    return json.dumps(document).encode()


def directories(container: Container) -> list[str]:
    """The container's cgroup in each hierarchy that there is, as mounted here."""
    with open(f"/proc/{container.pid}/cgroup") as file:
        rows = [line.rstrip("\n").split(":", 2) for line in file]
    return [f"/sys/fs/cgroup/{names.removeprefix('name=')}{path}" for _, names, path in rows]


def content(container: Container, *files: str) -> str | None:
    """What is in the first of these files that there is; None if there is none."""
    for directory in directories(container):
        for name in files:
            try:
                with open(f"{directory}/{name}") as file:
                    return file.read()
            except FileNotFoundError:
                continue
    return None


@pytest.mark.proves(
    "$.linux.resources.memory.kernel",
    "$.linux.resources.memory.kernelTCP",
    "$.linux.resources.memory.useHierarchy",
)
async def test_what_does_nothing_any_more(
    runtime: Runtime, rootfs: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The container runs, and its creator is told."""
    memory = {"kernel": 1 << 20, "kernelTCP": 1 << 20, "useHierarchy": False}
    async with runtime.container(limited(rootfs, memory=memory)) as container:
        for name in memory:
            assert f"$.linux.resources.memory.{name}: " in caplog.text
        kept = content(container, "memory.kmem.limit_in_bytes")
        assert kept is None or int(kept) > 1 << 40


RARE: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "network.classID": ({"network": {"classID": 0x10001}}, ("net_cls.classid",), "65537"),
    "network.priorities": (
        {"network": {"priorities": [{"name": "lo", "priority": 3}]}},
        ("net_prio.ifpriomap",),
        "lo 3",
    ),
    "rdma": ({"rdma": {"mlx5_0": {"hcaHandles": 2, "hcaObjects": 3}}}, ("rdma.max",), "hca_handle=2"),
    "blockIO.leafWeight": ({"blockIO": {"leafWeight": 200}}, ("blkio.leaf_weight",), "200"),
    "blockIO.weightDevice": (
        {"blockIO": {"weightDevice": [{"major": 254, "minor": 0, "weight": 200, "leafWeight": 100}]}},
        ("blkio.weight_device", "blkio.bfq.weight_device", "io.bfq.weight"),
        "254:0 200",
    ),
}


@pytest.mark.proves(
    "$.linux.resources.network.classID",
    "$.linux.resources.network.priorities[].*",
    "$.linux.resources.rdma{}.*",
    "$.linux.resources.blockIO.leafWeight",
    "$.linux.resources.blockIO.weightDevice[].*",
)
@pytest.mark.parametrize("name", RARE)
async def test_in_force_or_refused_by_name(
    runtime: Runtime, rootfs: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What this machine has no controller for is never left out in silence."""
    resources, files, expected = RARE[name]
    refused: str | None = None
    container: Container | None
    try:
        container = await runtime.create(None, limited(rootfs, **resources))
    except (UnsupportedError, CgroupError) as exc:
        refused = exc.origin
        container = None
    if container is None:
        assert refused is not None
        assert refused.startswith(f"$.linux.resources.{name}")
        return
    try:
        found = content(container, *files) or ""
        assert expected in found or f"$.linux.resources.{name}" in caplog.text
    finally:
        await container.delete(force=True)
