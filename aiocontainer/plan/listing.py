"""A plan for people: what will be done, in order, and which place in ``config.json`` asked for it.

Deterministic, and free of secrets: neither arguments nor values of the environment are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .flags import namespace_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .plan import CgroupPlan, IdMaps, Plan
    from .resctrl import ResctrlGroup
    from .unit import UnitPlan

__all__ = ["plan_listing"]

_WIDTH = 78
"""Addresses begin at this column, or after what is longer."""


def plan_listing(plan: Plan) -> str:
    """Return the listing, which ends with a newline."""
    lines = [
        *_born(plan),
        *_steps(plan),
        *_section("passed descriptors", (f"{index:3} {fd}" for index, fd in enumerate(plan.fds))),
        *(_maps(plan.maps) if plan.maps is not None else ()),
        *_section("set by the parent, with the maps", _by_parent(plan)),
        *(_cgroup(plan.cgroup) if plan.cgroup is not None else ()),
        *(_resctrl(plan.resctrl) if plan.resctrl is not None else ()),
        *_section(
            "network devices, moved by the parent",
            (_line("   ", str(each), each.origin) for each in plan.devices),
        ),
        *_section("hooks, run by the parent", (_line("   ", str(hook), hook.origin) for hook in plan.hooks)),
        *_section("warnings", (f"    {each}" for each in plan.warnings)),
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _section(title: str, lines: Iterable[str]) -> list[str]:
    body = [*lines]
    return ["", f"{title}:", *body] if body else []


def _born(plan: Plan) -> Iterator[str]:
    if plan.clone_flags:
        yield _line("  0", f"start a process with new namespaces: {namespace_words(plan.clone_flags)}", "")
    else:
        yield _line("  0", "start a process", "")


def _steps(plan: Plan) -> Iterator[str]:
    """Yield the steps, numbered from 1: 0 is the start of the process."""
    for number, step in enumerate(plan.steps, 1):
        yield _line(f"{number:3}", str(step), step.origin)


def _line(number: str, text: str, origin: str) -> str:
    return f"{number} {text:{_WIDTH}} {origin}"


def _maps(maps: IdMaps) -> list[str]:
    lines = [
        f"    {kind} {inside} to {inside + size - 1} are {outside} to {outside + size - 1} outside"
        if size > 1
        else f"    {kind} {inside} is {outside} outside"
        for kind, ranges in (("uid", maps.uid), ("gid", maps.gid))
        for inside, outside, size in ranges
    ]
    if maps.deny_setgroups:
        lines.append("    setgroups is denied")
    if maps.use_tools:
        lines.append("    written by newuidmap and newgidmap")
    return _section("id maps", lines)


def _by_parent(plan: Plan) -> Iterator[str]:
    for limit in plan.limits_by_parent:
        yield _line("   ", str(limit), limit.origin)
    if plan.oom_score_adj is not None:
        yield _line("   ", f"set oom_score_adj to {plan.oom_score_adj}", "$.process.oomScoreAdj")


def _cgroup(cgroup: CgroupPlan) -> list[str]:
    paths = [f"    {path}" for path in cgroup.paths.values()]
    rules = [f"    {rule}" for rule in cgroup.devices or ()]
    owner = [] if cgroup.owner is None else [f"    given to user {cgroup.owner}"]
    limits = [_line("   ", str(limit), limit.origin) for limit in cgroup.limits]
    return [
        *(_unit(cgroup.unit) if cgroup.unit is not None else ()),
        *_section(f"cgroup ({cgroup.mode.value})", [*paths, *owner]),
        *_section("limits", limits),
        *_section("devices", rules),
    ]


def _unit(unit: UnitPlan) -> list[str]:
    manager = "our user's" if unit.user else "the machine's"
    start = [_line("   ", str(each), each.origin) for each in unit.properties]
    later = [_line("   ", str(each), each.origin) for each in unit.resources]
    if unit.subgroup:
        start.append(f"    its processes live in its cgroup {unit.subgroup}")
    return [
        *_section(f"unit, made by {manager} service manager", [f"    {unit.name} in {unit.slice}", *start]),
        *_section("set once it has started", later),
    ]


def _resctrl(group: ResctrlGroup) -> list[str]:
    monitor = [f"    {group.monitor_directory}"] if group.monitor else []
    lines = [f"    {line}" for line in group.lines]
    return _section("resctrl", [f"    {group.directory}", *lines, *monitor])
