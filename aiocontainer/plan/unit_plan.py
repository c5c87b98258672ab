"""The plan of a container's unit: its place, what it is started with, what is set once it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from .._tuples import NamedTuple
from ..errors import UnsupportedError
from .host import CgroupMode
from .unit import UnitPlan, UnitProperty, manager_needs, refuse_slice, unit_name, unit_paths, unit_subgroup
from .unit_properties import asked_properties, property_warnings
from .unit_resources import device_properties, device_warnings, unit_limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..spec import Linux, Spec
    from .host import Host
    from .options import Options
    from .plan import CgroupPlan

__all__ = ["base_properties", "renamed_unit", "with_unit"]

_OOM_SINCE: Final = 253
_OOM_GROUP: Final = "memory.oom.group"
_OOM_POLICIES: Final = {"0": "continue", "1": "kill"}


class Planned(NamedTuple):
    """The cgroup with its unit, and what is done without."""

    cgroup: CgroupPlan
    warnings: tuple[str, ...]


def check_manager(host: Host) -> None:
    """Refuse where there is no manager that could make a unit for us."""
    needs = manager_needs(host)
    if needs:
        raise UnsupportedError("the systemd cgroup driver", needs=needs)


def with_unit(cgroup: CgroupPlan, spec: Spec, linux: Linux, host: Host, options: Options) -> Planned:
    """Return the plan of a cgroup that the service manager makes."""
    check_manager(host)
    named = unit_name(linux.cgroups_path, options, user=host.user_manager)
    refuse_slice(named)
    asked = asked_properties(
        spec.annotations,
        options.systemd_properties,
        policy=options.property_policy,
        devices=bool(cgroup.devices),
    )
    slice = next((str(each.value) for each in asked if each.name == "Slice"), named.slice)
    limits = unit_limits(cgroup.limits, linux.resources, host)
    base = base_properties(named.name, slice, host, description=_description(options))
    oom = tuple(_oom_policy(linux, host))
    unit = UnitPlan(
        name=named.name,
        slice=slice,
        user=host.user_manager,
        properties=_overridden(base, asked, oom),
        resources=(*limits.properties, *device_properties(cgroup.devices, host)),
        subgroup=unit_subgroup(named.below, spec.annotations, host),
    )
    return Planned(
        replace(cgroup, paths=unit_paths(unit.name, slice, host), limits=limits.writes, unit=unit),
        (*property_warnings(asked), *limits.warnings, *device_warnings(cgroup.devices, host)),
    )


def _description(options: Options) -> str:
    return f"{options.program_name} container {options.id}"


def base_properties(name: str, slice: str, host: Host, *, description: str) -> tuple[UnitProperty, ...]:
    """Return what every unit of ours begins with; a slice is not delegated, and has no processes."""
    is_slice = name.endswith(".slice")
    accounting = "IOAccounting" if host.cgroup_mode is CgroupMode.V2 else "BlockIOAccounting"
    return (
        UnitProperty("Description", "s", description),
        UnitProperty("Wants", "as", [slice]) if is_slice else UnitProperty("Slice", "s", slice),
        *([] if is_slice else [UnitProperty("Delegate", "b", True)]),
        *(
            UnitProperty(each, "b", True)
            for each in ("MemoryAccounting", "CPUAccounting", "TasksAccounting", accounting)
        ),
        UnitProperty("DefaultDependencies", "b", False),
    )


def _oom_policy(linux: Linux, host: Host) -> Iterator[UnitProperty]:
    """Yield what becomes of the others when the kernel kills one; it can only be told at the start."""
    unified = linux.resources.unified if linux.resources is not None else {}
    policy = _OOM_POLICIES.get(unified.get(_OOM_GROUP, "").strip())
    if policy is not None and host.systemd >= _OOM_SINCE:
        yield UnitProperty("OOMPolicy", "s", policy, f'$.linux.resources.unified["{_OOM_GROUP}"]')


def _overridden(*layers: Sequence[UnitProperty]) -> tuple[UnitProperty, ...]:
    """Join them, each name once: a later layer's in place of an earlier one's."""
    last = {each.name: each for layer in layers for each in layer}
    return tuple(each for layer in layers for each in layer if last[each.name] is each)


def renamed_unit(cgroup: CgroupPlan, path: str, host: Host, options: Options) -> CgroupPlan:
    """Return the same for another container's id."""
    unit = cgroup.unit
    assert unit is not None
    name = unit_name(path, options, user=unit.user).name
    properties = (
        replace(each, value=_description(options)) if each.name == "Description" and not each.origin else each
        for each in unit.properties
    )
    return replace(
        cgroup,
        paths=unit_paths(name, unit.slice, host),
        unit=replace(unit, name=name, properties=tuple(properties)),
    )
