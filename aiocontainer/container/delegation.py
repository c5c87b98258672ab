"""One scope for a whole application, below which it makes the cgroups of its containers by itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from .._aio import in_thread
from ..plan.unit import UnitPlan, UnitProperty

if TYPE_CHECKING:
    from ..cgroups.systemd import Unit
    from ..native import Spawner
    from ..plan.host import Host
    from .units import Managers

__all__ = ["Delegation"]

_INFINITY: Final = 2**64 - 1
_ASIDE: Final = "helper"
"""Name of the cgroup in which the helper is, beside those of the containers."""


class Delegation:
    """The scope around the helper that starts containers; another one for each new helper.

    The scope ends by itself with the last process in it: containers that outlive this process keep it.
    """

    def __init__(self, managers: Managers) -> None:
        self._managers = managers
        self._units: list[Unit] = []
        self._pid = 0

    def serves(self, spawner: Spawner) -> bool:
        """Tell whether there is a scope around this helper."""
        return spawner.pid == self._pid and not spawner.ended

    async def obtain(self, spawner: Spawner, host: Host) -> Host:
        """Put a scope around the helper, and return the machine as it looks from in there."""
        unit = self._managers.unit(_scope(host))
        await unit.start(spawner.pid)
        self._units.append(unit)
        self._pid = spawner.pid
        own = await in_thread(lambda: _settle(spawner.pid, host))
        return replace(host, cgroup_own={**host.cgroup_own, **own}, cgroup_delegated=True)

    async def release(self) -> None:
        """Stop the scopes, with all that is left in them."""
        while self._units:
            await self._units[-1].stop()
            self._units.pop()


def _scope(host: Host) -> UnitPlan:
    from ..plan.unit_plan import base_properties  # only those who use it pay for it

    name = f"aiocontainer-{os.getpid()}-{os.urandom(4).hex()}.scope"
    slice = "app.slice" if host.user_manager else "system.slice"
    properties = (
        *base_properties(name, slice, host, description=f"containers of process {os.getpid()}"),
        UnitProperty("CollectMode", "s", "inactive-or-failed"),
        UnitProperty("TasksMax", "t", _INFINITY),  # the default is meant for one service
    )
    return UnitPlan(name=name, slice=slice, user=host.user_manager, properties=properties)


def _settle(pid: int, host: Host) -> dict[str, str]:
    from ..cgroups.delegated import own_cgroups, step_aside

    step_aside(pid, host.cgroup_hierarchies, _ASIDE)
    return {key: path for key, path in own_cgroups(pid).items() if key in host.cgroup_own}
