"""Containers with limits: in force from the first moment, told of when they are too small, all or nothing."""

from __future__ import annotations

import os
import time
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from support.cgroups import needs_controllers, passed_on_as_before, roots

from aiocontainer import CgroupError, OutOfMemoryError, Resources, Runtime, Spec, UnsupportedError
from aiocontainer.spec import BlockIO, Cpu, Memory, Pids, ThrottleDevice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiocontainer import Container

pytestmark = pytest.mark.needs("root")

MIB = 2**20


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    with passed_on_as_before():
        yield


def limited(rootfs: str, script: str = "sleep 60", path: str = "", **members: Any) -> Spec:
    spec = Spec.default(["sh", "-c", script], rootfs=rootfs)
    assert spec.linux is not None
    linux = replace(spec.linux, resources=Resources(**members), cgroups_path=path)
    return replace(spec, linux=linux)


async def held(container: Container, *files: str) -> dict[str, str]:
    """What the files of its cgroup hold, whichever are there."""
    paths = (await container.state()).cgroup_paths.values()
    found = {}
    for path in paths:
        for file in files:
            if os.path.exists(f"{path}/{file}"):
                with open(f"{path}/{file}") as text:
                    found[file] = text.read().strip()
    return found


async def test_limits_are_there_when_it_is_created(runtime: Runtime, rootfs: str) -> None:
    needs_controllers("memory", "cpu", "pids")
    members = {
        "memory": Memory(limit=64 * MIB, swap=64 * MIB),
        "cpu": Cpu(shares=512, quota=50000),
        "pids": Pids(limit=20),
    }
    container = await runtime.create("aioc-test-limits", limited(rootfs, **members))
    files = await held(
        container,
        *("memory.limit_in_bytes", "cpu.shares", "cpu.cfs_quota_us", "memory.max", "cpu.max", "cpu.weight"),
        "pids.max",
    )
    if "memory.max" in files:
        assert files == {
            "memory.max": f"{64 * MIB}",
            "cpu.max": "50000 100000",
            "cpu.weight": "59",
            "pids.max": "20",
        }
    else:
        assert files == {
            "memory.limit_in_bytes": f"{64 * MIB}",
            "cpu.shares": "512",
            "cpu.cfs_quota_us": "50000",
            "pids.max": "20",
        }
    await container.delete(force=True)


async def test_a_limit_that_is_refused_leaves_nothing(runtime: Runtime, rootfs: str) -> None:
    """Security test S7: partial limits are never accepted."""
    needs_controllers("blkio", "pids")
    nowhere = ThrottleDevice(major=4000, minor=1, rate=1)
    spec = limited(rootfs, pids=Pids(limit=9), block_io=BlockIO(throttle_read_bps_device=(nowhere,)))
    with pytest.raises(CgroupError, match="no such block device") as caught:
        await runtime.create("aioc-test-refused", spec)
    assert caught.value.origin == "$.linux.resources.blockIO.throttleReadBpsDevice[0]"


async def test_processes_are_counted_from_the_first(runtime: Runtime, rootfs: str) -> None:
    needs_controllers("pids")
    script = "sh -c 'true & wait' 2>&1; echo ended"
    spec = limited(rootfs, script, pids=Pids(limit=1))
    async with runtime.container(spec, stdout=PIPE) as container:
        assert container.stdout is not None
        assert b"fork" in await container.stdout.read()


async def test_the_program_is_killed_for_want_of_memory(runtime: Runtime, rootfs: str) -> None:
    needs_controllers("memory")
    script = "x=0123456789abcdef; while true; do x=$x$x; done"
    spec = limited(rootfs, script, memory=Memory(limit=12 * MIB, swap=12 * MIB))
    async with runtime.container(spec) as container:
        exit = await container.wait()
    assert exit.signal == 9


async def test_too_little_memory_for_the_init_is_told(runtime: Runtime, rootfs: str) -> None:
    """L60: who is killed before the program runs would otherwise just be gone."""
    needs_controllers("memory")
    spec = limited(rootfs, memory=Memory(limit=16 * 1024, swap=16 * 1024))
    with pytest.raises(OutOfMemoryError, match="'aioc-test-oom': killed for want of memory") as caught:
        await runtime.create("aioc-test-oom", spec)
    assert caught.value.kills >= 1
    assert caught.value.__cause__ is not None


async def test_what_a_cgroup_holds_that_was_there_is_set_back(runtime: Runtime, rootfs: str) -> None:
    needs_controllers("blkio", "pids")
    name = f"aioc-test-{os.getpid()}-{time.monotonic_ns()}"
    paths = [f"{root}/{name}" for root in roots("").values()]
    for path in paths:
        os.mkdir(path)
    try:
        pids = next(path for path in paths if os.path.exists(f"{path}/pids.max"))
        with open(f"{pids}/pids.max", "w") as file:
            file.write("77")
        nowhere = ThrottleDevice(major=4000, minor=1, rate=1)
        block_io = BlockIO(throttle_read_bps_device=(nowhere,))
        spec = limited(rootfs, path=f"/{name}", pids=Pids(limit=9), block_io=block_io)
        with pytest.raises(CgroupError):
            await runtime.create("aioc-test-before", spec)
        with open(f"{pids}/pids.max") as file:
            assert file.read().strip() == "77"
    finally:
        for path in paths:
            os.rmdir(path)


async def test_a_cgroup_that_was_killed_once_can_be_used(runtime: Runtime, rootfs: str) -> None:
    """Linux 6.14 and later kill what is born in it by clone3(2)."""
    name = f"aioc-test-{os.getpid()}-{time.monotonic_ns()}"
    unified = roots("").get("")
    if unified is None:
        pytest.skip("needs cgroup2")
    path = f"{unified}/{name}"
    os.mkdir(path)
    try:
        if not os.path.exists(f"{path}/cgroup.kill"):
            pytest.skip("needs cgroup.kill")
        with open(f"{path}/cgroup.kill", "w") as file:
            file.write("1")
        spec = limited(rootfs, "cat /proc/self/cgroup; echo; sleep 60", path=f"/{name}")
        async with runtime.container(spec, stdout=PIPE) as container:
            assert container.stdout is not None
            assert b"0::/\n" in await container.stdout.readuntil(b"\n\n")
            with open(f"{path}/cgroup.procs") as file:
                assert str(container.pid) in file.read().split()
            process = await container.exec(["sh", "-c", "exit 7"])
            assert (await process.wait()).code == 7
        assert os.path.isdir(path)  # not ours to remove
    finally:
        os.rmdir(path)


async def test_no_limits_without_cgroups(rootfs: str, tmp_path: object) -> None:
    async with Runtime(root=f"{tmp_path}/state", cgroups="none") as runtime:
        with pytest.raises(UnsupportedError, match="none was wanted"):
            await runtime.create("aioc-test-none", limited(rootfs, pids=Pids(limit=3)))
