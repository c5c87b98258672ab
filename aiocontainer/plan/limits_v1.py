"""Files of the controllers of cgroup v1, and those that v2 has under the same names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .._tuples import NamedTuple
from ..errors import SpecError
from ..spec import at
from .plan import CgroupWrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..spec import Cpu, Memory, Resources

__all__ = ["Ask", "block_io", "cpu", "cpuset", "hugetlb", "memory", "net_cls", "net_prio", "pids", "rdma"]

NO_LIMIT: Final = -1


class Ask(NamedTuple):
    """What limits are made from."""

    wanted: Resources
    whole: Resources
    """The same, with what holds already."""
    origin: str
    """The address of both."""


THROTTLES: Final = (
    ("throttle_read_bps_device", "throttleReadBpsDevice", "read_bps", "rbps"),
    ("throttle_write_bps_device", "throttleWriteBpsDevice", "write_bps", "wbps"),
    ("throttle_read_iops_device", "throttleReadIOPSDevice", "read_iops", "riops"),
    ("throttle_write_iops_device", "throttleWriteIOPSDevice", "write_iops", "wiops"),
)
"""Member, its name in the document, part of v1's file name, key in v2's ``io.max``."""


def pids(ask: Ask) -> Iterator[CgroupWrite]:
    """``pids.max``, also of v2; with 0 nothing could run at all: it counts as the least with which it can."""
    limit = ask.wanted.pids.limit if ask.wanted.pids is not None else None
    if limit is not None:
        value = "max" if limit < 0 else str(max(limit, 1))
        yield CgroupWrite(f"{ask.origin}.pids.limit", "pids", "pids.max", value, optional=limit < 0)


def check_swap(memory: Memory, origin: str) -> None:
    """Want a limit that memory plus swap can include."""
    swap, limit = memory.swap, memory.limit
    if swap is None or swap == NO_LIMIT or limit == NO_LIMIT:
        return
    if limit is None:
        raise SpecError("includes memory: needs a limit of that as well", origin=f"{origin}.memory.swap")
    if swap < limit:
        raise SpecError(f"includes memory, and is below its limit {limit}", origin=f"{origin}.memory.swap")


def swap_origin(memory: Memory, origin: str) -> str:
    """Return the address of what the limit of swap comes from: that of memory, where both are lifted."""
    from_limit = memory.swap is None or memory.limit == memory.swap == NO_LIMIT
    return f"{origin}.memory.{'limit' if from_limit else 'swap'}"


def memory(ask: Ask) -> Iterator[CgroupWrite]:
    """Limits of memory; neither of the two may pass the other on the way.  cgroup-v1/memory.rst 2.4."""
    wanted, whole_memory = ask.wanted.memory, ask.whole.memory
    if wanted is None or whole_memory is None:
        return
    at_memory = f"{ask.origin}.memory"
    check_swap(whole_memory, ask.origin)
    if whole_memory.limit == NO_LIMIT and whole_memory.swap not in (None, NO_LIMIT):
        raise SpecError("includes memory, which has no limit", origin=f"{at_memory}.swap")
    for value, file, place in (
        (wanted.limit, "memory.limit_in_bytes", f"{at_memory}.limit"),
        (wanted.swap, "memory.memsw.limit_in_bytes", swap_origin(wanted, ask.origin)),
    ):
        if value is not None:
            yield CgroupWrite(place, "memory", file, str(value), optional=value == NO_LIMIT, group="memory")
    if wanted.reservation is not None:
        value, file = wanted.reservation, "memory.soft_limit_in_bytes"
        yield CgroupWrite(f"{at_memory}.reservation", "memory", file, str(value), optional=value == NO_LIMIT)
    if wanted.swappiness is not None:
        yield CgroupWrite(f"{at_memory}.swappiness", "memory", "memory.swappiness", str(wanted.swappiness))
    if wanted.disable_oom_killer is not None:
        yield CgroupWrite(
            f"{at_memory}.disableOOMKiller",
            "memory",
            "memory.oom_control",
            str(int(wanted.disable_oom_killer)),
            optional=not wanted.disable_oom_killer,
        )


def cpu_idle(cpu: Cpu, whole: Cpu, origin: str) -> Iterator[CgroupWrite]:
    """``cpu.idle``, also of v2: before the weight, which idleness takes away and its end resets."""
    if cpu.idle is not None:
        yield CgroupWrite(f"{origin}.cpu.idle", "cpu", "cpu.idle", str(cpu.idle), optional=whole.idle == 0)


def cpu(ask: Ask) -> Iterator[CgroupWrite]:
    """Weight, bandwidth and real-time budget.  scheduler/sched-bwc.rst, scheduler/sched-rt-group.rst."""
    wanted = ask.wanted.cpu
    if wanted is None or ask.whole.cpu is None:
        return
    yield from cpu_idle(wanted, ask.whole.cpu, ask.origin)
    if wanted.shares is not None and ask.whole.cpu.idle != 1:
        yield CgroupWrite(f"{ask.origin}.cpu.shares", "cpu", "cpu.shares", str(wanted.shares), exact=True)
    quota = None if wanted.quota is None else max(wanted.quota, NO_LIMIT)
    for member, value, file, group in (
        ("period", wanted.period, "cpu.cfs_period_us", "bandwidth"),
        ("quota", quota, "cpu.cfs_quota_us", "bandwidth"),
        ("burst", wanted.burst, "cpu.cfs_burst_us", "bandwidth"),
        ("realtimePeriod", wanted.realtime_period, "cpu.rt_period_us", "real-time"),
        ("realtimeRuntime", wanted.realtime_runtime, "cpu.rt_runtime_us", "real-time"),
    ):
        if value is not None:
            nothing = (member, value) in (("quota", NO_LIMIT), ("burst", 0))
            yield CgroupWrite(
                f"{ask.origin}.cpu.{member}", "cpu", file, str(value), optional=nothing, group=group
            )


def cpuset(ask: Ask) -> Iterator[CgroupWrite]:
    """``cpuset.cpus`` and ``cpuset.mems``, also of v2."""
    for member in ("cpus", "mems"):
        value = getattr(ask.wanted.cpu, member) if ask.wanted.cpu is not None else ""
        if value:
            yield CgroupWrite(f"{ask.origin}.cpu.{member}", "cpuset", f"cpuset.{member}", value)


def block_io(ask: Ask) -> Iterator[CgroupWrite]:
    """Weights, of CFQ (Linux 4) or else of BFQ, and rates.  cgroup-v1/blkio-controller.rst."""
    wanted = ask.wanted.block_io
    if wanted is None:
        return
    place = f"{ask.origin}.blockIO"
    if wanted.weight is not None:
        yield _weight(f"{place}.weight", "weight", str(wanted.weight))
    if wanted.leaf_weight is not None:
        leaf = str(wanted.leaf_weight)
        yield CgroupWrite(f"{place}.leafWeight", "blkio", "blkio.leaf_weight", leaf)
    for index, device in enumerate(wanted.weight_device):
        each, numbers = f"{place}.weightDevice[{index}]", f"{device.major}:{device.minor}"
        if device.weight is not None:
            yield _weight(f"{each}.weight", "weight_device", f"{numbers} {device.weight}")
        if device.leaf_weight is not None:
            leaf = f"{numbers} {device.leaf_weight}"
            yield CgroupWrite(f"{each}.leafWeight", "blkio", "blkio.leaf_weight_device", leaf)
    for member, name, rate, _ in THROTTLES:
        for index, limit in enumerate(getattr(wanted, member)):
            yield CgroupWrite(
                f"{place}.{name}[{index}]",
                "blkio",
                f"blkio.throttle.{rate}_device",
                f"{limit.major}:{limit.minor} {limit.rate or 0}",
            )


def _weight(origin: str, file: str, value: str) -> CgroupWrite:
    bfq = CgroupWrite(origin, "blkio", f"blkio.bfq.{file}", value)
    return CgroupWrite(origin, "blkio", f"blkio.{file}", value, otherwise=bfq)


def hugetlb(ask: Ask, *, file: str = "limit_in_bytes") -> Iterator[CgroupWrite]:
    """Limit what may be used, and, Linux 5.7, what may be reserved; v2 says the same in another *file*."""
    for index, limit in enumerate(ask.wanted.hugepage_limits):
        place, name, value = f"{ask.origin}.hugepageLimits[{index}]", limit.page_size, str(limit.limit)
        yield CgroupWrite(place, "hugetlb", f"hugetlb.{name}.{file}", value)
        yield CgroupWrite(place, "hugetlb", f"hugetlb.{name}.rsvd.{file}", value, optional=True)


def net_cls(ask: Ask) -> Iterator[CgroupWrite]:
    """Give packets a class; 0, none, is where every cgroup begins."""
    class_id = ask.wanted.network.class_id if ask.wanted.network is not None else None
    if class_id is not None:
        place = f"{ask.origin}.network.classID"
        yield CgroupWrite(place, "net_cls", "net_cls.classid", str(class_id), optional=class_id == 0)


def net_prio(ask: Ask) -> Iterator[CgroupWrite]:
    """Give packets a priority, by interface."""
    for index, each in enumerate(ask.wanted.network.priorities if ask.wanted.network is not None else ()):
        place, value = f"{ask.origin}.network.priorities[{index}]", f"{each.name} {each.priority}"
        yield CgroupWrite(place, "net_prio", "net_prio.ifpriomap", value)


def rdma(ask: Ask) -> Iterator[CgroupWrite]:
    """``rdma.max``, also of v2: a line for each device."""
    for name, limit in ask.wanted.rdma.items():
        counts = (("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects))
        line = " ".join([name, *(f"{key}={count}" for key, count in counts if count is not None)])
        yield CgroupWrite(at(f"{ask.origin}.rdma", name), "rdma", "rdma.max", line)
