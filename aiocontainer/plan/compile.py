"""Compile a specification: everything that is decided about a container is decided here.

Pure: the same specification, host and options give the same plan, on any machine.  Every refusal is a
`SpecError` or an `UnsupportedError` with the address of what asked for it, and nothing has been
touched by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..errors import SpecError, UnsupportedError
from ..spec import at, check, sysctl_path
from .cgroup import ORIGIN as CGROUPS_PATH
from .cgroup import RESOURCES, cgroup_owner, cgroup_paths, cgroup_plan, cgroup_steps
from .draft import Draft
from .flags import (
    CLONE_NEWUSER,
    PAUSE_CGROUP,
    PAUSE_CREATED,
    PAUSE_READY,
    WIRE_MAX_FDS,
    WIRE_MAX_MOUNTS,
    WIRE_MAX_STEPS,
)
from .hooks import outside_hooks, start_steps
from .labels import key_steps, procfs_steps
from .last_calls import check_last_calls
from .limits import limit_warnings
from .namespaces import loopback_steps, name_steps, namespace_steps, network_steps
from .plan import GateSocket, Plan, ResctrlTasks, Tree
from .process import Payload, Sockets, check_terminal, raised_limits
from .rdt import join_resctrl, resctrl_group
from .rootfs import read_only_root, rootfs_steps
from .steps import Bind, Gate, Hook, Keyring, Mask, Mount, Pause, ReadOnly, Reset, SetSid, Sysctl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..spec import Process, Spec
    from .host import Host
    from .options import Options
    from .plan import CgroupPlan, PlanFd
    from .resctrl import ResctrlGroup
    from .steps import Rlimit, Step

__all__ = ["compile_plan", "renamed"]


def compile_plan(spec: Spec, host: Host, options: Options) -> Plan:
    """Return the plan of a new container, up to and including its start."""
    warnings = check(spec, seccomp_listener=options.seccomp_listener)
    process = _process(spec)
    check_terminal(process, options, "$.process")
    draft = Draft(spec, process, host, options)
    draft.cgroup = cgroup_plan(draft.linux, host, options, user_namespace=draft.namespaces.has("user"))
    draft.cgroup = _unit(draft)
    if draft.cgroup is not None:
        draft.cgroup = replace(draft.cgroup, owner=cgroup_owner(draft))
        if draft.linux.resources is not None:
            draft.warnings.extend(limit_warnings(draft.linux.resources, host, RESOURCES))
    payload = Payload(
        process,
        draft.linux,
        host,
        options,
        origin="$.process",
        user_namespace=draft.namespaces.has("user"),
        setgroups_denied=draft.setgroups_denied,
        sockets=Sockets(options.listen_fds, options.listen_fd_names),
        maps=draft.known_maps,
    )
    raised = raised_limits(payload.limits, host)
    born_mapped = bool(draft.namespaces.birth & CLONE_NEWUSER)
    group = resctrl_group(draft.linux.intel_rdt, host, options)
    beforehand = raised if draft.namespaces.has("user") and not born_mapped else ()
    steps = (*_move(draft), *_resctrl(draft, group), *_steps(draft, payload, beforehand))
    check_last_calls(steps)
    check_size(steps, draft.fds)
    return Plan(
        steps=steps,
        fds=tuple(draft.fds),
        clone_flags=draft.namespaces.birth,
        own_network=draft.namespaces.is_new("network") and not draft.namespaces.has("user"),
        maps=draft.maps,
        cgroup=draft.cgroup,
        resctrl=group,
        devices=draft.devices,
        limits_by_parent=raised if born_mapped else (),
        oom_score_adj=process.oom_score_adj if born_mapped else None,
        hooks=outside_hooks(spec),
        warnings=(*warnings, *draft.warnings, *payload.warnings),
    )


def renamed(plan: Plan, spec: Spec, host: Host, options: Options) -> Plan:
    """Return what compiling gives for another id, from the *plan* for any one, in a fraction of the time.

    Everything but `Options.id` must be as it was for *plan*.  Steps that stay the same stay identical.
    """
    moved: dict[str, str] = {}
    cgroup = plan.cgroup
    if plan.cgroup is not None and cgroup is not None:
        cgroup = _renamed_cgroup(cgroup, spec.linux.cgroups_path if spec.linux else "", host, options)
        moved = {path: cgroup.paths[hierarchy] for hierarchy, path in plan.cgroup.paths.items()}
    group = resctrl_group(spec.linux.intel_rdt if spec.linux else None, host, options)
    if group is not None and plan.resctrl is not None:
        moved |= zip(plan.resctrl.task_files, group.task_files, strict=True)
    steps = [
        step if type(step) not in _NAMED else _renamed_step(step, options.id, moved) for step in plan.steps
    ]
    fds = [_renamed_fd(fd, moved) for fd in plan.fds]
    return replace(plan, steps=tuple(steps), fds=tuple(fds), cgroup=cgroup, resctrl=group)


_NAMED = (Bind, Hook, Keyring)
"""Steps in which the id can show."""


def _renamed_cgroup(cgroup: CgroupPlan, path: str, host: Host, options: Options) -> CgroupPlan:
    if cgroup.unit is None:
        return replace(cgroup, paths=cgroup_paths(path, host, options))
    from .unit_plan import renamed_unit

    return renamed_unit(cgroup, path, host, options)


def _renamed_step(step: Step, id: str, moved: Mapping[str, str]) -> Step:
    if isinstance(step, Keyring):
        return replace(step, name=keyring_name(id))
    if isinstance(step, Hook):
        return replace(step, document=replace(step.document, id=id))
    if isinstance(step, Bind) and step.source in moved:  # the container's cgroup, shown to it
        return replace(step, source=moved[step.source])
    return step


def _renamed_fd(fd: PlanFd, moved: Mapping[str, str]) -> PlanFd:
    if isinstance(fd, Tree | ResctrlTasks) and fd.path in moved:
        return replace(fd, path=moved[fd.path])
    return fd


def check_size(steps: Sequence[Step], fds: Sequence[PlanFd]) -> None:
    """Refuse what the helper would not take."""
    if len(steps) > WIRE_MAX_STEPS:
        raise UnsupportedError(f"a plan of {len(steps)} steps", needs=f"at most {WIRE_MAX_STEPS}", origin="$")
    mounts = sum(isinstance(step, Mount | Bind | Mask | ReadOnly) for step in steps) + 1  # and a console
    if mounts > WIRE_MAX_MOUNTS:
        raise UnsupportedError(f"{mounts} mounts", needs=f"at most {WIRE_MAX_MOUNTS}", origin="$.mounts")
    if len(fds) > WIRE_MAX_FDS:
        raise UnsupportedError(f"passing {len(fds)} descriptors", needs=f"at most {WIRE_MAX_FDS}", origin="$")


def _unit(draft: Draft) -> CgroupPlan | None:
    """Return the cgroup as the driver makes it; only the service manager's has properties."""
    by_manager = draft.options.cgroup_driver == "systemd"
    if draft.cgroup is not None and by_manager:
        from .unit_plan import with_unit  # what other containers need not load

        cgroup, warnings = with_unit(draft.cgroup, draft.spec, draft.linux, draft.host, draft.options)
        draft.warnings.extend(warnings)
        return cgroup
    if draft.options.systemd_properties:
        raise UnsupportedError(
            "a property of a unit", needs="the systemd cgroup driver", origin="systemd_properties"
        )
    return draft.cgroup  # annotations for units are ignored without a word: podman always has some


def _move(draft: Draft) -> Iterator[Step]:
    """Yield the pause at which the manager takes the process into its unit: limits hold from there on."""
    if draft.cgroup is not None and draft.cgroup.unit is not None:
        yield Pause(CGROUPS_PATH, PAUSE_CGROUP)


def _resctrl(draft: Draft, group: ResctrlGroup | None) -> Iterator[Step]:
    """Yield what comes first of all: only the machine's root joins a group."""
    if group is not None:
        yield from join_resctrl(group.task_files, "$.linux.intelRdt", draft.pass_fd)


def _process(spec: Spec) -> Process:
    if spec.process is None:
        raise SpecError("required, and missing", origin="$.process")
    return spec.process


def _steps(draft: Draft, payload: Payload, raised: tuple[Rlimit, ...]) -> Iterator[Step]:
    """Yield all steps in order.  The order is security policy: what comes later can do less."""
    yield from cgroup_steps(draft)
    yield from raised
    yield from namespace_steps(draft)
    yield SetSid("")
    yield Reset("")
    yield from procfs_steps(draft.process)
    yield from _keyring(draft)
    yield from loopback_steps(draft)
    yield from network_steps(draft)
    yield from rootfs_steps(draft)
    yield from name_steps(draft)
    yield from _sysctls(draft)
    yield from payload.outside_steps(draft.pass_fd)
    yield payload.first_cwd(make=True)
    yield from read_only_root(draft)
    yield from payload.user_steps()
    yield payload.program()
    yield from _gate(draft)
    yield from start_steps(draft, payload.variables)
    yield from payload.execution()


def _gate(draft: Draft) -> Iterator[Step]:
    """Yield where the container is made, and what keeps its program from running yet."""
    if draft.options.at_once:
        yield Pause("", PAUSE_READY, dumpable=draft.may_be_seen)
    else:
        yield Pause("", PAUSE_CREATED, dumpable=draft.may_be_seen)
        yield Gate("", draft.pass_fd(GateSocket()), draft.runtime_uid)


def _keyring(draft: Draft) -> Iterator[Step]:
    if not draft.options.no_new_keyring:
        yield from key_steps(draft.process, "$.process", Keyring("", keyring_name(draft.options.id)))


def keyring_name(id: str) -> str:
    """Return the name of a container's session keyring."""
    return f"_ses.{id}"


def _sysctls(draft: Draft) -> Iterator[Step]:
    for key, value in draft.linux.sysctl.items():
        yield Sysctl(at("$.linux.sysctl", key), sysctl_path(key), value)
