"""Readings of a container's cgroup as values, the same for v1 and v2.

Times are nanoseconds, sizes bytes.  A limit that is None is no limit; any other None is what this kernel
does not tell.  Where a controller is absent everything is zero: `CgroupStats.parts` says which were there.

They are trees of values, which the garbage collector need not look through (`gc=False`): a reading of a
thousand containers would make it do so, with the interpreter's lock held and the event loop waiting.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CgroupStats",
    "Counter",
    "CpuStats",
    "CpusetStats",
    "DeviceIo",
    "HugetlbStats",
    "IoEntry",
    "IoStats",
    "IoTables",
    "MemoryEvents",
    "MemoryStats",
    "MiscStats",
    "PidsStats",
    "Pressure",
    "PressureLine",
    "RdmaStats",
    "StatsMask",
]


class StatsMask(enum.Flag):
    """Parts of a reading.  What is left out is not read at all."""

    CPU = enum.auto()
    MEMORY = enum.auto()
    PIDS = enum.auto()
    IO = enum.auto()
    HUGETLB = enum.auto()
    RDMA = enum.auto()
    MISC = enum.auto()
    CPUSET = enum.auto()
    NET = enum.auto()
    RDT = enum.auto()

    ALL = CPU | MEMORY | PIDS | IO | HUGETLB | RDMA | MISC | CPUSET | NET | RDT


class PressureLine(Struct, frozen=True, kw_only=True, gc=False):
    """How long tasks were delayed.  accounting/psi.rst."""

    avg10: float = 0.0
    """Percent of the last 10 seconds; two decimals, as the kernel writes it."""
    avg60: float = 0.0
    """The same of the last minute, and of the last five."""
    avg300: float = 0.0
    total_us: int = 0
    """Since the cgroup was made."""


class Pressure(Struct, frozen=True, kw_only=True, gc=False):
    """`some`: at least one task waited; `full`: all of them did."""

    some: PressureLine = PressureLine()
    full: PressureLine | None = None
    """None where the kernel has no such line: CPUs before Linux 5.13."""


class CpuStats(Struct, frozen=True, kw_only=True, gc=False):
    """Time on CPUs; cgroup-v2.rst "cpu.stat", cgroup-v1/cpuacct.rst."""

    total_ns: int = 0
    """User and kernel together."""
    user_ns: int = 0
    kernel_ns: int = 0
    """v1 tells these two in clock ticks, hundredths of a second."""
    per_cpu_ns: tuple[int, ...] = ()
    """v1 only, as the next two are; in the order of the CPUs' numbers."""
    per_cpu_user_ns: tuple[int, ...] = ()
    """In ticks of the kernel's own, so not exactly the share of `per_cpu_ns`."""
    per_cpu_kernel_ns: tuple[int, ...] = ()
    periods: int = 0
    """In which the quota was in force."""
    throttled_periods: int = 0
    throttled_ns: int = 0
    """For which its tasks were kept waiting."""
    bursts: int = 0
    """Periods that used more than the quota."""
    burst_ns: int = 0
    pressure: Pressure | None = None


class Counter(Struct, frozen=True, kw_only=True, gc=False):
    """One kind of memory that the kernel counts and can limit."""

    usage_bytes: int = 0
    max_usage_bytes: int | None = None
    """The most there ever was; None where the kernel does not keep it."""
    limit_bytes: int | None = None
    """None where there is none."""
    failcnt: int = 0
    """How often usage was about to go over the limit."""


class MemoryEvents(Struct, frozen=True, kw_only=True, gc=False):
    """Counts; cgroup-v2.rst "memory.events".  v1 knows `max` and `oom_kill`."""

    low: int = 0
    """Reclaimed from though below ``memory.low``."""
    high: int = 0
    """Throttled because above ``memory.high``."""
    max: int = 0
    """Usage was about to go over the limit."""
    oom: int = 0
    """The limit was reached and nothing could be reclaimed."""
    oom_kill: int = 0
    """Processes killed for lack of memory."""
    oom_group_kill: int = 0


class MemoryStats(Counter, frozen=True, kw_only=True, gc=False):
    """Memory; the fields of `Counter` count all of it but swap."""

    with_swap: Counter = Counter()
    """Memory and swap together, as v1 counts and limits them; in v2 it has no highest value."""
    swap: Counter = Counter()
    """Swap alone."""
    kernel: Counter = Counter()
    kernel_tcp: Counter = Counter()
    """v1 only."""
    cache_bytes: int = 0
    """Pages of files, tmpfs too."""
    anon_bytes: int = 0
    """Pages that belong to no file."""
    slab_bytes: int | None = None
    """Of the kernel's own objects; None where it does not say."""
    raw: Mapping[str, int] = {}
    """``memory.stat`` as it is; the totals of v1 include cgroups below."""
    events: MemoryEvents = MemoryEvents()
    pressure: Pressure | None = None


class PidsStats(Struct, frozen=True, kw_only=True, gc=False):
    """Tasks, threads counted; processes where the controller is not there to count."""

    current: int = 0
    limit: int | None = None
    """None where there is none."""
    peak: int | None = None
    """The most there ever were; None where the kernel does not keep it."""
    failcnt: int = 0
    """How often a fork was refused."""


class DeviceIo(Struct, frozen=True, kw_only=True, gc=False):
    """What was read from, written to and discarded on one block device."""

    major: int
    minor: int
    read_bytes: int = 0
    write_bytes: int = 0
    discard_bytes: int = 0
    read_ios: int = 0
    write_ios: int = 0
    discard_ios: int = 0


class IoEntry(Struct, frozen=True, gc=False):
    """A line of a table of v1; `op` is "Read", "Write", "Total" and so on, or "" where it has none."""

    major: int
    minor: int
    op: str
    value: int


class IoTables(Struct, frozen=True, kw_only=True, gc=False):
    """Tables of v1's I/O schedulers, cgroups below counted in; cgroup-v1/blkio-controller.rst."""

    service_bytes: tuple[IoEntry, ...] = ()
    serviced: tuple[IoEntry, ...] = ()
    queued: tuple[IoEntry, ...] = ()
    service_time_ns: tuple[IoEntry, ...] = ()
    wait_time_ns: tuple[IoEntry, ...] = ()
    merged: tuple[IoEntry, ...] = ()
    time_ms: tuple[IoEntry, ...] = ()
    sectors: tuple[IoEntry, ...] = ()


class IoStats(Struct, frozen=True, kw_only=True, gc=False):
    """Block devices, in the kernel's order."""

    devices: tuple[DeviceIo, ...] = ()
    tables: IoTables = IoTables()
    """v1 only; `devices` are made of its first two."""
    pressure: Pressure | None = None


class HugetlbStats(Counter, frozen=True, kw_only=True, gc=False):
    """Huge pages of one size."""

    reserved: Counter = Counter()
    """Counted when they are set aside, not when they are touched.  Linux 5.7."""


class RdmaStats(Struct, frozen=True, kw_only=True, gc=False):
    """Handles and objects of one RDMA device; cgroup-v2.rst "rdma.current"."""

    hca_handles: int = 0
    hca_objects: int = 0
    hca_handles_limit: int | None = None
    hca_objects_limit: int | None = None


class MiscStats(Struct, frozen=True, kw_only=True, gc=False):
    """A scalar resource, such as address space ids of encrypted guests; cgroup-v2.rst "misc"."""

    usage: int = 0
    limit: int | None = None
    peak: int | None = None
    failcnt: int = 0


class CpusetStats(Struct, frozen=True, kw_only=True, gc=False):
    """CPUs and memory nodes that may really be used."""

    cpus: tuple[int, ...] = ()
    mems: tuple[int, ...] = ()
    flags: Mapping[str, int] = {}
    """v1 only: the small files, such as "cpu_exclusive" and "sched_relax_domain_level"."""


class CgroupStats(Struct, frozen=True, kw_only=True, gc=False):
    """A reading; `parts` are those that were asked for and that the machine accounts."""

    version: int = 0
    """1 or 2: of the cgroups; 0 where there is none."""
    parts: StatsMask = StatsMask(0)
    """What was read: what is not in it is zero below."""
    cpu: CpuStats = CpuStats()
    memory: MemoryStats = MemoryStats()
    pids: PidsStats = PidsStats()
    io: IoStats = IoStats()
    hugetlb: Mapping[str, HugetlbStats] = {}
    """By the kernel's name of the size: "2MB"."""
    rdma: Mapping[str, RdmaStats] = {}
    """By device."""
    misc: Mapping[str, MiscStats] = {}
    """By resource."""
    cpuset: CpusetStats = CpusetStats()
