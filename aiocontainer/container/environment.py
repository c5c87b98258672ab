"""What containers of one runtime share: the machine's facts, the store, the helper.

Facts and helper are made when they are first needed, in a thread: a command that only sends a signal
pays for neither.
"""

from __future__ import annotations

import asyncio
import os
import threading
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec.structs import replace

from .. import native
from .._aio import in_thread
from ..cgroups import CgroupFiles, Mounts, open_cgroup
from ..errors import UnsupportedError
from ..events import Watcher
from ..hooks import inherited_environment
from ..plan.host import CgroupMode
from ..probe import below_user_manager, probe
from ..store import identify, namespace_inodes
from .compiled import Compiler
from .delegation import Delegation
from .filters import Filters
from .units import Managers

if TYPE_CHECKING:
    from ..cgroups import Cgroup
    from ..criu.probing import Criu
    from ..plan.host import Host
    from ..plan.options import CgroupDriver, JobMode
    from ..plan.plan import CgroupPlan
    from ..store import Identity, Store

__all__ = ["Environment"]


class Environment:
    """Shared by a runtime and its containers; everything but `store` and `owned` blocks at first use."""

    def __init__(
        self,
        store: Store,
        *,
        cgroups: bool,
        owned: bool,
        hooks_inherit: bool = True,
        cgroup_driver: CgroupDriver = "cgroupfs",
        delegated: bool = False,
        job_mode: JobMode = "fail",
        lenient_paths: bool = False,
        criu: str = "criu",
    ) -> None:
        """With *delegated*, cgroups are made in a scope that the service manager gives us once."""
        self.store = store
        self.cgroup_driver: CgroupDriver = cgroup_driver
        self.managers: Managers = Managers(job_mode)
        self.lenient_paths: bool = lenient_paths
        self._delegation = Delegation(self.managers) if delegated else None
        self._hooks_inherit = hooks_inherit
        self.cgroups = cgroups
        self.owned = owned
        """Containers die with this process."""
        self.watcher: Watcher = Watcher()
        self._lock = threading.Lock()
        self._preparing = asyncio.Lock()
        self._prepared = False
        self._criu_program = criu
        self._criu: asyncio.Task[Criu] | None = None
        self._host: Host | None = None
        self._spawner: native.Spawner | None = None

    @property
    def host(self) -> Host:
        """The machine, probed once; `UnsupportedError` where it cannot hold any container."""
        with self._lock:
            if self._host is None:
                host = probe()
                if host.missing_calls:
                    needs = ", ".join(f"{call}(2)" for call in host.missing_calls)
                    raise UnsupportedError("running containers", needs=f"{needs}: Linux 5.12, and no filter")
                self._host = host
            return self._host

    async def prepare(self) -> None:
        """Learn from the service manager what plans depend on, and have it do what is done once."""
        if self._delegation is not None:
            await self._prepare_delegation(self._delegation)
        elif self.cgroup_driver == "systemd" and not self._prepared:
            await self._ask_manager()

    async def _ask_manager(self) -> None:
        """Take the manager's word for what was only guessed at: how old it is, and where it is."""
        async with self._preparing:
            if self._prepared:
                return
            host = await in_thread(lambda: self.host)
            manager = self.managers.of(user=host.user_manager)
            host = replace(host, systemd=await manager.version())
            if host.user_manager:
                cgroup = await manager.control_group()
                host = await in_thread(lambda: below_user_manager(host, cgroup))
            self._host = host
            self._prepared = True

    async def _prepare_delegation(self, delegation: Delegation) -> None:
        async with self._preparing:
            if self._spawner is not None and delegation.serves(self._spawner):
                return
            host, spawner = await in_thread(lambda: (self.host, self.spawner))
            host = await delegation.obtain(spawner, host)
            with self._lock:
                self._host = host
                self.__dict__.pop("compiler", None)  # it knows where cgroups were made until now

    async def finish(self) -> None:
        """Let go of the service managers, once the helper has ended."""
        if self._criu is not None:
            await asyncio.wait([self._criu])
        if self._delegation is not None and self.owned:
            await self._delegation.release()
        await self.managers.close()

    async def criu(self) -> Criu:
        """Return the CRIU that is there, asked once; `UnsupportedError`, `CriuError`."""
        from ..criu.probing import probe_criu  # only those who use it pay for it

        if self._criu is None:
            self._criu = asyncio.ensure_future(probe_criu(self._criu_program))
        asked = self._criu
        try:
            return await asyncio.shield(asked)
        except Exception:
            self._criu = None  # it may be installed by the next time
            raise

    @cached_property
    def namespaces(self) -> dict[str, int]:
        """Our own namespaces: OCI name to inode."""
        return namespace_inodes(os.getpid())

    @cached_property
    def owner(self) -> Identity:
        """Identity of this process, as it is written down in containers whose lifetime is ours."""
        pidfd = os.pidfd_open(os.getpid())
        try:
            return identify(os.getpid(), pidfd)
        finally:
            os.close(pidfd)

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
        return open_cgroup(plan.mode, plan.paths, mounts=self.cgroup_mounts)

    def files(self, cgroup: Cgroup, home: str = "") -> CgroupFiles:
        """Return the files of a container's cgroup, to be read as long as this is not closed.

        Its processes live in *home* below it.
        """
        return CgroupFiles.of(cgroup, self.cgroup_mounts, home=home)

    @cached_property
    def cgroup_mounts(self) -> Mounts:
        """The mounted hierarchies, opened once."""
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
            if "cgroup_mounts" in self.__dict__:
                self.cgroup_mounts.close()
            self.store.close()
