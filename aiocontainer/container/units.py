"""Units of the service manager: who makes them, what is remembered of them, how they end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._aio import in_thread
from ..plan.unit import UnitPlan
from ..store import UnitRecord, boot_id

if TYPE_CHECKING:
    from ..cgroups import Cgroup
    from ..cgroups.manager import Manager
    from ..cgroups.systemd import Unit
    from ..plan.options import JobMode
    from ..store import CgroupRecord

__all__ = ["Managers", "end_unit", "unit_record"]


class Managers:
    """The service managers that units of one runtime are made by, each reached when first needed.

    All on one event loop.  One connection for each manager and user: who changes his user gets another.
    """

    def __init__(self, job_mode: JobMode = "fail") -> None:
        self._job_mode: JobMode = job_mode
        self._known: dict[tuple[bool, int], Manager] = {}

    def of(self, *, user: bool) -> Manager:
        """Return our user's own manager, or the machine's."""
        from ..cgroups.bus import system_addresses, user_addresses  # only those who use it pay for it
        from ..cgroups.manager import Manager

        euid = os.geteuid()
        if (user, euid) not in self._known:
            addresses = user_addresses(os.environ, euid) if user else system_addresses(privileged=euid == 0)
            self._known[user, euid] = Manager(addresses, job_mode=self._job_mode)
        return self._known[user, euid]

    def unit(self, plan: UnitPlan, *, started: bool = False) -> Unit:
        """Return a unit to be started, or one that is."""
        from ..cgroups.systemd import Unit

        return Unit(self.of(user=plan.user), plan, started=started)

    def recorded(self, record: CgroupRecord, boot: str) -> Unit | None:
        """Return the unit of a container; one of an earlier boot is gone.

        None also for one of another user's manager, which does not talk to us: once its cgroup is empty
        it lets the unit go by itself.
        """
        unit = record.unit
        if unit is None or boot != boot_id() or (unit.user and unit.uid != os.geteuid()):
            return None
        return self.unit(UnitPlan(unit.name, slice="", user=unit.user), started=True)

    async def close(self) -> None:
        """Close all connections."""
        while self._known:
            await self._known.popitem()[1].close()


def unit_record(unit: Unit | None, cgroup: Cgroup) -> UnitRecord | None:
    """Return what must be remembered of a unit; None of one that is not ours to stop.  In a thread."""
    if unit is None or not unit.is_ours:
        return None
    return UnitRecord(name=unit.name, user=unit.user, uid=os.geteuid(), inode=cgroup.inode())


async def end_unit(unit: Unit, cgroup: Cgroup, inode: int) -> None:
    """Kill what is in the unit, and stop it; *inode* is that of its cgroup, 0 if not known.

    Where the name has come to somebody else meanwhile, nothing is done to that, now or later.
    """

    def kill() -> bool:
        if inode and cgroup.inode() not in (0, inode):
            cgroup.disown()
            return False
        cgroup.kill()  # or else the unit's TimeoutStopUSec would be waited for
        return True

    if await in_thread(kill):
        await unit.stop()
