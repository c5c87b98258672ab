"""Each field of `linux.resources`: what is asked first and then, and what the machine holds after both.

The same cases for whatever sets limits: the drivers of cgroup file systems, units of systemd, and the
cgroup of the mind.
"""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiocontainer.errors import UnsupportedError
from aiocontainer.plan.host import CgroupMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aiocontainer.errors import ContainerError
    from aiocontainer.plan.host import Host

__all__ = [
    "CASES",
    "MIB",
    "TRIED",
    "Answer",
    "Case",
    "addresses",
    "answer",
    "disk",
    "expected",
    "held",
    "is_right",
]

MIB: Final = 2**20
NO_BYTES: Final = "9223372036854771712"  # of v1: the most pages that it counts
INFINITY: Final = 2**64 - 1
BOTH: Final = "0-1" if os.cpu_count() != 1 else "0"

Held = dict[str, tuple[str, str]]


class Case(NamedTuple):
    """One document, and one that changes it."""

    name: str
    v1: str
    """The controller in v1, and in v2; "" where it has none: there it is told, or refused."""
    v2: str
    first: Mapping[str, Any]
    then: Mapping[str, Any]
    held_v1: Held
    """File to what it holds first and then."""
    held_v2: Held
    unit: Mapping[str, tuple[Any, Any]] = {}
    """Property of a unit on v2 to its value first and then."""
    refused_v1: str = ""
    """The address at which v1, or v2, refuses."""
    refused_v2: str = ""
    told_v2: str = ""
    """The address that v2 tells it does without."""
    rare: bool = False
    """Not every kernel that has the controller has the files: it refuses, then."""

    def __str__(self) -> str:
        return self.name


def disk() -> str:
    """Numbers of a block device of the machine."""
    names = sorted(glob.glob("/sys/block/[sv]d*/dev")) or sorted(glob.glob("/sys/block/*/dev")) or [""]
    if not names[0]:
        return "8:0"
    with open(names[0]) as file:
        return file.read().strip()


def _numbers(**members: Any) -> dict[str, Any]:
    major, minor = map(int, disk().split(":"))
    return {"major": major, "minor": minor, **members}


def _throttled(*rates: int) -> dict[str, Any]:
    names = ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
    pairs = zip(names, rates, strict=True)
    return {"blockIO": {f"throttle{name}Device": [_numbers(rate=rate)] for name, rate in pairs}}


def _bytes_of(value: int) -> list[Any]:
    return [[f"/dev/block/{disk()}", value]]


CASES: Final = (
    Case(
        "pids",
        "pids",
        "pids",
        {"pids": {"limit": 7}},
        {"pids": {"limit": -1}},
        {"pids.max": ("7", "max")},
        {"pids.max": ("7", "max")},
        {"TasksMax": (7, INFINITY)},
    ),
    Case(
        "memory and swap",
        "memory",
        "memory",
        {"memory": {"limit": 64 * MIB, "swap": 128 * MIB, "reservation": 32 * MIB}},
        {"memory": {"limit": 256 * MIB, "swap": 256 * MIB, "reservation": -1}},
        {
            "memory.limit_in_bytes": (f"{64 * MIB}", f"{256 * MIB}"),
            "memory.memsw.limit_in_bytes": (f"{128 * MIB}", f"{256 * MIB}"),
            "memory.soft_limit_in_bytes": (f"{32 * MIB}", NO_BYTES),
        },
        {
            "memory.max": (f"{64 * MIB}", f"{256 * MIB}"),
            "memory.swap.max": (f"{64 * MIB}", "0"),
            "memory.low": (f"{32 * MIB}", "max"),
        },
        {
            "MemoryMax": (64 * MIB, 256 * MIB),
            "MemorySwapMax": (64 * MIB, 0),
            "MemoryLow": (32 * MIB, INFINITY),
        },
    ),
    Case(
        "less memory",
        "memory",
        "memory",
        {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}},
        {"memory": {"limit": 32 * MIB, "swap": 48 * MIB, "checkBeforeUpdate": True}},
        {
            "memory.limit_in_bytes": (f"{64 * MIB}", f"{32 * MIB}"),
            "memory.memsw.limit_in_bytes": (f"{64 * MIB}", f"{48 * MIB}"),
        },
        {"memory.max": (f"{64 * MIB}", f"{32 * MIB}"), "memory.swap.max": ("0", f"{16 * MIB}")},
        {"MemoryMax": (64 * MIB, 32 * MIB), "MemorySwapMax": (0, 16 * MIB)},
    ),
    Case(
        "no limit of memory",
        "memory",
        "memory",
        {"memory": {"limit": 64 * MIB, "swap": 128 * MIB}},
        {"memory": {"limit": -1}},
        {
            "memory.limit_in_bytes": (f"{64 * MIB}", NO_BYTES),
            "memory.memsw.limit_in_bytes": (f"{128 * MIB}", NO_BYTES),
        },
        {"memory.max": (f"{64 * MIB}", "max"), "memory.swap.max": (f"{64 * MIB}", "max")},
        {"MemoryMax": (64 * MIB, INFINITY), "MemorySwapMax": (64 * MIB, INFINITY)},
    ),
    Case(
        "what does nothing any more",
        "memory",
        "memory",
        {"memory": {"limit": 64 * MIB, "kernel": 32 * MIB, "kernelTCP": 16 * MIB, "useHierarchy": True}},
        {"memory": {"kernel": 48 * MIB, "kernelTCP": 8 * MIB, "useHierarchy": False}},
        {"memory.limit_in_bytes": (f"{64 * MIB}", f"{64 * MIB}")},
        {"memory.max": (f"{64 * MIB}", f"{64 * MIB}")},
        {"MemoryMax": (64 * MIB, 64 * MIB)},
    ),
    Case(
        "swappiness",
        "memory",
        "",
        {"memory": {"swappiness": 10}},
        {"memory": {"swappiness": 70}},
        {"memory.swappiness": ("10", "70")},
        {},
        refused_v2="$.memory.swappiness",
    ),
    Case(
        "no killer for want of memory",
        "memory",
        "",
        {"memory": {"disableOOMKiller": True}},
        {"memory": {"disableOOMKiller": False}},
        {"memory.oom_control": ("oom_kill_disable 1", "oom_kill_disable 0")},
        {},
        refused_v2="$.memory.disableOOMKiller",
    ),
    Case(
        "shares",
        "cpu",
        "cpu",
        {"cpu": {"shares": 512}},
        {"cpu": {"shares": 2048}},
        {"cpu.shares": ("512", "2048")},
        {"cpu.weight": ("59", "174")},
        {"CPUWeight": (59, 174)},
    ),
    Case(
        "more of the CPU",
        "cpu",
        "cpu",
        {"cpu": {"quota": 20000, "period": 50000, "burst": 10000}},
        {"cpu": {"quota": 90000, "burst": 80000}},
        {
            "cpu.cfs_period_us": ("50000", "50000"),
            "cpu.cfs_quota_us": ("20000", "90000"),
            "cpu.cfs_burst_us": ("10000", "80000"),
        },
        {"cpu.max": ("20000 50000", "90000 50000"), "cpu.max.burst": ("10000", "80000")},
        {"CPUQuotaPerSecUSec": (400000, 1800000), "CPUQuotaPeriodUSec": (50000, 50000)},
    ),
    Case(
        "less of the CPU",
        "cpu",
        "cpu",
        {"cpu": {"quota": 90000, "burst": 80000}},
        {"cpu": {"quota": 20000, "burst": 10000, "period": 200000}},
        {
            "cpu.cfs_period_us": ("100000", "200000"),
            "cpu.cfs_quota_us": ("90000", "20000"),
            "cpu.cfs_burst_us": ("80000", "10000"),
        },
        {"cpu.max": ("90000 100000", "20000 200000"), "cpu.max.burst": ("80000", "10000")},
        {"CPUQuotaPerSecUSec": (900000, 100000), "CPUQuotaPeriodUSec": (INFINITY, 200000)},
    ),
    Case(
        "another period",
        "cpu",
        "cpu",
        {"cpu": {"quota": 20000, "period": 50000}},
        {"cpu": {"period": 100000}},
        {"cpu.cfs_period_us": ("50000", "100000"), "cpu.cfs_quota_us": ("20000", "20000")},
        {"cpu.max": ("20000 50000", "20000 100000")},
        {"CPUQuotaPerSecUSec": (400000, 200000), "CPUQuotaPeriodUSec": (50000, 100000)},
    ),
    Case(
        "idle",
        "cpu",
        "cpu",
        {"cpu": {"idle": 1, "shares": 100}},
        {"cpu": {"idle": 0, "shares": 2048}},
        {"cpu.idle": ("1", "0"), "cpu.shares": ("3", "2048")},
        {"cpu.idle": ("1", "0")},
        {"CPUWeight": (0, 174)},
    ),
    Case(
        "real time",
        "cpu",
        "",
        {"cpu": {"realtimePeriod": 500000, "realtimeRuntime": 1000}},
        {"cpu": {"realtimePeriod": 600000, "realtimeRuntime": 500}},
        {"cpu.rt_period_us": ("500000", "600000"), "cpu.rt_runtime_us": ("1000", "500")},
        {},
        refused_v2="$.cpu.realtime",
        rare=True,
    ),
    Case(
        "places",
        "cpuset",
        "cpuset",
        {"cpu": {"cpus": "0", "mems": "0"}},
        {"cpu": {"cpus": BOTH}},
        {"cpuset.cpus": ("0", BOTH), "cpuset.mems": ("0", "0")},
        {"cpuset.cpus": ("0", BOTH), "cpuset.mems": ("0", "0")},
        {"AllowedCPUs": ([1], [3 if BOTH != "0" else 1]), "AllowedMemoryNodes": ([1], [1])},
    ),
    Case(
        "rates",
        "blkio",
        "io",
        _throttled(MIB, 2 * MIB, 8, 9),
        _throttled(0, 3 * MIB, 0, 7),
        {
            "blkio.throttle.read_bps_device": (f"{disk()} {MIB}", ""),
            "blkio.throttle.write_bps_device": (f"{disk()} {2 * MIB}", f"{disk()} {3 * MIB}"),
            "blkio.throttle.read_iops_device": (f"{disk()} 8", ""),
            "blkio.throttle.write_iops_device": (f"{disk()} 9", f"{disk()} 7"),
        },
        {
            "io.max": (
                f"{disk()} rbps={MIB} wbps={2 * MIB} riops=8 wiops=9",
                f"{disk()} rbps=max wbps={3 * MIB} riops=max wiops=7",
            )
        },
        {
            "IOReadBandwidthMax": (_bytes_of(MIB), []),
            "IOWriteBandwidthMax": (_bytes_of(2 * MIB), _bytes_of(3 * MIB)),
            "IOReadIOPSMax": (_bytes_of(8), []),
            "IOWriteIOPSMax": (_bytes_of(9), _bytes_of(7)),
        },
    ),
    Case(
        "weight",
        "blkio",
        "io",
        {"blockIO": {"weight": 500}},
        {"blockIO": {"weight": 1000}},
        {"blkio.bfq.weight": ("500", "1000")},
        {"io.bfq.weight": ("default 500", "default 1000"), "io.weight": ("default 4950", "default 10000")},
        {"IOWeight": (4950, 10000)},
        rare=True,
    ),
    Case(
        "weights against children",
        "blkio",
        "",
        {"blockIO": {"leafWeight": 500, "weightDevice": [_numbers(leafWeight=200)]}},
        {"blockIO": {"leafWeight": 600, "weightDevice": [_numbers(leafWeight=300)]}},
        {
            "blkio.leaf_weight": ("500", "600"),
            "blkio.leaf_weight_device": (f"{disk()} 200", f"{disk()} 300"),
        },
        {},
        told_v2="$.blockIO.leafWeight",
        rare=True,
    ),
    Case(
        "weight of a device",
        "blkio",
        "io",
        {"blockIO": {"weightDevice": [_numbers(weight=200)]}},
        {"blockIO": {"weightDevice": [_numbers(weight=300)]}},
        {"blkio.bfq.weight_device": (f"{disk()} 200", f"{disk()} 300")},
        {
            "io.bfq.weight": (f"default 100\n{disk()} 200", f"default 100\n{disk()} 300"),
            "io.weight": (f"default 100\n{disk()} 1920", f"default 100\n{disk()} 2930"),
        },
        rare=True,
    ),
    Case(
        "huge pages",
        "hugetlb",
        "hugetlb",
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]},
        {
            "hugetlb.2MB.limit_in_bytes": (f"{4 * MIB}", "0"),
            "hugetlb.2MB.rsvd.limit_in_bytes": (f"{4 * MIB}", "0"),
        },
        {"hugetlb.2MB.max": (f"{4 * MIB}", "0"), "hugetlb.2MB.rsvd.max": (f"{4 * MIB}", "0")},
    ),
    Case(
        "class of packets",
        "net_cls",
        "",
        {"network": {"classID": 0x10001}},
        {"network": {"classID": 0x10002}},
        {"net_cls.classid": ("65537", "65538")},
        {},
        told_v2="$.network.classID",
    ),
    Case(
        "priorities of packets",
        "net_prio",
        "",
        {"network": {"priorities": [{"name": "lo", "priority": 3}]}},
        {"network": {"priorities": [{"name": "lo", "priority": 4}]}},
        {"net_prio.ifpriomap": ("lo 3", "lo 4")},
        {},
        told_v2="$.network.priorities",
    ),
    Case(
        "no such RDMA device",
        "rdma",
        "rdma",
        {"rdma": {"aioc0": {"hcaHandles": 2, "hcaObjects": 3}}},
        {"rdma": {"aioc0": {"hcaHandles": 4}}},
        {},
        {},
        refused_v1="$.rdma.aioc0",
        refused_v2="$.rdma.aioc0",
    ),
    Case(
        "files by name",
        "",
        "memory",
        {"unified": {"memory.high": f"{48 * MIB}", "memory.oom.group": "1", "cgroup.max.depth": "4"}},
        {"unified": {"memory.high": "max", "cgroup.max.depth": "max"}},
        {},
        {
            "memory.high": (f"{48 * MIB}", "max"),
            "memory.oom.group": ("1", "1"),
            "cgroup.max.depth": ("4", "max"),
        },
        {"MemoryHigh": (48 * MIB, INFINITY)},
        refused_v1='$.unified["memory.high"]',
    ),
)

TRIED: Final = frozenset(f"$.devices[].{name}" for name in ("allow", "type", "major", "minor", "access"))
"""Fields that no file tells of: what they let through is tried instead."""


class Answer(NamedTuple):
    """What a machine says to a case: what its files hold, or where it refuses, or what it does without."""

    held: Held
    refused: str = ""
    told: str = ""


def answer(case: Case, host: Host) -> Answer:
    """Return what this machine is to say."""
    if host.cgroup_mode is not CgroupMode.V2:
        if case.refused_v1:
            return Answer({}, refused=case.refused_v1)
        if any(case.v1 in key.split(",") for key in host.cgroup_hierarchies):
            return Answer(case.held_v1)
    if case.refused_v2 and (not case.v2 or case.v2 in host.cgroup_controllers):
        return Answer({}, refused=case.refused_v2)
    if case.told_v2 and host.cgroup_mode is CgroupMode.V2:
        return Answer({}, told=case.told_v2)
    if case.v2 in host.cgroup_controllers:
        return Answer(case.held_v2)
    return Answer({}, refused="$")


def is_right(case: Case, answer: Answer, refusal: ContainerError, above: str = "$") -> bool:
    """Tell whether to refuse is right, and at that address, of a document that is at *above*."""
    place = str(getattr(refusal, "origin", "")).replace(above, "$", 1)
    rare = case.rare and isinstance(refusal, UnsupportedError)
    return bool(answer.refused or rare) and place.startswith(answer.refused or "$.")


def held(directories: Iterable[str], files: Iterable[str]) -> dict[str, str]:
    """Return what files of a cgroup hold, whichever are there; of many lines those that can be set."""
    found = {}
    for directory in directories:
        for file in files:
            try:
                with open(f"{directory}/{file}") as text:
                    found[file] = _settable(file, text.read().strip())
            except FileNotFoundError:
                continue
    return found


def _settable(file: str, text: str) -> str:
    if file in ("memory.oom_control", "net_prio.ifpriomap"):
        words = ("oom_kill_disable ", "lo ")
        return "\n".join(line for line in text.splitlines() if line.startswith(words))
    if file == "blkio.bfq.weight_device":
        return "\n".join(line for line in text.splitlines() if not line.startswith("default "))
    return text


def expected(answer: Answer, found: Mapping[str, str], turn: int) -> dict[str, str]:
    """Return what the files that were found should hold."""
    return {file: values[turn] for file, values in answer.held.items() if file in found}


def addresses(value: Any, place: str = "$") -> Iterator[str]:
    """Yield the address of each field that a document says something of; "[]" and "{}" for any."""
    if isinstance(value, dict):
        for key, each in value.items():
            named = place in ("$.rdma", "$.unified")
            yield from addresses(each, f"{place}{{}}" if named else f"{place}.{key}")
    elif isinstance(value, list):
        for each in value:
            yield from addresses(each, f"{place}[]")
    else:
        yield place
