"""What the process gets of the machine's CPUs, disks and memory; for init and exec."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any

import pytest
from plan_hosts import V1, V2, compiled, names, spec, steps

from aiocontainer.errors import BootstrapError
from aiocontainer.plan.exec import compile_exec
from aiocontainer.plan.flags import RESET_AFFINITY, RESET_ALL
from aiocontainer.plan.options import ExecOptions
from aiocontainer.plan.plan import CgroupTasks, Plan
from aiocontainer.plan.steps import (
    Affinity,
    IoPriority,
    JoinCgroup,
    MemoryPolicy,
    OomScore,
    Personality,
    Reset,
    Scheduler,
)
from aiocontainer.plan.tuning_tables import (
    IO_CLASSES,
    MEMORY_FLAGS,
    MEMORY_MODES,
    PERSONALITIES,
    POLICIES,
    SCHEDULER_FLAGS,
)
from aiocontainer.spec import ExecCPUAffinity, IOPriority, Process, Spec
from aiocontainer.spec import MemoryPolicy as SpecMemoryPolicy
from aiocontainer.spec import Personality as SpecPersonality
from aiocontainer.spec import Scheduler as SpecScheduler
from aiocontainer.spec.linux import MemoryPolicyFlag, MemoryPolicyMode
from aiocontainer.spec.process import SchedulerFlag, SchedulerPolicy

if TYPE_CHECKING:
    from aiocontainer.plan.host import Host

IDLE = IOPriority(class_="IOPRIO_CLASS_IDLE")
BATCH = SpecScheduler(policy="SCHED_BATCH", nice=5)
KINDS = ["Scheduler", "IoPriority", "Personality", "MemoryPolicy"]
ALL = spec(
    scheduler=BATCH,
    io_priority=IDLE,
    personality=SpecPersonality(domain="LINUX32"),
    memory_policy=SpecMemoryPolicy(mode="MPOL_BIND", nodes="0,64-65", flags=("MPOL_F_STATIC_NODES",)),
)


def executed(of: Spec, host: Host = V2, **changes: Any) -> Plan:
    paths = {key: f"{mount}/web" for key, mount in host.cgroup_hierarchies.items()}
    options = ExecOptions(id="web", namespaces={"mount": 5, "pid": 4}, cgroup_paths=paths)
    return compile_exec(Process(args=("id",), cwd="/", **changes), of, host, options)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (POLICIES, SchedulerPolicy),
        (SCHEDULER_FLAGS, SchedulerFlag),
        (MEMORY_MODES, MemoryPolicyMode),
        (MEMORY_FLAGS, MemoryPolicyFlag),
    ],
)
def test_the_tables_have_every_word_of_the_document(table: dict[str, int], words: Any) -> None:
    assert set(table) == set(words.__args__)


def test_the_other_words_too() -> None:
    assert set(IO_CLASSES) == {"IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"}
    assert set(PERSONALITIES) == {"LINUX", "LINUX32"}


@pytest.mark.parametrize("plan", [compiled(ALL), executed(ALL)], ids=["init", "exec"])
def test_all_of_it_is_set_while_we_are_root(plan: Plan) -> None:
    order = names(plan)
    assert [name for name in order if name in KINDS] == KINDS
    assert order.index("MemoryPolicy") < order.index("Umask") < order.index("Credentials")
    assert order.index("Reset") < order.index("Scheduler")


def test_nothing_of_it_is_there_unless_asked_for() -> None:
    assert not set(names(compiled(spec()))) & {*KINDS, "Affinity"}
    assert not set(names(executed(spec()))) & {*KINDS, "Affinity"}


def test_an_exec_has_its_own_or_that_of_the_container() -> None:
    own = executed(ALL, io_priority=IOPriority(class_="IOPRIO_CLASS_BE", priority=7))
    assert steps(own, IoPriority) == [IoPriority("$.ioPriority", "IOPRIO_CLASS_BE", 7)]
    assert steps(own, Scheduler)[0].nice == 5
    assert steps(own, Personality)[0].origin == "$.linux.personality"


def test_records() -> None:
    plan = compiled(ALL)
    attr = struct.unpack("=IIQiIQQQII", steps(plan, Scheduler)[0].record().data)
    assert attr == (56, 3, 0, 5, 0, 0, 0, 0, 0, 0)
    assert steps(plan, IoPriority)[0].record().a == 3 << 13
    policy = steps(plan, MemoryPolicy)[0].record()
    assert (policy.a, policy.data) == (2 | 1 << 15, struct.pack("=2Q", 1, 3))
    assert steps(plan, Personality)[0].record().a == 8


def test_a_deadline() -> None:
    flags: Any = ("SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_RECLAIM")
    asked = SpecScheduler(policy="SCHED_DEADLINE", flags=flags, runtime=2000, deadline=3000, period=4000)
    (step,) = steps(compiled(spec(scheduler=asked)), Scheduler)
    assert struct.unpack("=IIQiIQQQII", step.record().data) == (56, 6, 3, 0, 0, 2000, 3000, 4000, 0, 0)
    text = "schedule as SCHED_DEADLINE, runtime 2000, deadline 3000, period 4000, SCHED_FLAG_RESET_ON_FORK"
    assert str(step).startswith(text)


@pytest.mark.parametrize(
    ("step", "number", "word"),
    [
        (Scheduler("$", "SCHED_DEADLINE"), errno.EPERM, "cpuset"),
        (Scheduler("$", "SCHED_FIFO", priority=1), errno.EPERM, "CAP_SYS_NICE"),
        (Scheduler("$", "SCHED_DEADLINE"), errno.EBUSY, "promised"),
        (IoPriority("$", "IOPRIO_CLASS_RT", 0), errno.EPERM, "CAP_SYS_NICE"),
        (MemoryPolicy("$", "MPOL_LOCAL", (), ()), errno.ENOSYS, "without NUMA"),
        (Affinity("$", (range(2),)), errno.EINVAL, "cpuset"),
        (OomScore("$", -1), errno.EACCES, "CAP_SYS_RESOURCE"),
    ],
    ids=str,
)
def test_errors_say_what_the_kernel_may_mean(step: Any, number: int, word: str) -> None:
    assert word in str(BootstrapError(step, number))
    assert BootstrapError(step, errno.EIO).advice == ""


# execCPUAffinity.


def test_cpus_before_the_cgroup_and_after_it() -> None:
    plan = executed(spec(exec_cpu_affinity=ExecCPUAffinity(initial="0-1", final="1")))
    assert names(plan)[:3] == ["Affinity", "JoinCgroup", "Affinity"]
    assert [step.cpus for step in steps(plan, Affinity)] == [(range(2),), (range(1, 2),)]
    assert [step.origin for step in steps(plan, Affinity)] == [
        "$.execCPUAffinity.initial",
        "$.execCPUAffinity.final",
    ]
    assert CgroupTasks("") in plan.fds
    assert steps(plan, Reset)[0].what == RESET_ALL & ~RESET_AFFINITY


def test_only_final() -> None:
    plan = executed(spec(exec_cpu_affinity=ExecCPUAffinity(final="1,3")))
    assert names(plan)[0] == "Affinity"
    assert not steps(plan, JoinCgroup)  # born there
    assert CgroupTasks("") not in plan.fds


def test_v1_and_hybrid() -> None:
    plan = executed(spec(exec_cpu_affinity=ExecCPUAffinity(initial="0", final="1")), V1)
    order = names(plan)
    assert order[0] == "Affinity"
    assert {step.hierarchy for step in steps(plan, JoinCgroup)} == set(V1.cgroup_hierarchies)
    assert order[1 + len(V1.cgroup_hierarchies)] == "Affinity"


def test_unset_is_every_cpu() -> None:
    plan = executed(spec(exec_cpu_affinity=ExecCPUAffinity(initial=",")))
    assert steps(plan, Reset)[0].what == RESET_ALL


def test_init_is_not_concerned() -> None:
    plan = compiled(spec(exec_cpu_affinity=ExecCPUAffinity(initial="0", final="0")))
    assert not steps(plan, Affinity)
    assert steps(plan, Reset)[0].what == RESET_ALL


def test_masks_are_as_wide_as_they_have_to_be() -> None:
    assert Affinity("$", (range(63, 64),)).record().data == struct.pack("=Q", 1 << 63)
    assert Affinity("$", (range(64, 65),)).record().data == struct.pack("=2Q", 0, 1)
    assert len(Affinity("$", (range(2**16 - 1, 2**16),)).record().data) == 8192
    assert str(Affinity("$", (range(3), range(5, 6)))) == "run on CPUs 0-2,5"
