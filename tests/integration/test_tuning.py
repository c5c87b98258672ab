"""Scheduling, disk access, NUMA and personality as a payload finds them; for init and exec."""

from __future__ import annotations

import os
import signal
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from support.guest import look, look_by_exec, said

from aiocontainer import BootstrapError, Runtime, Spec, SpecError
from aiocontainer.spec import (
    ExecCPUAffinity,
    IOPriority,
    MemoryPolicy,
    Personality,
    Process,
    Scheduler,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.needs("root", "gcc", "busybox")


def spec(rootfs: str, *args: str, **changes: Any) -> Spec:
    """Members of `process` and of `linux` by name."""
    base = Spec.default(list(args or ("sleep", "60")), rootfs=rootfs)
    assert base.process is not None
    assert base.linux is not None
    process = {key: changes.pop(key) for key in [*changes] if key in base.process.__struct_fields__}
    return replace(base, process=replace(base.process, **process), linux=replace(base.linux, **changes))


@pytest.fixture
async def groupless(tmp_path: Path) -> AsyncIterator[Runtime]:
    """No cgroups: those of v1 have no real-time budget unless somebody gives them one."""
    async with Runtime(root=str(tmp_path / "groupless"), cgroups="none") as runtime:
        yield runtime


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


RESET_ON_FORK = 0x40000000  # as sched_getscheduler(2) tells it

SCHEDULERS = [
    (Scheduler(policy="SCHED_FIFO", priority=7), {"policy": os.SCHED_FIFO, "schedule": [0, 7, 0, 0, 0]}),
    (
        Scheduler(policy="SCHED_RR", priority=1, flags=("SCHED_FLAG_RESET_ON_FORK",)),
        {"policy": os.SCHED_RR | RESET_ON_FORK, "schedule": [1, 1, 0, 0, 0]},
    ),
    (Scheduler(policy="SCHED_BATCH", nice=-3), {"policy": os.SCHED_BATCH, "nice": -3}),
    (Scheduler(policy="SCHED_OTHER", nice=19), {"policy": os.SCHED_OTHER, "nice": 19}),
    (Scheduler(policy="SCHED_IDLE"), {"policy": os.SCHED_IDLE}),
    (
        Scheduler(policy="SCHED_DEADLINE", runtime=10**6, deadline=10**7, period=2 * 10**7),
        {"policy": 6, "schedule": [0, 0, 10**6, 10**7, 2 * 10**7]},
    ),
]


@pytest.mark.proves("$.process.scheduler.*", "$.process.scheduler.flags[]")
@pytest.mark.parametrize(("asked", "expected"), SCHEDULERS, ids=[each.policy for each, _ in SCHEDULERS])
async def test_scheduler(
    groupless: Runtime, guestfs: str, asked: Scheduler, expected: dict[str, Any]
) -> None:
    found = await look(groupless, spec(guestfs, scheduler=asked))
    assert {key: found[key] for key in expected} == expected


@pytest.mark.proves("$.linux.personality.domain", "$.linux.memoryPolicy.mode", "$.linux.memoryPolicy.nodes")
async def test_an_exec_is_scheduled_as_its_container(runtime: Runtime, guestfs: str) -> None:
    asked = spec(
        guestfs,
        scheduler=Scheduler(policy="SCHED_BATCH", nice=4),
        io_priority=IOPriority(class_="IOPRIO_CLASS_BE", priority=6),
        personality=Personality(domain="LINUX32"),
        memory_policy=MemoryPolicy(mode="MPOL_BIND", nodes="0"),
    )
    async with runtime.container(asked) as container:
        found = await look_by_exec(container)
    expected = {
        "policy": os.SCHED_BATCH,
        "nice": 4,
        "ioprio": 2 << 13 | 6,
        "personality": 8,
        "mempolicy": 2,
        "nodes": 1,
    }
    assert {key: found[key] for key in expected} == expected


@pytest.mark.proves("$.process.ioPriority.priority")
async def test_an_ordinary_user_gets_it_too(groupless: Runtime, guestfs: str) -> None:
    """The privilege is used before it is given up."""
    asked = spec(
        guestfs,
        scheduler=Scheduler(policy="SCHED_RR", priority=5),
        io_priority=IOPriority(class_="IOPRIO_CLASS_RT", priority=1),
    )
    assert asked.process is not None
    user = replace(asked.process.user, uid=1000, gid=1000)
    found = await look(groupless, replace(asked, process=replace(asked.process, user=user)))
    assert (found["policy"], found["schedule"][1], found["ioprio"]) == (os.SCHED_RR, 5, 1 << 13 | 1)


async def test_a_deadline_on_too_few_cpus(groupless: Runtime, guestfs: str) -> None:
    """The kernel's EPERM would mislead: S28."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs")
    asked = spec(guestfs, scheduler=Scheduler(policy="SCHED_DEADLINE", runtime=10**6, deadline=10**7))
    assert asked.process is not None
    pinned = replace(asked.process, args=("true",), exec_cpu_affinity=ExecCPUAffinity(final="0"))
    async with groupless.container(asked) as container:
        with pytest.raises(BootstrapError, match="as wide as its root domain") as caught:
            await container.exec(pinned)
    assert caught.value.origin == "$.scheduler"


@pytest.mark.skipif(
    not os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"), reason="needs real-time budgets of cgroup v1"
)
async def test_real_time_without_a_budget(runtime: Runtime, guestfs: str) -> None:
    with pytest.raises(BootstrapError, match=r"cpu\.rt_runtime_us"):
        await runtime.create(None, spec(guestfs, scheduler=Scheduler(policy="SCHED_RR", priority=1)))


@pytest.mark.proves("$.process.ioPriority.class")
async def test_io_priority_and_memory_and_personality(runtime: Runtime, guestfs: str) -> None:
    found = await look(
        runtime,
        spec(
            guestfs,
            io_priority=IOPriority(class_="IOPRIO_CLASS_IDLE"),
            memory_policy=MemoryPolicy(mode="MPOL_INTERLEAVE", nodes="0"),
            personality=Personality(domain="LINUX"),
        ),
    )
    assert (found["ioprio"] >> 13, found["mempolicy"], found["personality"]) == (3, 3, 0)


MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14}


@pytest.mark.proves("$.linux.memoryPolicy.flags[]")
@pytest.mark.parametrize("flag", MEMORY_FLAGS)
async def test_flags_of_a_memory_policy(runtime: Runtime, guestfs: str, flag: Any) -> None:
    asked = spec(guestfs, memory_policy=MemoryPolicy(mode="MPOL_BIND", nodes="0", flags=(flag,)))
    assert (await look(runtime, asked))["mempolicy"] == 2 | MEMORY_FLAGS[flag]


@pytest.mark.proves("$.linux.personality.flags[]")
async def test_flags_of_a_personality(runtime: Runtime, guestfs: str) -> None:
    """The specification defines none: whatever it is would be ignored."""
    asked = spec(guestfs, personality=Personality(domain="LINUX", flags=("ADDR_NO_RANDOMIZE",)))
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, asked)
    assert caught.value.origin == "$.linux.personality.flags[0]"


async def test_memory_of_a_node_that_is_not_there(runtime: Runtime, guestfs: str) -> None:
    with pytest.raises(BootstrapError, match="node"):
        await runtime.create(None, spec(guestfs, memory_policy=MemoryPolicy(mode="MPOL_BIND", nodes="63")))


@pytest.mark.proves("$.process.execCPUAffinity.initial", "$.process.execCPUAffinity.final")
async def test_cpus_of_an_exec(runtime: Runtime, guestfs: str) -> None:
    ours = sorted(os.sched_getaffinity(0))
    first, last = str(ours[0]), str(ours[-1])
    asked = spec(guestfs, exec_cpu_affinity=ExecCPUAffinity(initial=first, final=last))
    assert (await look(runtime, asked))["cpus"] == ours  # exec only
    async with runtime.container(asked) as container:
        assert (await look_by_exec(container))["cpus"] == [ours[-1]]
        initial = Process(args=("/bin/guest",), cwd="/", exec_cpu_affinity=ExecCPUAffinity(initial=first))
        process = await container.exec(initial, stdout=PIPE)
        assert (await said(process))["cpus"] == [ours[0]]
        with pytest.raises(SpecError) as caught:
            await container.exec(replace(initial, exec_cpu_affinity=ExecCPUAffinity(initial="x")))
        assert caught.value.origin == "$.execCPUAffinity.initial"
        with pytest.raises(BootstrapError, match="none of these CPUs"):
            await container.exec(replace(initial, exec_cpu_affinity=ExecCPUAffinity(final="65535")))


async def test_a_pinned_exec_is_in_the_cgroup(runtime: Runtime, guestfs: str) -> None:
    """It is not born there, so that it comes from its CPUs."""
    asked = spec(guestfs, exec_cpu_affinity=ExecCPUAffinity(initial="0"))
    async with runtime.container(asked) as container:
        process = await container.exec(["sleep", "60"])
        assert read(f"/proc/{process.pid}/cgroup") == read(f"/proc/{container.pid}/cgroup")
        process.send_signal(signal.SIGKILL)
        await process.wait()
