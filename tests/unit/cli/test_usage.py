"""What `events` and `ps` print: runc's keys, and only the rows that are asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiocontainer import Stats, StatsMask
from aiocontainer.cgroups.stats.values import (
    Counter,
    CpusetStats,
    CpuStats,
    DeviceIo,
    HugetlbStats,
    IoEntry,
    IoStats,
    IoTables,
    MemoryEvents,
    MemoryStats,
    MiscStats,
    PidsStats,
    Pressure,
    PressureLine,
    RdmaStats,
)
from aiocontainer.cli.arguments import UsageError
from aiocontainer.cli.usage import stats_document
from aiocontainer.cli.watch import duration_s, rows_of
from aiocontainer.network import InterfaceStats
from aiocontainer.resctrl import RdtStats

LINE = PressureLine(avg10=1.25, avg60=0.5, avg300=0.07, total_us=9)
PSI = {"avg10": 1.25, "avg60": 0.5, "avg300": 0.07, "total": 9}
NONE = {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0}


def stats(**fields: Any) -> Stats:
    return Stats(id="x", time_ns=1, monotonic_ns=1, **fields)


def test_nothing_is_what_runc_prints_of_nothing() -> None:
    entry = {"limit": 0, "failcnt": 0}
    flags = "cpu_exclusive mem_hardwall mem_exclusive memory_migrate memory_spread_page memory_spread_slab"
    more = "memory_pressure sched_load_balance sched_relax_domain_level"
    assert stats_document(stats()) == {
        "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
        "cpuset": dict.fromkeys(f"{flags} {more}".split(), 0),
        "memory": {
            "usage": entry,
            "swap": entry,
            "kernel": entry,
            "kernelTCP": entry,
            "event_count": {},
        },
        "pids": {},
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": [],
    }


def test_v2() -> None:
    document = stats_document(
        stats(
            version=2,
            parts=StatsMask.MEMORY,
            cpu=CpuStats(
                total_ns=7,
                user_ns=4,
                kernel_ns=3,
                periods=5,
                throttled_periods=2,
                throttled_ns=10,
                bursts=1,
                burst_ns=6,
                pressure=Pressure(some=LINE),
            ),
            memory=MemoryStats(
                usage_bytes=100,
                max_usage_bytes=200,
                failcnt=3,
                cache_bytes=9,
                with_swap=Counter(usage_bytes=150, limit_bytes=300),
                kernel=Counter(usage_bytes=5),
                raw={"anon": 2**64 - 1},
                events=MemoryEvents(oom_kill=1, max=3),
            ),
            pids=PidsStats(current=4),
            io=IoStats(
                devices=(DeviceIo(major=8, minor=0, read_bytes=10, write_ios=2),),
                pressure=Pressure(some=LINE, full=LINE),
            ),
            rdma={"mlx4_0": RdmaStats(hca_handles=2, hca_handles_limit=3)},
            misc={"sev": MiscStats(usage=1, failcnt=2)},
            cpuset=CpusetStats(cpus=(0, 1), mems=(0,)),
        )
    )
    assert document["cpu"] == {
        "usage": {"total": 7, "kernel": 3, "user": 4},
        "throttling": {"periods": 5, "throttledPeriods": 2, "throttledTime": 10},
        "burst": {"bursts_periods": 1, "burst_time": 6},
        "psi": {"some": PSI, "full": NONE},
    }
    memory = document["memory"]
    assert memory["usage"] == {"limit": 2**64 - 1, "usage": 100, "max": 200, "failcnt": 3}
    assert memory["swap"] == {"limit": 300, "usage": 150, "failcnt": 0}
    assert memory["kernel"] == {"limit": 0, "usage": 5, "failcnt": 0}
    assert (memory["cache"], memory["raw"], memory["event_count"]) == (
        9,
        {"anon": 2**64 - 1},
        {"max": 3, "oom_kill": 1},
    )
    assert document["pids"] == {"current": 4}
    assert document["blkio"] == {
        "ioServiceBytesRecursive": [
            {"major": 8, "op": "Read", "value": 10},
            {"major": 8, "op": "Write"},
            {"major": 8, "op": "Discard"},
        ],
        "ioServicedRecursive": [
            {"major": 8, "op": "Read"},
            {"major": 8, "op": "Write", "value": 2},
            {"major": 8, "op": "Discard"},
        ],
        "psi": {"some": PSI, "full": PSI},
    }
    assert (list(document["cpuset"]["cpus"]), list(document["cpuset"]["mems"])) == ([0, 1], [0])
    assert document["rdma"]["mlx4_0"]["limit"] == {"hca_handles": 3, "hca_objects": None}
    assert document["misc"] == {"sev": {"usage": 1, "events": 2}}
    assert json.loads(json.dumps(document))["memory"]["raw"] == {"anon": 2**64 - 1}


def test_v1() -> None:
    document = stats_document(
        stats(
            version=1,
            parts=StatsMask.MEMORY,
            cpu=CpuStats(per_cpu_ns=(1, 2), per_cpu_user_ns=(1, 1), per_cpu_kernel_ns=(0, 1)),
            memory=MemoryStats(limit_bytes=64),
            io=IoStats(
                devices=(DeviceIo(major=8, minor=0, read_bytes=1),),
                tables=IoTables(service_bytes=(IoEntry(8, 16, "Sync", 1),), sectors=(IoEntry(8, 0, "", 3),)),
            ),
            hugetlb={"2MB": HugetlbStats(usage_bytes=1, max_usage_bytes=2, failcnt=3)},
            cpuset=CpusetStats(flags={"sched_relax_domain_level": -1}),
        )
    )
    assert document["cpu"]["usage"]["percpu"] == (1, 2)
    assert document["memory"]["usage"]["limit"] == 64
    assert document["memory"]["kernelTCP"]["limit"] == 9223372036854771712
    assert document["blkio"] == {
        "ioServiceBytesRecursive": [{"major": 8, "minor": 16, "op": "Sync", "value": 1}],
        "sectorsRecursive": [{"major": 8, "value": 3}],
    }
    assert document["hugetlb"] == {"2MB": {"usage": 1, "max": 2, "failcnt": 3}}
    assert document["cpuset"]["sched_relax_domain_level"] == -1


def test_network_and_cache() -> None:
    names = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors")
    interface = InterfaceStats(name="lo", tx_dropped=8, **{name: i for i, name in enumerate(names, 1)})
    rdt = RdtStats(
        llc_occupancy_bytes={0: 5},
        mbm_total_bytes={0: 7, 1: 8},
        mbm_local_bytes={0: 6},
        schemata=("L3:0=f", "MB:0=50"),
        root_schemata=("L3:0=ff",),
        info={"L3": {"cbm_mask": "ff", "min_cbm_bits": "2"}},
    )
    document = stats_document(stats(network=(interface,), rdt=rdt))
    assert document["network_interfaces"] == [
        {
            "Name": "lo",
            "RxBytes": 1,
            "RxPackets": 2,
            "RxErrors": 3,
            "RxDropped": 4,
            "TxBytes": 5,
            "TxPackets": 6,
            "TxErrors": 7,
            "TxDropped": 8,
        }
    ]
    assert document["intel_rdt"] == {
        "l3_cache_info": {"cbm_mask": "ff", "min_cbm_bits": 2},
        "l3_cache_schema_root": "L3:0=ff",
        "l3_cache_schema": "L3:0=f",
        "mem_bw_schema": "MB:0=50",
        "mbm_stats": [
            {"mbm_total_bytes": 7, "mbm_local_bytes": 6},
            {"mbm_total_bytes": 8, "mbm_local_bytes": 0},
        ],
        "cmt_stats": [{"llc_occupancy": 5}],
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("500ms", 0.5), ("1m30s", 90), ("1.5h", 5400), (".5s", 0.5), ("1us", 1e-6), ("2ns", 2e-9)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "0s", "-1s", "1x", "s", "1s ", "1 s", "1,5s", "\u0665s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError):
        duration_s(text)


def test_rows_of_ps() -> None:
    text = "UID  PID  PPID CMD\nroot   1     0 init 22\nroot  22     1 sleep\nroot 122     1 cat 1\n"
    assert list(rows_of(text, [22, 122])) == [
        "UID  PID  PPID CMD",
        "root  22     1 sleep",
        "root 122     1 cat 1",
    ]
    assert list(rows_of(text, [])) == ["UID  PID  PPID CMD"]
    for bad in ("", "USER CMD\nroot sh\n"):
        with pytest.raises(UsageError, match="PID"):
            list(rows_of(bad, [1]))
