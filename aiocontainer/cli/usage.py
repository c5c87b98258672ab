"""A reading of a container as runc's ``events`` prints it: same keys, zeros left out where runc leaves them.

Two keys are ours, ``rdma`` and ``misc``, and are there where the machine has such things.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiocontainer import StatsMask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiocontainer import Stats

__all__ = ["stats_document"]

_Document = dict[str, Any]

_NO_LIMIT: Final = {1: 2**63 - 4096, 2: 2**64 - 1}
"""What the kernel's files say, or runc in their place."""
_CPUSET_FLAGS: Final = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)
_TABLES: Final = {
    "ioServiceBytesRecursive": "service_bytes",
    "ioServicedRecursive": "serviced",
    "ioQueueRecursive": "queued",
    "ioServiceTimeRecursive": "service_time_ns",
    "ioWaitTimeRecursive": "wait_time_ns",
    "ioMergedRecursive": "merged",
    "ioTimeRecursive": "time_ms",
    "sectorsRecursive": "sectors",
}
_OPERATIONS: Final = {"Read": "read", "Write": "write", "Discard": "discard"}
_EVENTS: Final = ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")


def stats_document(stats: Stats) -> _Document:
    """Return the ``data`` of a stats event."""
    return {
        "cpu": _cpu(stats),
        "cpuset": _cpuset(stats),
        "memory": _memory(stats),
        "pids": _nonzero(current=stats.pids.current, limit=stats.pids.limit),
        "blkio": _blkio(stats),
        "hugetlb": {size: _huge(each) for size, each in stats.hugetlb.items()},
        "intel_rdt": _rdt(stats.rdt) if stats.rdt is not None else {},
        "network_interfaces": [_interface(each) for each in stats.network],
        **_nonzero(rdma=_rdma(stats), misc=_misc(stats)),
    }


def _nonzero(**values: object) -> _Document:
    """Keep what a Go program does not leave out under "omitempty"."""
    return {name: value for name, value in values.items() if value}


def _cpu(stats: Stats) -> _Document:
    cpu = stats.cpu
    usage = _nonzero(
        total=cpu.total_ns,
        percpu=cpu.per_cpu_ns,
        percpu_kernel=cpu.per_cpu_kernel_ns,
        percpu_user=cpu.per_cpu_user_ns,
    )
    throttling = _nonzero(
        periods=cpu.periods, throttledPeriods=cpu.throttled_periods, throttledTime=cpu.throttled_ns
    )
    burst = _nonzero(bursts_periods=cpu.bursts, burst_time=cpu.burst_ns)
    return {
        "usage": {**usage, "kernel": cpu.kernel_ns, "user": cpu.user_ns},
        "throttling": throttling,
        **_nonzero(burst=burst, psi=_pressure(cpu.pressure)),
    }


def _pressure(pressure: Any) -> _Document | None:
    if pressure is None:
        return None
    return {"some": _pressure_line(pressure.some), "full": _pressure_line(pressure.full)}


def _pressure_line(line: Any) -> _Document:
    if line is None:  # the kernel has none for CPUs
        return {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0}
    return {"avg10": line.avg10, "avg60": line.avg60, "avg300": line.avg300, "total": line.total_us}


def _cpuset(stats: Stats) -> _Document:
    flags = {name: stats.cpuset.flags.get(name, 0) for name in _CPUSET_FLAGS}
    return {**_nonzero(cpus=stats.cpuset.cpus, mems=stats.cpuset.mems), **flags}


def _memory(stats: Stats) -> _Document:
    memory, has_kernel = stats.memory, stats.version == 1
    there = StatsMask.MEMORY in stats.parts
    none = _NO_LIMIT.get(stats.version, 0) if there else 0
    events = {name: getattr(memory.events, name) for name in _EVENTS}
    return {
        **_nonzero(cache=memory.cache_bytes),
        "usage": _counter(memory, none),
        "swap": _counter(memory.with_swap, none),
        "kernel": _counter(memory.kernel, none if has_kernel else 0),
        "kernelTCP": _counter(memory.kernel_tcp, none if has_kernel else 0),
        **_nonzero(raw=memory.raw, psi=_pressure(memory.pressure)),
        "event_count": _nonzero(**events),
    }


def _counter(counter: Any, none: int) -> _Document:
    limit = none if counter.limit_bytes is None else counter.limit_bytes
    used = _nonzero(usage=counter.usage_bytes, max=counter.max_usage_bytes)
    return {"limit": limit, **used, "failcnt": counter.failcnt}


def _blkio(stats: Stats) -> _Document:
    io = stats.io
    tables: Mapping[str, list[_Document]]
    if stats.version == 1:
        tables = {
            key: [_entry(row.major, row.minor, row.op, row.value) for row in getattr(io.tables, name)]
            for key, name in _TABLES.items()
        }
    else:
        tables = {
            "ioServiceBytesRecursive": list(_of_devices(io.devices, "bytes")),
            "ioServicedRecursive": list(_of_devices(io.devices, "ios")),
        }
    return _nonzero(**tables, psi=_pressure(io.pressure))


def _of_devices(devices: Iterable[Any], unit: str) -> Iterable[_Document]:
    for device in devices:
        for op, name in _OPERATIONS.items():
            yield _entry(device.major, device.minor, op, getattr(device, f"{name}_{unit}"))


def _entry(major: int, minor: int, op: str, value: int) -> _Document:
    return _nonzero(major=major, minor=minor, op=op, value=value)


def _huge(huge: Any) -> _Document:
    return {**_nonzero(usage=huge.usage_bytes, max=huge.max_usage_bytes), "failcnt": huge.failcnt}


def _interface(interface: Any) -> _Document:
    return {_go_name(name): getattr(interface, name) for name in interface.__struct_fields__}


def _go_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _rdt(rdt: Any) -> _Document:
    def schema(lines: Iterable[str], resource: str) -> str:
        return next((line for line in lines if line.startswith(f"{resource}:")), "")

    domains = sorted(rdt.mbm_total_bytes.keys() | rdt.mbm_local_bytes.keys())
    return _nonzero(
        l3_cache_info=_numbers(rdt.info.get("L3", {})),
        l3_cache_schema_root=schema(rdt.root_schemata, "L3"),
        l3_cache_schema=schema(rdt.schemata, "L3"),
        mem_bw_info=_numbers(rdt.info.get("MB", {})),
        mem_bw_schema_root=schema(rdt.root_schemata, "MB"),
        mem_bw_schema=schema(rdt.schemata, "MB"),
        mbm_stats=[
            {
                "mbm_total_bytes": rdt.mbm_total_bytes.get(domain, 0),
                "mbm_local_bytes": rdt.mbm_local_bytes.get(domain, 0),
            }
            for domain in domains
        ],
        cmt_stats=[{"llc_occupancy": value} for value in rdt.llc_occupancy_bytes.values()],
    )


def _numbers(info: Mapping[str, str]) -> _Document:
    """Make numbers of everything but the mask."""
    return {
        name: int(value) if name != "cbm_mask" and value.isdecimal() else value
        for name, value in info.items()
    }


def _rdma(stats: Stats) -> _Document:
    return {
        name: {
            "current": {"hca_handles": each.hca_handles, "hca_objects": each.hca_objects},
            "limit": {"hca_handles": each.hca_handles_limit, "hca_objects": each.hca_objects_limit},
        }
        for name, each in stats.rdma.items()
    }


def _misc(stats: Stats) -> _Document:
    return {name: {"usage": each.usage, "events": each.failcnt} for name, each in stats.misc.items()}
