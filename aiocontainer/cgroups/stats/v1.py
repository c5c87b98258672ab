"""The files of cgroups v1.  Linux admin-guide/cgroup-v1."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Final

from .parts import Part
from .v2 import SAME
from .values import (
    Counter,
    CpusetStats,
    CpuStats,
    DeviceIo,
    HugetlbStats,
    IoStats,
    IoTables,
    MemoryEvents,
    MemoryStats,
    StatsMask,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .text import Texts
    from .values import IoEntry

__all__ = ["parts"]

_TICK_NS: Final = 10**9 // os.sysconf("SC_CLK_TCK")
_CPU_KEYS: Final = frozenset({"nr_periods", "nr_throttled", "throttled_time", "nr_bursts", "burst_time"})
_TIME_KEYS: Final = frozenset({"user", "system"})
_MEMORY_KEYS: Final = frozenset({"total_cache", "total_rss", "total_swap"})
_OOM_KEYS: Final = frozenset({"oom_kill"})
_CPUSET_FLAGS: Final = (
    "cpu_exclusive",
    "mem_exclusive",
    "mem_hardwall",
    "memory_migrate",
    "memory_pressure",
    "memory_spread_page",
    "memory_spread_slab",
    "sched_load_balance",
    "sched_relax_domain_level",
)
_DETAILS: Final = {
    "queued": "io_queued",
    "service_time_ns": "io_service_time",
    "wait_time_ns": "io_wait_time",
    "merged": "io_merged",
    "time_ms": "time",
    "sectors": "sectors",
}
_BYTES: Final = {"read": "read_bytes", "write": "write_bytes", "discard": "discard_bytes"}
_IOS: Final = {"read": "read_ios", "write": "write_ios", "discard": "discard_ios"}


def cpu(texts: Texts) -> CpuStats:
    """Time by ``cpuacct``, throttling by ``cpu``."""
    times = texts.maybe_keyed("cpuacct.stat", _TIME_KEYS)
    stat = texts.maybe_keyed("cpu.stat", _CPU_KEYS)
    each = texts.columns("cpuacct.usage_all")  # Linux 4.7
    return CpuStats(
        total_ns=texts.maybe_number("cpuacct.usage") or 0,
        user_ns=times.get("user", 0) * _TICK_NS,
        kernel_ns=times.get("system", 0) * _TICK_NS,
        per_cpu_ns=texts.row("cpuacct.usage_percpu"),
        per_cpu_user_ns=each.get("user", ()),
        per_cpu_kernel_ns=each.get("system", ()),
        periods=stat.get("nr_periods", 0),
        throttled_periods=stat.get("nr_throttled", 0),
        throttled_ns=stat.get("throttled_time", 0),
        bursts=stat.get("nr_bursts", 0),
        burst_ns=stat.get("burst_time", 0),
        pressure=texts.pressure("cpu.pressure"),
    )


def memory(texts: Texts) -> MemoryStats:
    """Memory; cgroups below are counted in."""
    raw = texts.keyed("memory.stat", _MEMORY_KEYS)
    oom = texts.maybe_keyed("memory.oom_control", _OOM_KEYS)  # oom_kill: Linux 4.13
    all = _counter(texts, "memory")
    return MemoryStats(
        usage_bytes=all.usage_bytes,
        max_usage_bytes=all.max_usage_bytes,
        limit_bytes=all.limit_bytes,
        failcnt=all.failcnt,
        with_swap=_counter(texts, "memory.memsw"),
        swap=Counter(usage_bytes=raw.get("total_swap", 0)),
        kernel=_counter(texts, "memory.kmem"),
        kernel_tcp=_counter(texts, "memory.kmem.tcp"),
        cache_bytes=raw.get("total_cache", 0),
        anon_bytes=raw.get("total_rss", 0),
        raw=raw,
        events=MemoryEvents(max=all.failcnt, oom_kill=oom.get("oom_kill", 0)),
        pressure=texts.pressure("memory.pressure"),
    )


def _counter(texts: Texts, name: str) -> Counter:
    """Read the four files of a counter; none of them is there where the kernel does not count it."""
    return Counter(
        usage_bytes=texts.maybe_number(f"{name}.usage_in_bytes") or 0,
        max_usage_bytes=texts.maybe_number(f"{name}.max_usage_in_bytes"),
        limit_bytes=texts.limit(f"{name}.limit_in_bytes"),
        failcnt=texts.maybe_number(f"{name}.failcnt") or 0,
    )


def io(texts: Texts) -> IoStats:
    """Tables of whichever scheduler accounts: bfq, cfq, or throttling, which counts in any case."""
    tables = IoTables(
        service_bytes=_table(texts, "io_service_bytes", throttle=True),
        serviced=_table(texts, "io_serviced", throttle=True),
        **{field: _table(texts, name) for field, name in _DETAILS.items() if _has_details(texts)},
    )
    return IoStats(devices=tuple(_devices(tables)), tables=tables, pressure=texts.pressure("io.pressure"))


def _has_details(texts: Texts) -> bool:
    """Tell whether a scheduler keeps the rest: cfq before Linux 5.0, bfq with debugging."""
    return any(texts.has(f"blkio.{scheduler}io_queued_recursive") for scheduler in ("bfq.", ""))


def _table(texts: Texts, name: str, *, throttle: bool = False) -> tuple[IoEntry, ...]:
    # Throttling counts below, too, since Linux 5.0; before, it has no other file.
    last = (f"blkio.throttle.{name}_recursive", f"blkio.throttle.{name}") if throttle else ()
    return texts.table(f"blkio.bfq.{name}_recursive", f"blkio.{name}_recursive", *last)


def _devices(tables: IoTables) -> Iterable[DeviceIo]:
    found: dict[tuple[int, int], dict[str, int]] = {}
    for names, table in ((_BYTES, tables.service_bytes), (_IOS, tables.serviced)):
        for entry in table:
            values = found.setdefault((entry.major, entry.minor), {})
            if entry.op.lower() in names:
                values[names[entry.op.lower()]] = entry.value
    for (major, minor), values in found.items():
        yield DeviceIo(major=major, minor=minor, **values)


def hugetlb(sizes: Sequence[str], texts: Texts) -> Mapping[str, HugetlbStats]:
    """Huge pages, by size."""
    return {
        size: _huge(texts, f"hugetlb.{size}") for size in sizes if texts.has(f"hugetlb.{size}.usage_in_bytes")
    }


def _huge(texts: Texts, name: str) -> HugetlbStats:
    all = _counter(texts, name)
    return HugetlbStats(
        usage_bytes=all.usage_bytes,
        max_usage_bytes=all.max_usage_bytes,
        limit_bytes=all.limit_bytes,
        failcnt=all.failcnt,
        reserved=_counter(texts, f"{name}.rsvd"),
    )


def cpuset(texts: Texts) -> CpusetStats:
    """CPUs and nodes, effective where the kernel tells (Linux 3.17), and the flags."""
    flags = {name: texts.maybe_signed(f"cpuset.{name}") for name in _CPUSET_FLAGS}
    return CpusetStats(
        cpus=texts.cpu_list("cpuset.effective_cpus", "cpuset.cpus"),
        mems=texts.cpu_list("cpuset.effective_mems", "cpuset.mems"),
        flags={name: value for name, value in flags.items() if value is not None},
    )


def parts(sizes: Sequence[str]) -> tuple[Part, ...]:
    """Return all parts, for a machine with huge pages of these *sizes*."""
    return (
        Part(StatsMask.CPU, "cpu", ("cpuacct.usage", "cpu.stat"), cpu),
        Part(StatsMask.MEMORY, "memory", ("memory.usage_in_bytes",), memory),
        Part(StatsMask.IO, "io", ("blkio.throttle.io_serviced", "blkio.throttle.io_serviced_recursive"), io),
        Part(
            StatsMask.HUGETLB,
            "hugetlb",
            tuple(f"hugetlb.{size}.usage_in_bytes" for size in sizes),
            functools.partial(hugetlb, sizes),
        ),
        Part(StatsMask.CPUSET, "cpuset", ("cpuset.cpus",), cpuset),
        *SAME,
    )
