# ruff: noqa: D102 - record() and advice() are told by Step
"""Steps that say what the process gets of the machine's CPUs, disks and memory."""

from __future__ import annotations

import errno as _errno
import struct
from typing import ClassVar

from .steps_base import Record, Step, mask_words
from .tuning_tables import (
    IO_CLASS_SHIFT,
    IO_CLASSES,
    MEMORY_FLAGS,
    MEMORY_MODES,
    PERSONALITIES,
    POLICIES,
    SCHEDULER_FLAGS,
)

__all__ = ["Affinity", "IoPriority", "MemoryPolicy", "Personality", "Scheduler"]

# struct sched_attr of Linux 5.3: size, policy, flags, nice, priority, runtime, deadline, period,
# util_min, util_max.  sched_setattr(2)
_ATTR = struct.Struct("=IIQiIQQQII")


def _ranges(ranges: tuple[range, ...]) -> str:
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in ranges)


class Affinity(Step, frozen=True):
    """Run on these CPUs only."""

    op: ClassVar[int] = 80
    cpus: tuple[range, ...]

    def record(self) -> Record:
        return Record(data=mask_words(self.cpus))

    def advice(self, errno: int) -> str:
        return "none of these CPUs is there, or the cpuset has none of them" if errno == _errno.EINVAL else ""

    def __str__(self) -> str:
        return f"run on CPUs {_ranges(self.cpus)}"


class Scheduler(Step, frozen=True):
    """Set the scheduling policy; times in nanoseconds.

    The specification has flags for utilization clamps and no values: they are 0, as with runc and crun.
    """

    op: ClassVar[int] = 81
    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0

    def record(self) -> Record:
        flags = sum(SCHEDULER_FLAGS[name] for name in set(self.flags))
        times = (self.runtime, self.deadline, self.period)
        attr = (_ATTR.size, POLICIES[self.policy], flags, self.nice, self.priority, *times, 0, 0)
        return Record(data=_ATTR.pack(*attr))

    def advice(self, errno: int) -> str:
        if errno == _errno.EPERM and self.policy == "SCHED_DEADLINE":
            return "needs CAP_SYS_NICE of the machine, and a cpuset as wide as its root domain"
        if errno == _errno.EPERM:
            return "needs CAP_SYS_NICE of the machine, and on cgroup v1 a cpu.rt_runtime_us"
        if errno == _errno.EBUSY:
            return "the CPUs are promised to other deadlines already"
        if errno == _errno.EOPNOTSUPP:
            return "the kernel has no utilization clamps"
        return ""

    def __str__(self) -> str:
        words = [f"{name} {value}" for name, value in self._numbers() if value]
        return ", ".join([f"schedule as {self.policy}", *words, *self.flags])

    def _numbers(self) -> tuple[tuple[str, int], ...]:
        return (
            ("nice", self.nice),
            ("priority", self.priority),
            ("runtime", self.runtime),
            ("deadline", self.deadline),
            ("period", self.period),
        )


class IoPriority(Step, frozen=True):
    """Set class and level of disk access."""

    op: ClassVar[int] = 82
    io_class: str
    level: int

    def record(self) -> Record:
        return Record(a=IO_CLASSES[self.io_class] << IO_CLASS_SHIFT | self.level)

    def advice(self, errno: int) -> str:
        return "needs CAP_SYS_NICE or CAP_SYS_ADMIN of the machine" if errno == _errno.EPERM else ""

    def __str__(self) -> str:
        return f"set the I/O priority to {self.io_class}, level {self.level}"


class MemoryPolicy(Step, frozen=True):
    """Set the NUMA policy."""

    op: ClassVar[int] = 83
    mode: str
    nodes: tuple[range, ...]
    flags: tuple[str, ...]

    def record(self) -> Record:
        flags = sum(MEMORY_FLAGS[name] for name in set(self.flags))
        return Record(a=MEMORY_MODES[self.mode] | flags, data=mask_words(self.nodes))

    def advice(self, errno: int) -> str:
        if errno == _errno.ENOSYS:
            return "the kernel was built without NUMA"
        if errno == _errno.EINVAL:
            return "a mode or flag newer than the kernel, or a node without memory"
        return ""

    def __str__(self) -> str:
        nodes = f" of nodes {_ranges(self.nodes)}" if self.nodes else ""
        return ", ".join([f"set the memory policy to {self.mode}{nodes}", *self.flags])


class Personality(Step, frozen=True):
    """Set the execution domain."""

    op: ClassVar[int] = 84
    domain: str

    def record(self) -> Record:
        return Record(a=PERSONALITIES[self.domain])

    def __str__(self) -> str:
        return f"set the personality to {self.domain}"
