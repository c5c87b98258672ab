"""The machine as a value: everything a plan depends on besides the specification.

`aiocontainer.probe` fills it in once; a test makes one up and has the kernel it wants.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from msgspec import Struct

from .flags import CAP_SYS_RESOURCE, CAPABILITIES, NAMESPACES, SECCOMP_FLAGS_SINCE_5_12

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CgroupMode", "Host", "Resctrl"]

_WHOLE_RANGE = ((0, 0, 2**32 - 1),)


class CgroupMode(enum.Enum):
    """How cgroups are mounted; hybrid counts as v1, because the controllers are there."""

    NONE = "none"
    V1 = "v1"
    V2 = "v2"


class Resctrl(Struct, frozen=True, kw_only=True):
    """The resctrl file system: where it is mounted, and what of this CPU can be shared out."""

    root: str
    resources: frozenset[str] = frozenset()
    """As in ``schemata``: "L3", "L3CODE", "MB"."""
    monitoring: bool = False


class Host(Struct, frozen=True, kw_only=True):
    """Facts about this machine and about our place on it."""

    # Who we are.
    euid: int
    egid: int
    groups: tuple[int, ...] = ()
    capabilities: int = 0
    """Mask of what this process may use (permitted)."""
    in_user_namespace: bool = False
    uid_map: tuple[tuple[int, int, int], ...] = _WHOLE_RANGE
    gid_map: tuple[tuple[int, int, int], ...] = _WHOLE_RANGE
    setgroups_denied: bool = False
    hard_limits: Mapping[str, int] = {}
    """RLIMIT_* to our own hard limit; what is missing counts as unknown."""

    # The kernel.
    kernel: tuple[int, int]
    last_cap: int = len(CAPABILITIES) - 1
    namespaces: frozenset[str] = frozenset(NAMESPACES)
    """OCI names of the namespace types that the kernel has."""
    filesystems: frozenset[str] = frozenset()
    missing_calls: tuple[str, ...] = ()
    """System calls that every container takes, and that the kernel lacks or a filter hides."""
    mount_id_unique: bool = False
    memfd_exec_seal: bool = False
    has_kcore: bool = False
    apparmor: bool = False
    """AppArmor is enabled, and can be given profiles by name."""
    selinux: bool = False
    seccomp_flags: int = SECCOMP_FLAGS_SINCE_5_12
    """SECCOMP_FILTER_FLAG_* that seccomp(2) knows; 0: it knows nothing of filters."""

    # Cgroups.
    cgroup_mode: CgroupMode = CgroupMode.NONE
    cgroup_hierarchies: Mapping[str, str] = {}
    """v1: "cpu,cpuacct" or "name=systemd" to its mount point; "" is the unified hierarchy's."""
    cgroup_own: Mapping[str, str] = {}
    """The same keys to the path of our own cgroup in that hierarchy."""
    cgroup_flags: tuple[str, ...] = ()
    """Options of the unified hierarchy that a mount of it may change for all.  cgroup-v2.rst"""
    cgroup_delegated: bool = False
    """We may make cgroups where a container's would be."""
    cgroup_controllers: frozenset[str] = frozenset()
    """Those of the unified hierarchy that a container's cgroup can have."""
    hugepage_sizes: frozenset[str] = frozenset()
    """As the hugetlb controller's files name them: "2MB", "1GB"."""

    # The service manager.
    systemd: int = 0
    """Its version; 0: there is none, -1: its version cannot be told."""
    init_cgroup: Mapping[str, str] = {}
    """Hierarchy, as in `cgroup_own`, to the cgroup below which the machine's manager makes units."""
    user_manager: bool = False
    """Units are made by our user's own manager, because the machine's takes no orders from us."""
    user_manager_cgroup: str = ""
    """cgroup2: that of our user's manager (its ControlGroup), where one has been asked."""

    resctrl: Resctrl | None = None

    # Subordinate ids, (first, count), and the tools that map them; absolute paths.
    subuid: tuple[tuple[int, int], ...] = ()
    subgid: tuple[tuple[int, int], ...] = ()
    newuidmap: str | None = None
    newgidmap: str | None = None

    @property
    def privileged(self) -> bool:
        """We act as root, of the machine or of the user namespace that we live in."""
        return self.euid == 0

    def capable(self, capability: int) -> bool:
        """Whether we hold a capability (its number)."""
        return bool(self.capabilities >> capability & 1)

    @property
    def rules_devices(self) -> bool:
        """Who may open which device is ours to say: root's of the machine alone.  bpf(2)."""
        return self.privileged and not self.in_user_namespace

    @property
    def may_raise_limits(self) -> bool:
        """Hard limits may be raised: a capability of the initial user namespace alone."""
        return self.capable(CAP_SYS_RESOURCE) and not self.in_user_namespace
