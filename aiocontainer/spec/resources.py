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
    """Whether what it names is allowed, or denied."""
    type: Literal["a", "b", "c"] | None = None
    """Block ("b") or character devices ("c"), or all of them: "a", or None."""
    major: Int64 | None = None
    minor: Int64 | None = None
    access: str = ""
    """Of "r", "w" and "m" (mknod); "" is all three."""


class Memory(Object, frozen=True, kw_only=True):
    """Memory limits in bytes; -1 removes one, None or 0 leaves it alone."""

    limit: Int64 | None = None
    """The most: ``memory.limit_in_bytes`` in v1, ``memory.max`` in v2."""
    reservation: Int64 | None = None
    """Soft: ``memory.soft_limit_in_bytes`` in v1, ``memory.low`` in v2."""
    swap: Int64 | None = None
    """Memory *plus* swap, as ``memory.memsw.limit_in_bytes`` of v1 counts; v2 gets the difference."""
    kernel: Int64 | None = None
    """Without effect, and with a warning: there is no such limit any more."""
    kernel_tcp: Int64 | None = field(default=None, name="kernelTCP")
    """Without effect, and with a warning: there is no such limit any more."""
    swappiness: Annotated[int, Meta(ge=0, le=100)] | None = None
    """0 to 100; v1 only."""
    disable_oom_killer: bool | None = field(default=None, name="disableOOMKiller")
    """What needs memory stands still, and nothing is killed; v1 only."""
    use_hierarchy: bool | None = None
    """Always so; a warning where it is to be otherwise."""
    check_before_update: bool | None = None
    """In v2, refuse a limit below what is in use, where the kernel would kill to make room."""


class Cpu(Object, frozen=True, kw_only=True):
    """CPU time and placement; times in microseconds, a negative quota is none.

    0 leaves shares, quota, period and real-time budgets alone.
    """

    shares: Uint64 | None = None
    """Weight against others, 2 to 262144; 1024 is normal.  In v2 100 of ``cpu.weight``."""
    quota: Int64 | None = None
    """Time on CPUs in each period."""
    burst: Uint64 | None = None
    """Time left over that later periods may use."""
    period: Uint64 | None = None
    """In which `quota` counts."""
    realtime_runtime: Int64 | None = None
    """Real-time in each `realtime_period`; v1 only."""
    realtime_period: Uint64 | None = None
    """v1 only."""
    cpus: str = ""
    """List of CPUs, "0-3,7"; "" leaves it alone."""
    mems: str = ""
    """List of memory nodes; "" leaves it alone."""
    idle: Int64 | None = None
    """1: only what nobody else wants; then there are no shares."""


class Pids(Object, frozen=True, kw_only=True):
    """Number of tasks; negative is no limit, 0 counts as 1."""

    limit: Int64 | None = None  # the schema requires it; Go writers of old leave out a zero


class WeightDevice(Object, frozen=True, kw_only=True):
    """Share of one block device."""

    major: Int64
    minor: Int64
    weight: Uint16 | None = None
    """10 to 1000."""
    leaf_weight: Uint16 | None = None
    """Against the cgroups below it; v1 only, ignored with a warning in v2."""


class ThrottleDevice(Object, frozen=True, kw_only=True):
    """Rate limit of one block device, in bytes or operations per second; 0 removes it."""

    major: Int64
    minor: Int64
    rate: Uint64 | None = None


class BlockIO(Object, frozen=True, kw_only=True):
    """Shares (10-1000) and rate limits of block devices."""

    weight: Uint16 | None = None
    """Of all devices that `weight_device` does not name."""
    leaf_weight: Uint16 | None = None
    """Against the cgroups below it; v1 only, ignored with a warning in v2."""
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    """Bytes per second; the next one, too."""
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = field(default=(), name="throttleReadIOPSDevice")
    """Operations per second; the next one, too."""
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = field(default=(), name="throttleWriteIOPSDevice")


class HugepageLimit(Object, frozen=True, kw_only=True):
    """Bytes in huge pages of one size, "2MB"."""

    page_size: Annotated[str, Meta(pattern=r"^[1-9][0-9]*[KMG]B\Z")]
    """As the kernel spells it: "2MB", "1GB"."""
    limit: Uint64
    """Bytes."""


class InterfacePriority(Object, frozen=True, kw_only=True):
    """Priority of what the container sends by one interface; v1 only."""

    name: str
    """Of the interface."""
    priority: Uint32


class Network(Object, frozen=True, kw_only=True):
    """Class and priorities of network packets; v1 only."""

    class_id: Uint32 | None = field(default=None, name="classID")
    """What packets are marked with: ``net_cls.classid``."""
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(Object, frozen=True, kw_only=True):
    """Handles and objects of one RDMA device."""

    hca_handles: Uint32 | None = None
    hca_objects: Uint32 | None = None


class Resources(Object, frozen=True, kw_only=True):
    """Everything that the cgroup limits."""

    devices: tuple[DeviceRule, ...] | None = None
    """None: an update leaves the filter alone."""
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = field(default=None, name="blockIO")
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network | None = None
    rdma: Mapping[str, Rdma] = field(default_factory=dict)
    """By the name of the device."""
    unified: Mapping[str, str] = field(default_factory=dict)
    """Files of cgroup v2 and what is written to them, after all else."""
