"""What a machine has of what containers are made of, as a document."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..plan.flags import CAPABILITIES

if TYPE_CHECKING:
    from ..plan.host import Host

__all__ = ["describe"]


def describe(host: Host) -> dict[str, Any]:
    """Return the facts, by names that stay; lists are sorted."""
    system = os.uname()
    return {
        "kernel": system.release,
        "architecture": system.machine,
        "cpus": os.cpu_count() or 0,
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "user": host.euid,
        "in_user_namespace": host.in_user_namespace,
        "capabilities": [name for number, name in enumerate(CAPABILITIES) if host.capable(number)],
        "namespaces": sorted(host.namespaces),
        "missing_system_calls": sorted(host.missing_calls),
        "seccomp": host.seccomp_flags != 0,
        "apparmor": host.apparmor,
        "selinux": host.selinux,
        "cgroups": host.cgroup_mode.value,
        "cgroup_mounts": {name or "unified": path for name, path in sorted(host.cgroup_hierarchies.items())},
        "cgroup_controllers": sorted(host.cgroup_controllers | _of_v1(host)),
        "may_make_cgroups": host.cgroup_delegated,
        "huge_pages": sorted(host.hugepage_sizes),
        "systemd": host.systemd if host.systemd >= 0 else "unknown",
        "resctrl": sorted(host.resctrl.resources) if host.resctrl is not None else [],
        "subordinate_uids": sum(count for _, count in host.subuid),
        "subordinate_gids": sum(count for _, count in host.subgid),
    }


def _of_v1(host: Host) -> set[str]:
    """Return the controllers that have hierarchies of their own."""
    names = (name for name in host.cgroup_hierarchies if name and not name.startswith("name="))
    return {each for name in names for each in name.split(",")}
