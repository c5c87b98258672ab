"""Limits of a container's cgroup.  OCI config-linux.md "Control groups"."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, field

from .base import Int64, Object, Uint16, Uint32, Uint64

__all__ = [
    "BlockIO",
    "Cpu",
    "DeviceRule",
    "HugepageLimit",
    "InterfacePriority",
    "Memory",
    "Network",
    "Pids",
    "Rdma",
    "Resources",
    "ThrottleDevice",
    "WeightDevice",
]


class DeviceRule(Object, frozen=True, kw_only=True):
    """One rule of the device filter, applied in order; None is any number."""

    allow: bool
    type: Literal["a", "b", "c"] | None = None  # None: "a", all devices
    major: Int64 | None = None
    minor: Int64 | None = None
    access: str = ""  # of r, w, m; empty: all three


class Memory(Object, frozen=True, kw_only=True):
    """Memory limits in bytes; -1 removes one, None or 0 leaves it alone."""

    limit: Int64 | None = None
    reservation: Int64 | None = None  # soft: memory.soft_limit_in_bytes in v1, memory.low in v2
    swap: Int64 | None = None  # memory *plus* swap, as v1's memsw counts
    kernel: Int64 | None = None  # deprecated, as the next one
    kernel_tcp: Int64 | None = field(default=None, name="kernelTCP")
    swappiness: Annotated[int, Meta(ge=0, le=100)] | None = None
    disable_oom_killer: bool | None = field(default=None, name="disableOOMKiller")
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(Object, frozen=True, kw_only=True):
    """CPU time and placement; times in microseconds, a negative quota is none.

    0 leaves shares, quota, period and real-time budgets alone.
    """

    shares: Uint64 | None = None
    quota: Int64 | None = None
    burst: Uint64 | None = None
    period: Uint64 | None = None
    realtime_runtime: Int64 | None = None
    realtime_period: Uint64 | None = None
    cpus: str = ""  # list of CPUs, "0-3,7"; empty: unchanged
    mems: str = ""  # list of memory nodes
    idle: Int64 | None = None  # 1: only what nobody else wants; then there are no shares


class Pids(Object, frozen=True, kw_only=True):
    """Number of tasks; negative is no limit, 0 counts as 1."""

    limit: Int64 | None = None  # the schema requires it; Go writers of old leave out a zero


class WeightDevice(Object, frozen=True, kw_only=True):
    """Share of one block device."""

    major: Int64
    minor: Int64
    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None


class ThrottleDevice(Object, frozen=True, kw_only=True):
    """Rate limit of one block device, in bytes or operations per second; 0 removes it."""

    major: Int64
    minor: Int64
    rate: Uint64 | None = None


class BlockIO(Object, frozen=True, kw_only=True):
    """Shares (10-1000) and rate limits of block devices."""

    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = field(default=(), name="throttleReadIOPSDevice")
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = field(default=(), name="throttleWriteIOPSDevice")


class HugepageLimit(Object, frozen=True, kw_only=True):
    """Bytes in huge pages of one size, "2MB"."""

    page_size: Annotated[str, Meta(pattern=r"^[1-9][0-9]*[KMG]B\Z")]
    limit: Uint64


class InterfacePriority(Object, frozen=True, kw_only=True):
    """Priority of what the container sends by one interface; v1 only."""

    name: str
    priority: Uint32


class Network(Object, frozen=True, kw_only=True):
    """Class and priorities of network packets; v1 only."""

    class_id: Uint32 | None = field(default=None, name="classID")
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(Object, frozen=True, kw_only=True):
    """Handles and objects of one RDMA device."""

    hca_handles: Uint32 | None = None
    hca_objects: Uint32 | None = None


class Resources(Object, frozen=True, kw_only=True):
    """Everything that the cgroup limits."""

    devices: tuple[DeviceRule, ...] | None = None  # None: an update leaves the filter alone
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = field(default=None, name="blockIO")
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network | None = None
    rdma: Mapping[str, Rdma] = field(default_factory=dict)
    unified: Mapping[str, str] = field(default_factory=dict)  # cgroup v2: file -> value, applied last
