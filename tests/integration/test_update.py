"""Changing the limits of a container: partial, all or nothing, remembered, by Python and by the program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest
from support.cgroups import needs_controllers, passed_on_as_before
from support.specs import with_linux, with_process

from aiocontainer import (
    CgroupError,
    Cpu,
    DeviceRule,
    Memory,
    NotRunningError,
    Pids,
    Resources,
    Runtime,
    Spec,
    SpecError,
    UnsupportedError,
    run,
)
from aiocontainer.spec import CAPABILITIES, Capabilities, Device, IntelRdt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiocontainer import Container

pytestmark = pytest.mark.needs("root")

MIB = 2**20


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    with passed_on_as_before():
        yield


def spec(rootfs: str, script: str = "sleep 60", **members: Any) -> Spec:
    return Spec.default(["sh", "-c", script], rootfs=rootfs).with_resources(Resources(**members))


V1_NAMES = {
    "memory.max": "memory.limit_in_bytes",
    "cpu.max": "cpu.cfs_quota_us",
    "pids.max": "pids.max",
    "cpuset.cpus": "cpuset.cpus",
}


async def held(container: Container, file: str) -> str:
    """What a file of v2 holds, or the one of v1 that says the same."""
    for path in (await container.state()).cgroup_paths.values():
        for name in (file, V1_NAMES[file]):
            if os.path.exists(f"{path}/{name}"):
                with open(f"{path}/{name}") as text:
                    return text.read().strip()
    raise AssertionError(file)


async def test_what_is_not_said_stays(runtime: Runtime, rootfs: str) -> None:
    needs_controllers("memory", "pids", "cpu")
    first = spec(rootfs, memory=Memory(limit=64 * MIB), pids=Pids(limit=20))
    async with runtime.container(first) as container:
        await container.update(Resources(pids=Pids(limit=30)))
        assert await held(container, "pids.max") == "30"
        assert await held(container, "memory.max") == str(64 * MIB)
        await container.update({"memory": {"limit": 96 * MIB}})
        assert await held(container, "memory.max") == str(96 * MIB)
        await container.update(b'{"cpu": {"quota": 30000}}')
        await container.update('{"cpu": {"period": 50000}}')
        assert (await held(container, "cpu.max")).split()[0] == "30000"
        now = await container.resources()
        assert now.memory == Memory(limit=96 * MIB)
        assert now.pids == Pids(limit=30)
        assert now.cpu == Cpu(quota=30000, period=50000)
        assert now.devices  # of the specification
        await container.update({"memory": {"limit": -1}, "pids": {"limit": -1}})
        assert await held(container, "pids.max") == "max"
        assert await held(container, "memory.max") in ("max", "9223372036854771712")


async def test_whoever_comes_next_knows_what_holds(runtime: Runtime, rootfs: str, tmp_path: Path) -> None:
    needs_controllers("memory", "cpu")
    container = await runtime.create("aioc-test-update", spec(rootfs, cpu=Cpu(quota=20000, period=100000)))
    await container.update(Resources(memory=Memory(limit=64 * MIB)))
    code = """
import asyncio, sys
from aiocontainer import Runtime
async def main():
    async with Runtime(root=sys.argv[1], lifetime="detached") as runtime:
        container = await runtime.load("aioc-test-update")
        print((await container.resources()).memory.limit)
        await container.update({"memory": {"swap": 96 << 20}, "cpu": {"period": 50000}})
asyncio.run(main())
"""
    done = await _python(code, runtime.root)
    assert done == f"{64 * MIB}\n"
    now = await container.resources()
    assert now.memory == Memory(limit=64 * MIB, swap=96 * MIB)
    assert now.cpu == Cpu(quota=20000, period=50000)
    assert (await held(container, "cpu.max")).split()[0] == "20000"
    await container.delete(force=True)


async def _python(code: str, *args: str) -> str:
    import asyncio

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *args, stdout=PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_all_or_nothing(runtime: Runtime, rootfs: str) -> None:
    """K29: the first error is raised, and what was written before is back."""
    needs_controllers("pids", "memory", "cpuset")
    async with runtime.container(spec(rootfs, pids=Pids(limit=20))) as container:
        cpus = await held(container, "cpuset.cpus")
        with pytest.raises(CgroupError) as caught:
            await container.update(
                Resources(pids=Pids(limit=5), memory=Memory(limit=64 * MIB), cpu=Cpu(cpus="4000-4001"))
            )
        assert caught.value.origin == "$.cpu.cpus"
        assert await held(container, "pids.max") == "20"
        assert await held(container, "memory.max") in ("max", "9223372036854771712")
        assert await held(container, "cpuset.cpus") == cpus
        now = await container.resources()
        assert (now.pids, now.memory, now.cpu) == (Pids(limit=20), None, None)


async def test_what_cannot_be_remembered_is_undone(
    runtime: Runtime, rootfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiocontainer.store import Store

    needs_controllers("pids")
    async with runtime.container(spec(rootfs, pids=Pids(limit=20))) as container:

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "save", fail)
            with pytest.raises(OSError, match="No space"):
                await container.update(Resources(pids=Pids(limit=5)))
        assert await held(container, "pids.max") == "20"
        assert (await container.resources()).pids == Pids(limit=20)


@pytest.mark.parametrize(
    ("resources", "error"),
    [
        (b"{", SpecError),
        (b'{"memory": {"limit": "64M"}}', SpecError),
        ({"memory": {"limit": -2}}, SpecError),
        ({"memory": {"limit": 5, "swap": 3}}, SpecError),
        (Resources(unified={"cgroup.kill": "1"}), UnsupportedError),
        (Resources(hugepage_limits=()), None),
        ({}, None),
    ],
    ids=str,
)
async def test_checked_before_anything_is_written(
    runtime: Runtime, rootfs: str, resources: Any, error: type[Exception] | None
) -> None:
    async with runtime.container(spec(rootfs)) as container:
        before = await container.resources()
        if error is None:
            await container.update(resources)
        else:
            with pytest.raises(error):
                await container.update(resources)
        assert await container.resources() == before


async def test_when_it_may_be_changed(runtime: Runtime, rootfs: str) -> None:
    needs_controllers("pids")
    container = await runtime.create("aioc-test-when", spec(rootfs))
    for limit, step in ((11, container.start), (12, container.pause), (13, container.resume)):
        await container.update(Resources(pids=Pids(limit=limit)))
        assert await held(container, "pids.max") == str(limit)
        await step()
    await container.kill("KILL")
    await container.wait()
    with pytest.raises(NotRunningError):
        await container.update(Resources(pids=Pids(limit=14)))
    await container.delete()


async def test_share_of_the_cache_needs_one_from_the_beginning(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(spec(rootfs)) as container:
        with pytest.raises(UnsupportedError) as caught:
            await container.update({}, intel_rdt=IntelRdt(l3_cache_schema="L3:0=f"))
        assert caught.value.origin == "$.intelRdt"


DEVICE = """
while true; do
    if (exec 3</dev/kmsg) 2> /dev/null; then echo allowed; else echo denied; fi
    read line || exit
done
"""
ALL = Capabilities(bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES)


async def test_devices_are_replaced_only_where_there_are_some(runtime: Runtime, rootfs: str) -> None:
    """The filter of a running container, by files in v1 and by a program in v2."""
    device = Device(path="/dev/kmsg", type="c", major=1, minor=11)
    first = with_linux(with_process(spec(rootfs, DEVICE), capabilities=ALL), devices=(device,))
    kmsg = DeviceRule(allow=True, type="c", major=1, minor=11, access="rwm")
    async with runtime.container(first, stdin=PIPE, stdout=PIPE) as container:
        assert container.stdin is not None
        assert container.stdout is not None

        async def answer() -> bytes:
            assert container.stdin is not None
            assert container.stdout is not None
            container.stdin.write(b"again\n")
            return await container.stdout.readline()

        assert await container.stdout.readline() == b"denied\n"
        await container.update(Resources(devices=(DeviceRule(allow=False, access="rwm"), kmsg)))
        assert await answer() == b"allowed\n"
        await container.update({})
        assert await answer() == b"allowed\n"
        await container.update(Resources(devices=(DeviceRule(allow=False, access="rwm"),)))
        assert await answer() == b"denied\n"


# In one call


async def test_run_with_limits(rootfs: str) -> None:
    needs_controllers("memory", "pids", "cpu")
    done = await run(["echo", "1"], rootfs=rootfs, memory="256M", pids=64, cpus=0.5, timeout_s=30)
    assert (done.exit.code, done.stdout) == (0, b"1\n"), done.stderr
    done = await run(["sh", "-c", FORK], rootfs=rootfs, pids=1, timeout_s=30)
    assert b"fork" in (done.stderr or b"")
    done = await run(["sh", "-c", GROW], rootfs=rootfs, memory="16M", timeout_s=30)
    assert done.exit.signal == 9


FORK = "true & wait"
GROW = "x=0123456789abcdef; while true; do x=$x$x; done"


# By the program


def program(root: str, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aiocontainer", "--root", root, *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.may_block("runs the program and waits for it")
async def test_the_program_changes_limits(runtime: Runtime, rootfs: str, tmp_path: Path) -> None:
    needs_controllers("memory", "pids", "cpu", "cpuset")
    container = await runtime.create("aioc-test-cli", spec(rootfs, pids=Pids(limit=20)))
    root = runtime.root
    options = ("--memory", "64m", "--memory-swap", "-1", "--cpu-quota=40000", "--cpu-period", "50000")
    done = program(root, "update", *options, "--cpuset-cpus", "0", "--cpu-share", "512", "aioc-test-cli")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert await held(container, "memory.max") == str(64 * MIB)
    assert await held(container, "pids.max") == "20"
    assert await held(container, "cpuset.cpus") == "0"
    now = await container.resources()
    assert now.cpu == Cpu(quota=40000, period=50000, cpus="0", shares=512)
    assert now.memory == Memory(limit=64 * MIB, swap=-1)

    document = tmp_path / "resources.json"
    document.write_text(json.dumps({"pids": {"limit": 40}, "memory": {"limit": 96 * MIB}}))
    assert program(root, "update", "-r", str(document), "--pids-limit", "50", "aioc-test-cli").returncode == 0
    assert (await held(container, "pids.max"), await held(container, "memory.max")) == ("50", str(96 * MIB))
    text = json.dumps({"pids": {"limit": -1}})
    assert program(root, "update", "--resources", "-", "aioc-test-cli", stdin=text).returncode == 0
    assert await held(container, "pids.max") == "max"

    done = program(root, "update", "--kernel-memory", "1g", "aioc-test-cli")
    assert done.returncode == 0
    assert "$.memory.kernel: deprecated" in done.stderr
    for words, message in (
        (("--memory", "much"), "'much' is not a size"),
        (("--cpu-quota", "1.5"), "'1.5' is not a number"),
        (("--memory", "1k", "--memory-swap", "1"), "$.memory.swap"),
        (("-r", str(tmp_path / "nosuch")), "nosuch"),
        (("--l3-cache-schema", "L3:0=f"), "$.intelRdt"),
    ):
        done = program(root, "update", *words, "aioc-test-cli")
        assert done.returncode != 0
        assert message in done.stderr
    await container.delete(force=True)


def test_the_program_runs_with_limits(rootfs: str, tmp_path: Path) -> None:
    needs_controllers("memory", "pids", "cpu")
    root = str(tmp_path / "state")
    limits = ("--memory", "256M", "--pids-limit", "1", "--cpus", "0.5")
    done = program(root, "run", *limits, "--rootfs", rootfs, "--", "sh", "-c", FORK)
    assert "fork" in done.stderr
    done = program(root, "run", "--memory", "1G", "aioc-test-x")
    assert "--memory needs '--' and a command" in done.stderr
