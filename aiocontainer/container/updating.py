"""Update: new limits for a container, all of them or none, remembered for whoever comes next."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from .. import resctrl
from .._convert import convert
from ..errors import CgroupError, StateCorruptError, UnsupportedError
from ..plan.device_filter import device_filter
from ..plan.devices import device_rules
from ..plan.host import CgroupMode
from ..plan.limits import cgroup_limits, limit_warnings
from ..plan.limits_merge import updated
from ..plan.rdt import changed_lines
from ..spec import Linux, Resources, Spec, check_resources, decode_resources, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..cgroups import Cgroup
    from ..plan.devices import DeviceRule
    from ..plan.plan import CgroupWrite
    from ..plan.unit import UnitProperty
    from ..spec import IntelRdt
    from ..store import Lock, State
    from .environment import Environment

__all__ = ["Update", "current_resources", "read_resources"]

_OOM_GROUP: Final = "memory.oom.group"
"""Which the manager writes whenever it applies properties of memory: always 0 before systemd 253."""

_DEVICES: Final = "$.devices"
"""The address of device rules in the document of an update."""


def read_resources(source: Resources | Mapping[str, object] | bytes | str) -> Resources:
    """Return limits from any form in which they are given, checked; `SpecError` with addresses from "$"."""
    if isinstance(source, Resources):
        resources = source
    else:
        resources = decode_resources(encode(source) if isinstance(source, Mapping) else source)
    check_resources(resources)
    return resources


def current_resources(state: State, config: bytes) -> Resources:
    """Return the limits that hold: those of the last update, or else of create."""
    remembered = state.facts.get("resources")
    if remembered is None:
        linux = Spec.decode(config).linux
        return (linux.resources if linux is not None else None) or Resources()
    try:
        return convert(remembered, Resources)
    except msgspec.ValidationError as exc:
        raise StateCorruptError("state.json", f"facts.resources: {exc}") from exc


class Update:
    """One update, under the container's lock.

    `begin` sets everything that is a file, and `properties` are left for the service manager, between `hold`
    and `release`; then comes `save`, or else `undo`.  All but `properties` blocks, for a thread.
    """

    def __init__(
        self, environment: Environment, cgroup: Cgroup, id: str, asked: Resources, rdt: IntelRdt | None
    ) -> None:
        self._environment = environment
        self._cgroup = cgroup
        self._id = id
        self._asked = asked
        self._rdt = rdt
        self._undo = contextlib.ExitStack()
        self._state: State
        self._whole: Resources
        self._rules: Sequence[DeviceRule] = ()
        self._again: Sequence[CgroupWrite] = ()
        self._held = False
        self.properties: Sequence[UnitProperty] = ()
        self.warnings: Sequence[str] = ()

    def begin(self, lock: Lock, *, by_manager: bool) -> None:
        """Decide everything from what holds, and set it; what fails leaves all as it was."""
        store, host = self._environment.store, self._environment.host
        self._state = store.load(self._id, lock=lock)
        current = current_resources(self._state, store.load_config(self._id))
        asked = self._asked
        writes = cgroup_limits(asked, host, "$", current)
        self.warnings = [*check_resources(asked), *limit_warnings(asked, host, "$", current)]
        self._whole = updated(current, asked, writes)
        lines = changed_lines(self._rdt, self._state.resctrl, host)
        if by_manager:
            from ..plan.unit_resources import unit_limits  # only those who use it pay for it

            limits = unit_limits(writes, asked, host, current)
            writes, self.properties = limits.writes, limits.properties
            whole = cgroup_limits(self._whole, host, "$")
            self._again = [write for write in whole if write.file == _OOM_GROUP]
            self.warnings = [*self.warnings, *limits.warnings]
        try:
            self._undo.callback(self._cgroup.set_limits(writes))
            if asked.devices is not None:
                self._replace_devices(asked, current, by_manager=by_manager)
            if lines and self._state.resctrl is not None:
                self._undo.callback(resctrl.change(self._state.resctrl, lines))
        except BaseException:
            self.undo()
            raise

    def _replace_devices(self, asked: Resources, current: Resources, *, by_manager: bool) -> None:
        host = self._environment.host
        if not host.rules_devices:
            raise UnsupportedError("device rules", needs="root of the machine", origin=_DEVICES)
        mode = self._cgroup.mode
        v1 = mode is CgroupMode.V1
        before = device_rules(Linux(resources=current), v1=v1)
        after = device_rules(Linux(resources=asked), v1=v1, origin=_DEVICES)
        programs = [device_filter(rules) if mode is CgroupMode.V2 else b"" for rules in (before, after)]
        self._undo.callback(self._cgroup.set_devices, before, programs[0])
        self._cgroup.set_devices(after, programs[1])
        if by_manager:
            from ..plan.unit_resources import device_properties, device_warnings

            self.properties = [*self.properties, *device_properties(after, host, _DEVICES)]
            self.warnings = [*self.warnings, *device_warnings(after, host, _DEVICES)]
            self._rules = after if v1 else ()

    def hold(self) -> None:
        """Let nobody run while the manager writes its list of devices, which begins by taking all away.

        Of v1 alone, where there is one list for it and us.  Without a freezer it has to do without.
        """
        if not self._rules or not self._cgroup.pids() or self._cgroup.is_frozen():
            return
        try:
            self._cgroup.freeze()
            self._held = True
        except (CgroupError, UnsupportedError) as exc:
            self.warnings = [*self.warnings, f"{_DEVICES}: not frozen meanwhile: {exc}"]

    def release(self) -> None:
        """Write again what the manager has its own values for, or less, and let them run again."""
        try:
            self._cgroup.set_limits(self._again)
            if self._rules:
                self._cgroup.set_devices(self._rules)
        finally:
            if self._held:
                self._cgroup.thaw()
                self._held = False

    def undo(self) -> None:
        """Set everything back, the last first."""
        self._undo.close()

    def save(self) -> State:
        """Remember what holds now; what cannot be remembered is undone."""
        facts = {**self._state.facts, "resources": msgspec.to_builtins(self._whole)}
        state = replace(self._state, facts=facts)
        try:
            self._environment.store.save(self._id, state)
        except BaseException:
            self.undo()
            raise
        self._undo.pop_all()
        return state
