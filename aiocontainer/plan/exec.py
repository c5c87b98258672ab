"""Compile an exec: one more process in a running container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from .._tuples import NamedTuple
from ..spec import ExecCPUAffinity, Linux, check_process
from .cgroup import join_steps
from .compile import check_size, keyring_name
from .flags import (
    CLONE_NEWPID,
    NAMESPACES,
    PAUSE_CGROUP,
    PAUSE_CONSOLE,
    PIVOT_CHROOT,
    RESET_AFFINITY,
    RESET_ALL,
    ROOTFS_OPEN,
)
from .idmaps import written_maps
from .labels import key_steps, procfs_steps
from .last_calls import check_last_calls
from .plan import InitPidfd, InitRoot, Plan
from .process import Payload, check_terminal, raised_limits
from .rdt import join_resctrl
from .rootfs import console_step
from .steps import (
    Fork,
    JoinNamespace,
    Keyring,
    NamespaceRoot,
    OomScore,
    Pause,
    Pivot,
    Reset,
    Rootfs,
    SetSid,
    Step,
    VerifyNamespace,
)
from .tuning import affinity_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..spec import Process, Spec
    from .host import Host
    from .options import ExecOptions
    from .plan import PlanFd
    from .steps import Rlimit

__all__ = ["compile_exec"]

ORIGIN = "$"
"""Addresses are those of the process object, which is a document of its own."""


def compile_exec(process: Process, spec: Spec, host: Host, options: ExecOptions) -> Plan:
    """Return the plan of a further process; *spec* is the container's own, as it was created."""
    warnings = check_process(process, ORIGIN)
    process = _inherited(process, spec)
    check_terminal(process, options, ORIGIN)
    joined = "user" in options.namespaces
    payload = Payload(
        process,
        spec.linux or Linux(),
        host,
        options,
        origin=ORIGIN,
        user_namespace=joined,
        setgroups_denied=_setgroups_denied(spec, host, joined=joined),
        maps=written_maps(spec.linux) if joined and spec.linux is not None else None,
    )
    fds: list[PlanFd] = []
    raised = raised_limits(payload.limits, host)
    steps = tuple(_steps(process, options, payload, raised if joined else (), fds))
    check_last_calls(steps)
    check_size(steps, fds)
    return Plan(steps=steps, fds=tuple(fds), warnings=(*warnings, *payload.warnings))


def _inherited(process: Process, spec: Spec) -> Process:
    """Fill in what the process leaves open with what the container has; features.md L30 to L33, L38."""
    own = spec.process
    if own is None:
        return process
    return replace(
        process,
        capabilities=own.capabilities if process.capabilities is None else process.capabilities,
        no_new_privileges=(
            own.no_new_privileges if process.no_new_privileges is None else process.no_new_privileges
        ),
        oom_score_adj=own.oom_score_adj if process.oom_score_adj is None else process.oom_score_adj,
        rlimits=process.rlimits or own.rlimits,
        apparmor_profile=process.apparmor_profile or own.apparmor_profile,
        selinux_label=process.selinux_label or own.selinux_label,
        scheduler=process.scheduler or own.scheduler,
        io_priority=process.io_priority or own.io_priority,
        exec_cpu_affinity=process.exec_cpu_affinity or own.exec_cpu_affinity,
    )


def _setgroups_denied(spec: Spec, host: Host, *, joined: bool) -> bool:
    """Whether the container's user namespace denies setgroups(2): as it was decided at create."""
    if not joined or host.privileged or spec.linux is None:
        return host.setgroups_denied
    gids = spec.linux.gid_mappings
    return host.setgroups_denied or not gids or (len(gids) == 1 and gids[0].size == 1)


def _steps(
    process: Process,
    options: ExecOptions,
    payload: Payload,
    raised: tuple[Rlimit, ...],
    fds: list[PlanFd],
) -> Iterator[Step]:
    """Yield the steps; the process is in sight of the container only from the fork on."""

    def pass_fd(what: PlanFd) -> int:
        fds.append(what)
        return len(fds) - 1

    affinity = _Affinity.of(process)
    yield from affinity.before
    if options.moved_by_manager:
        yield Pause("", PAUSE_CGROUP)
    else:
        born = not (affinity.before or options.enter_cgroup)
        yield from join_steps(options.cgroup_paths, "", pass_fd, born=born)
    yield from affinity.after
    yield from join_resctrl(options.resctrl, "", pass_fd)
    if process.oom_score_adj is not None:
        yield OomScore(f"{ORIGIN}.oomScoreAdj", process.oom_score_adj)
    yield from raised
    yield from _join(options, pass_fd, drop_groups=not payload.setgroups_denied)
    yield SetSid("")
    yield Reset("", affinity.reset)
    yield from procfs_steps(process)
    if options.keyring:
        yield from key_steps(process, ORIGIN, Keyring("", keyring_name(options.id)))
    if process.terminal:
        yield console_step(process, f"{ORIGIN}.terminal", bind=False)
        yield Pause(f"{ORIGIN}.terminal", PAUSE_CONSOLE)
    yield from payload.outside_steps(pass_fd)
    yield payload.first_cwd(make=False)
    yield from payload.user_steps()
    yield payload.program()
    yield from payload.execution()


class _Affinity(NamedTuple):
    """CPUs on both sides of the cgroup.  OCI config.md "execCPUAffinity"."""

    before: tuple[Step, ...]
    """A process with these is not born in the cgroup: it has to come in."""
    after: tuple[Step, ...]
    reset: int
    """Those of the caller go only where nothing was asked for: the cpuset narrows what is left."""

    @classmethod
    def of(cls, process: Process) -> Self:
        asked, origin = process.exec_cpu_affinity or ExecCPUAffinity(), f"{ORIGIN}.execCPUAffinity"
        before = tuple(affinity_steps(asked.initial, f"{origin}.initial"))
        after = tuple(affinity_steps(asked.final, f"{origin}.final"))
        return cls(before, after, RESET_ALL & ~RESET_AFFINITY if before or after else RESET_ALL)


def _join(options: ExecOptions, pass_fd: Callable[[PlanFd], int], *, drop_groups: bool) -> Iterator[Step]:
    """Enter all namespaces of the container in one call, and prove that they are those recorded."""
    flags = 0
    for name in options.namespaces:
        flags |= NAMESPACES[name]
    yield JoinNamespace("", pass_fd(InitPidfd()), flags, "the container's init")
    for name, flag in NAMESPACES.items():
        if name in options.namespaces:
            yield VerifyNamespace("", flag, options.namespaces[name])
    if "user" in options.namespaces:
        yield NamespaceRoot("", drop_groups=drop_groups)
    if "mount" not in options.namespaces:  # which has brought the root with it
        yield Rootfs("", "/", pass_fd(InitRoot()), how=ROOTFS_OPEN)
        yield Pivot("", PIVOT_CHROOT)
    if flags & CLONE_NEWPID:
        yield Fork("")
