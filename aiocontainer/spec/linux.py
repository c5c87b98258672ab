"""What only Linux has: namespaces, id maps, devices, kernel parameters.  OCI config-linux.md."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, field

from .base import Id, Int64, Object, Uint32
from .resources import Resources
from .seccomp import Seccomp

__all__ = [
    "Device",
    "IDMapping",
    "IntelRdt",
    "Linux",
    "MemoryPolicy",
    "MemoryPolicyFlag",
    "MemoryPolicyMode",
    "Namespace",
    "NamespaceType",
    "NetDevice",
    "Personality",
    "Propagation",
    "TimeOffset",
    "TimeOffsets",
]

NamespaceType = Literal["mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time"]

Propagation = Literal[
    "private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave", "runbindable"
]

MemoryPolicyMode = Literal[
    "MPOL_DEFAULT",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_LOCAL",
]

MemoryPolicyFlag = Literal["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"]


class Namespace(Object, frozen=True, kw_only=True):
    """A new namespace, or the one that `path` names."""

    type: NamespaceType
    path: str = ""


class IDMapping(Object, frozen=True, kw_only=True):
    """`size` ids from `container_id` inside are those from `host_id` outside.  user_namespaces(7)."""

    container_id: Uint32 = field(name="containerID")
    host_id: Uint32 = field(name="hostID")
    size: Annotated[int, Meta(ge=1, le=2**32 - 1)]


class TimeOffset(Object, frozen=True, kw_only=True):
    """How far one clock is ahead; negative seconds set it back.  time_namespaces(7)."""

    secs: Int64 = 0
    nanosecs: Annotated[int, Meta(ge=0, le=999_999_999)] = 0


class TimeOffsets(Object, frozen=True, kw_only=True):
    """The two clocks that a time namespace has of its own."""

    boottime: TimeOffset | None = None
    monotonic: TimeOffset | None = None


class Device(Object, frozen=True, kw_only=True):
    """A device node; "u" is a character device, "p" a fifo."""

    type: Literal["b", "c", "u", "p"]
    path: str
    major: Int64 | None = None
    minor: Int64 | None = None
    # Wider than the schema's 0o777: peers write whole st_mode values here; only permissions count.
    file_mode: Uint32 | None = None  # None: 0666
    uid: Id | None = None
    gid: Id | None = None


class NetDevice(Object, frozen=True, kw_only=True):
    """A network device of the host that moves into the container; `name` is its name there."""

    name: str = ""


class IntelRdt(Object, frozen=True, kw_only=True):
    """Cache and memory bandwidth.  OCI config-linux.md "IntelRdt"."""

    clos_id: str = field(default="", name="closID")
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False


class MemoryPolicy(Object, frozen=True, kw_only=True):
    """NUMA policy.  set_mempolicy(2)."""

    mode: MemoryPolicyMode | None = None
    nodes: str = ""
    flags: tuple[MemoryPolicyFlag, ...] = ()


class Personality(Object, frozen=True, kw_only=True):
    """Execution domain.  personality(2)."""

    domain: Literal["LINUX", "LINUX32"] | None = None
    flags: tuple[str, ...] = ()


class Linux(Object, frozen=True, kw_only=True):
    """Everything Linux in a configuration."""

    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    time_offsets: TimeOffsets | None = None
    sysctl: Mapping[str, str] = field(default_factory=dict)
    resources: Resources | None = None
    cgroups_path: str = ""
    namespaces: tuple[Namespace, ...] = ()
    devices: tuple[Device, ...] = ()
    net_devices: Mapping[str, NetDevice] = field(default_factory=dict)
    seccomp: Seccomp | None = None
    rootfs_propagation: Propagation | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    personality: Personality | None = None

    def namespace(self, type: NamespaceType) -> Namespace | None:
        """Return the namespace of this type; None: the container shares the one of the runtime."""
        return next((each for each in self.namespaces if each.type == type), None)
