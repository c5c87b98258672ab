"""The files of cgroups v2.  cgroup-v2.rst "Controllers"."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Final

from .parts import Part
from .text import device
from .values import (
    Counter,
    CpusetStats,
    CpuStats,
    DeviceIo,
    HugetlbStats,
    IoStats,
    MemoryEvents,
    MemoryStats,
    MiscStats,
    PidsStats,
    RdmaStats,
    StatsMask,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .text import Texts

__all__ = ["SAME", "huge_page_sizes", "parts"]

_RDMA_KEYS: Final = frozenset({"hca_handle", "hca_object"})

_CPU_KEYS: Final = frozenset(
    {
        "usage_usec",
        "user_usec",
        "system_usec",
        "nr_periods",
        "nr_throttled",
        "throttled_usec",
        "nr_bursts",
        "burst_usec",
    }
)
_EVENT_KEYS: Final = frozenset(MemoryEvents.__struct_fields__)
_MEMORY_KEYS: Final = frozenset({"anon", "file", "slab", "kernel"})
_IO_KEYS: Final = {
    "rbytes": "read_bytes",
    "wbytes": "write_bytes",
    "dbytes": "discard_bytes",
    "rios": "read_ios",
    "wios": "write_ios",
    "dios": "discard_ios",
}
_MAX: Final = frozenset({"max"})
_SWAP_EVENTS: Final = frozenset({"max", "fail"})


def cpu(texts: Texts) -> CpuStats:
    """Time is accounted without the controller, too; throttling is not."""
    stat = texts.keyed("cpu.stat", _CPU_KEYS)
    return CpuStats(
        total_ns=stat.get("usage_usec", 0) * 1000,
        user_ns=stat.get("user_usec", 0) * 1000,
        kernel_ns=stat.get("system_usec", 0) * 1000,
        periods=stat.get("nr_periods", 0),
        throttled_periods=stat.get("nr_throttled", 0),
        throttled_ns=stat.get("throttled_usec", 0) * 1000,
        bursts=stat.get("nr_bursts", 0),
        burst_ns=stat.get("burst_usec", 0) * 1000,
        pressure=texts.pressure("cpu.pressure"),
    )


def memory(texts: Texts) -> MemoryStats:
    """Memory, swap, and both together as v1 has it."""
    raw = texts.keyed("memory.stat", _MEMORY_KEYS)
    events = texts.maybe_keyed("memory.events", _EVENT_KEYS)
    usage, limit = texts.number("memory.current"), texts.limit("memory.max")
    swap = _swap(texts)
    return MemoryStats(
        usage_bytes=usage,
        max_usage_bytes=texts.maybe_number("memory.peak"),
        limit_bytes=limit,
        failcnt=events.get("max", 0),
        with_swap=_with_swap(usage, limit, swap),
        swap=swap,
        kernel=Counter(usage_bytes=raw.get("kernel", 0)),
        cache_bytes=raw.get("file", 0),
        anon_bytes=raw.get("anon", 0),
        slab_bytes=raw.get("slab"),
        raw=raw,
        events=MemoryEvents(**{key: events[key] for key in _EVENT_KEYS & events.keys()}),
        pressure=texts.pressure("memory.pressure"),
    )


def _swap(texts: Texts) -> Counter:
    """Swap alone; the files are missing where swap is not accounted."""
    events = texts.maybe_keyed("memory.swap.events", _SWAP_EVENTS)
    return Counter(
        usage_bytes=texts.maybe_number("memory.swap.current") or 0,
        max_usage_bytes=texts.maybe_number("memory.swap.peak"),
        limit_bytes=texts.limit("memory.swap.max"),
        failcnt=events.get("max", 0),
    )


def _with_swap(usage: int, limit: int | None, swap: Counter) -> Counter:
    total = None if limit is None or swap.limit_bytes is None else limit + swap.limit_bytes
    return Counter(usage_bytes=usage + swap.usage_bytes, limit_bytes=total, failcnt=swap.failcnt)


def pids(texts: Texts) -> PidsStats:
    """Tasks, by the controller."""
    return PidsStats(
        current=texts.number("pids.current"),
        limit=texts.limit("pids.max"),
        peak=texts.maybe_number("pids.peak"),
        failcnt=texts.maybe_keyed("pids.events", _MAX).get("max", 0),
    )


def io(texts: Texts) -> IoStats:
    """Block devices; one without numbers has done nothing."""
    rows = texts.nested("io.stat", frozenset(_IO_KEYS))
    return IoStats(
        devices=tuple(
            DeviceIo(
                major=place[0],
                minor=place[1],
                **{_IO_KEYS[key]: value or 0 for key, value in row.items()},
            )
            for name, row in rows.items()
            if row and (place := device(name)) is not None
        ),
        pressure=texts.pressure("io.pressure"),
    )


def hugetlb(sizes: Sequence[str], texts: Texts) -> Mapping[str, HugetlbStats]:
    """Huge pages, by size."""
    return {size: _huge(texts, f"hugetlb.{size}") for size in sizes if texts.has(f"hugetlb.{size}.current")}


def _huge(texts: Texts, name: str) -> HugetlbStats:
    return HugetlbStats(
        usage_bytes=texts.number(f"{name}.current"),
        limit_bytes=texts.limit(f"{name}.max"),
        failcnt=texts.maybe_keyed(f"{name}.events", _MAX).get("max", 0),
        reserved=Counter(
            usage_bytes=texts.maybe_number(f"{name}.rsvd.current") or 0,
            limit_bytes=texts.limit(f"{name}.rsvd.max"),
        ),
    )


def rdma_devices(texts: Texts) -> Mapping[str, RdmaStats]:
    """RDMA devices, by name."""
    current, most = texts.nested("rdma.current", _RDMA_KEYS), texts.nested("rdma.max", _RDMA_KEYS)
    return {
        name: RdmaStats(
            hca_handles=used.get("hca_handle") or 0,
            hca_objects=used.get("hca_object") or 0,
            hca_handles_limit=most.get(name, {}).get("hca_handle"),
            hca_objects_limit=most.get(name, {}).get("hca_object"),
        )
        for name, used in current.items()
    }


def misc(texts: Texts) -> Mapping[str, MiscStats]:
    """Scalar resources; a limit is named as the resource, an event as resource and ".max"."""
    most, peaks = texts.limits("misc.max"), texts.limits("misc.peak")
    events = texts.limits("misc.events")
    return {
        name: MiscStats(
            usage=usage or 0,
            limit=most.get(name),
            peak=peaks.get(name),
            failcnt=events.get(f"{name}.max") or 0,
        )
        for name, usage in texts.limits("misc.current").items()
    }


def cpuset(texts: Texts) -> CpusetStats:
    """CPUs and nodes that are left after those above have had their say."""
    return CpusetStats(
        cpus=texts.cpu_list("cpuset.cpus.effective"), mems=texts.cpu_list("cpuset.mems.effective")
    )


SAME: Final = (
    Part(StatsMask.PIDS, "pids", ("pids.current",), pids),
    Part(StatsMask.RDMA, "rdma", ("rdma.current",), rdma_devices),
    Part(StatsMask.MISC, "misc", ("misc.current",), misc),
)
"""Controllers whose files are the same in v1."""


def parts(sizes: Sequence[str]) -> tuple[Part, ...]:
    """Return all parts, for a machine with huge pages of these *sizes*."""
    return (
        Part(StatsMask.CPU, "cpu", ("cpu.stat",), cpu),
        Part(StatsMask.MEMORY, "memory", ("memory.current",), memory),
        Part(StatsMask.IO, "io", ("io.stat",), io),
        Part(
            StatsMask.HUGETLB,
            "hugetlb",
            tuple(f"hugetlb.{size}.current" for size in sizes),
            functools.partial(hugetlb, sizes),
        ),
        Part(StatsMask.CPUSET, "cpuset", ("cpuset.cpus.effective",), cpuset),
        *SAME,
    )


def huge_page_sizes(directory: str = "/sys/kernel/mm/hugepages") -> tuple[str, ...]:
    """Return the sizes of this machine's huge pages, smallest first, as cgroup files are named by them."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return ()
    kilobytes = sorted(int(name.removeprefix("hugepages-").removesuffix("kB")) for name in names)
    return tuple(map(_size_name, kilobytes))


def _size_name(kilobytes: int) -> str:
    for unit, shift in (("GB", 20), ("MB", 10)):
        if kilobytes >> shift:
            return f"{kilobytes >> shift}{unit}"
    return f"{kilobytes}KB"
