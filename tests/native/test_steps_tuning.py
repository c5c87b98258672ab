"""CPUs, scheduling, disk access, memory policy and personality, as the kernel has them afterwards."""

from __future__ import annotations

import errno
import os
import re
import struct
from typing import TYPE_CHECKING

import pytest
from talk import Raw, output, program, run, shell, step

from aiocontainer.plan.steps import Affinity, IoPriority, MemoryPolicy, Personality, Scheduler

if TYPE_CHECKING:
    from aiocontainer import native

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

STAT = program("/bin/cat", "/proc/self/stat")
PRIORITY, POLICY, NICE = 39, 40, 18  # fields of proc_pid_stat(5), from 1


def stat(spawner: native.Spawner, *steps: Raw) -> list[str]:
    text = output(spawner, [*steps, *STAT])
    return ["", text.split(" ", 1)[0], "", *text.rpartition(") ")[2].split()]


def failure(spawner: native.Spawner, *steps: object) -> tuple[int, str]:
    done = run(spawner, [*steps, *program("/bin/true")])  # type: ignore[list-item]
    done.exits()
    assert done.failure is not None, done.replies
    return done.failure.error, done.failure.call


@root
@pytest.mark.parametrize(
    ("asked", "policy", "priority"),
    [
        (Scheduler("", "SCHED_FIFO", priority=7), os.SCHED_FIFO, 7),
        (Scheduler("", "SCHED_RR", priority=99), os.SCHED_RR, 99),
        (Scheduler("", "SCHED_BATCH"), os.SCHED_BATCH, 0),
        (Scheduler("", "SCHED_IDLE"), os.SCHED_IDLE, 0),
        (Scheduler("", "SCHED_DEADLINE", runtime=10**6, deadline=10**7, period=10**7), 6, 0),
    ],
    ids=str,
)
def test_policies(spawner: native.Spawner, asked: Scheduler, policy: int, priority: int) -> None:
    found = stat(spawner, asked)  # type: ignore[arg-type]
    assert (int(found[PRIORITY + 1]), int(found[POLICY + 1])) == (priority, policy)


@root
@pytest.mark.parametrize("nice", [-20, 19])
def test_nice(spawner: native.Spawner, nice: int) -> None:
    found = stat(spawner, Scheduler("", "SCHED_OTHER", nice=nice))  # type: ignore[arg-type]
    assert int(found[NICE + 1]) == nice


def test_a_policy_that_the_kernel_only_reserves(spawner: native.Spawner) -> None:
    assert failure(spawner, Scheduler("", "SCHED_ISO")) == (errno.EINVAL, "sched_setattr")


def test_a_size_that_lies_is_refused_before_anything(spawner: native.Spawner) -> None:
    for size in (0, 48, 57, 4096):
        data = struct.pack("=I52x", size)
        assert failure(spawner, step("SCHEDULER", data=data)) == (errno.EBADMSG, "decode")


def test_io_priority(spawner: native.Spawner) -> None:
    script = 'ionice -p $$ 2>/dev/null || python3 -c "print()"'
    if not os.path.exists("/usr/bin/ionice"):
        pytest.skip("needs ionice")
    best = IoPriority("", "IOPRIO_CLASS_BE", 3)
    idle = IoPriority("", "IOPRIO_CLASS_IDLE", 0)
    assert output(spawner, [best, *shell(script)]) == "best-effort: prio 3\n"  # type: ignore[list-item]
    assert output(spawner, [idle, *shell(script)]) == "idle\n"  # type: ignore[list-item]


def test_an_io_class_that_is_none(spawner: native.Spawner) -> None:
    assert failure(spawner, step("IO_PRIORITY", a=7 << 13)) == (errno.EINVAL, "ioprio_set")


@pytest.mark.parametrize("bit", [0, 1])
def test_affinity(spawner: native.Spawner, bit: int) -> None:
    if bit not in os.sched_getaffinity(0):
        pytest.skip("needs two CPUs")
    asked = Affinity("", (range(bit, bit + 1),))
    text = output(spawner, [asked, *program("/bin/cat", "/proc/self/status")])  # type: ignore[list-item]
    assert re.search(rf"^Cpus_allowed_list:\t{bit}$", text, re.MULTILINE)


def test_affinity_of_no_cpu(spawner: native.Spawner) -> None:
    asked = Affinity("", (range(2**16 - 1, 2**16),))
    assert failure(spawner, asked) == (errno.EINVAL, "sched_setaffinity")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (MemoryPolicy("", "MPOL_BIND", (range(1),), ("MPOL_F_STATIC_NODES",)), "bind=static:0"),
        (MemoryPolicy("", "MPOL_INTERLEAVE", (range(1),), ()), "interleave:0"),
        (MemoryPolicy("", "MPOL_PREFERRED", (range(1),), ("MPOL_F_RELATIVE_NODES",)), "prefer=relative:0"),
        (MemoryPolicy("", "MPOL_PREFERRED", (), ()), "local"),
        (MemoryPolicy("", "MPOL_LOCAL", (), ()), "local"),
        (MemoryPolicy("", "MPOL_DEFAULT", (), ()), "default"),
    ],
    ids=str,
)
def test_memory_policies(spawner: native.Spawner, asked: MemoryPolicy, words: str) -> None:
    if not os.path.exists("/proc/self/numa_maps"):
        pytest.skip("needs a kernel with NUMA")
    text = output(spawner, [asked, *program("/bin/cat", "/proc/self/numa_maps")])  # type: ignore[list-item]
    assert {line.split()[1] for line in text.splitlines()} == {words}


def test_memory_of_a_node_that_is_not_there(spawner: native.Spawner) -> None:
    asked = MemoryPolicy("", "MPOL_BIND", (range(900, 901),), ())
    assert failure(spawner, asked) == (errno.EINVAL, "set_mempolicy")


def test_personality(spawner: native.Spawner) -> None:
    asked = Personality("", "LINUX32")
    text = output(spawner, [asked, *shell("cat /proc/self/personality; uname -m")])  # type: ignore[list-item]
    personality, machine = text.split()
    assert int(personality, 16) == 8
    if os.uname().machine == "x86_64":
        assert machine == "i686"
