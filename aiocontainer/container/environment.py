"""What containers of one runtime share: the machine's facts, the store, the helper.

Facts and helper are made when they are first needed, in a thread: a command that only sends a signal
pays for neither.
"""

from __future__ import annotations

import os
import threading
from functools import cached_property
from typing import TYPE_CHECKING

from .. import native
from ..cgroups import Mounts, open_cgroup
from ..errors import UnsupportedError
from ..hooks import inherited_environment
from ..plan.host import CgroupMode
from ..probe import probe
from ..store import namespace_inodes
from .compiled import Compiler
from .filters import Filters

if TYPE_CHECKING:
    from ..cgroups import Cgroup
    from ..plan.host import Host
    from ..plan.plan import CgroupPlan
    from ..store import Store

__all__ = ["Environment"]

_FLOOR = {
    "clone3": "clone3(2): Linux 5.3",
    "pidfd": "pidfd_open(2) and waitid(2) with P_PIDFD: Linux 5.4",
    "openat2": "openat2(2): Linux 5.6",
    "mount_api": "fsopen(2), open_tree(2) and move_mount(2): Linux 5.2",
    "mount_setattr": "mount_setattr(2): Linux 5.12",
}


class Environment:
    """Shared by a runtime and its containers; everything but `store` and `owned` blocks at first use."""

    def __init__(self, store: Store, *, cgroups: bool, owned: bool, hooks_inherit: bool = True) -> None:
        self.store = store
        self._hooks_inherit = hooks_inherit
        self.cgroups = cgroups
        self.owned = owned
        """Containers die with this process."""
        self._lock = threading.Lock()
        self._host: Host | None = None
        self._spawner: native.Spawner | None = None

    @property
    def host(self) -> Host:
        """The machine, probed once; `UnsupportedError` where it cannot hold any container."""
        with self._lock:
            if self._host is None:
                host = probe()
                for fact, needs in _FLOOR.items():
                    if not getattr(host, fact):
                        raise UnsupportedError("running containers", needs=needs)
                self._host = host
            return self._host

    @cached_property
    def namespaces(self) -> dict[str, int]:
        """Our own namespaces: OCI name to inode."""
        return namespace_inodes(os.getpid())

    def hook_environment(self) -> dict[str, str]:
        """Return the environment of hooks that say nothing of one."""
        return inherited_environment() if self._hooks_inherit else {}

    @cached_property
    def compiler(self) -> Compiler:
        """Compiles specifications for this machine."""
        return Compiler(self.host, self.filters)

    @cached_property
    def filters(self) -> Filters:
        """Programs of seccomp filters."""
        return Filters()

    def cgroup(self, plan: CgroupPlan | None) -> Cgroup:
        """Return the cgroup of a plan, not made yet."""
        if plan is None or not self.cgroups:
            return open_cgroup(CgroupMode.NONE, {})
        return open_cgroup(plan.mode, plan.paths, mounts=self._cgroup_mounts)

    @cached_property
    def _cgroup_mounts(self) -> Mounts:
        return Mounts()

    @property
    def spawner(self) -> native.Spawner:
        """The resident helper, started again if it should have died."""
        with self._lock:
            if self._spawner is not None and self._spawner.ended:
                self._spawner.close()
                self._spawner = None
            if self._spawner is None:
                self._spawner = native.Spawner.start()
            return self._spawner

    def close(self) -> None:
        """End the helper and close the store; blocks for the helper's exit."""
        with self._lock:
            if self._spawner is not None:
                self._spawner.close()
                self._spawner = None
            if "_cgroup_mounts" in self.__dict__:
                self._cgroup_mounts.close()
            self.store.close()
