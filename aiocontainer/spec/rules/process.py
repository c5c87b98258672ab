"""Rules of a process.  OCI config.md "Process"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import SpecError
from ..process import Capabilities
from .shared import absolute, environment, list_syntax

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..process import ExecCPUAffinity, Process, Rlimit, Scheduler
    from .shared import Problems

__all__ = ["process_problems", "process_warnings"]

# Which policies take which member.  sched_setattr(2)
_SCHEDULER_MEMBERS = {
    "nice": ("SCHED_OTHER", "SCHED_BATCH"),
    "priority": ("SCHED_FIFO", "SCHED_RR"),
    "runtime": ("SCHED_DEADLINE",),
    "deadline": ("SCHED_DEADLINE",),
    "period": ("SCHED_DEADLINE",),
}

_SHORTEST_NS = 1024  # 2**DL_SCALE, the least that a deadline task can run.  kernel/sched/deadline.c


def process_problems(process: Process, origin: str) -> Problems:
    """Everything wrong with a process, of a container or of an exec."""
    if not process.args:
        yield SpecError("required, and empty", origin=f"{origin}.args")
    elif not process.args[0]:
        yield SpecError("the program has no name", origin=f"{origin}.args[0]")
    yield from absolute(process.cwd, f"{origin}.cwd")
    yield from environment(process.env, f"{origin}.env")
    if process.capabilities:
        yield from _capabilities(process.capabilities, f"{origin}.capabilities")
    yield from _rlimits(process.rlimits, f"{origin}.rlimits")
    if process.scheduler:
        yield from _scheduler(process.scheduler, f"{origin}.scheduler")
    if process.exec_cpu_affinity:
        yield from _affinity(process.exec_cpu_affinity, f"{origin}.execCPUAffinity")


def process_warnings(process: Process, origin: str) -> Iterator[str]:
    """Everything odd in a process that is done without."""
    if process.console_size and not process.terminal:
        yield f"{origin}.consoleSize: ignored without a terminal"
    # Not an error: `runc spec` of 1.0 and 1.1 wrote it, and runc never minded.
    sets = process.capabilities or Capabilities()
    lost = sorted(set(sets.ambient) - (set(sets.permitted) & set(sets.inheritable)))
    if lost:
        names = ", ".join(lost)
        yield f"{origin}.capabilities.ambient: left out for not being permitted and inheritable: {names}"


def _capabilities(sets: Capabilities, origin: str) -> Problems:
    for index, name in enumerate(sets.effective):
        if name not in sets.permitted:
            yield SpecError(f"{name} is not permitted", origin=f"{origin}.effective[{index}]")


def _rlimits(limits: tuple[Rlimit, ...], origin: str) -> Problems:
    seen = set()
    for index, limit in enumerate(limits):
        if limit.type in seen:
            yield SpecError(f"{limit.type} is given twice", origin=f"{origin}[{index}].type")
        seen.add(limit.type)
        if limit.soft > limit.hard:
            yield SpecError("the soft limit is above the hard one", origin=f"{origin}[{index}].soft")


def _scheduler(scheduler: Scheduler, origin: str) -> Problems:
    for member, policies in _SCHEDULER_MEMBERS.items():
        if getattr(scheduler, member) is not None and scheduler.policy not in policies:
            yield SpecError(f"only for {' and '.join(policies)}", origin=f"{origin}.{member}")
    if scheduler.policy in _SCHEDULER_MEMBERS["priority"] and not 1 <= (scheduler.priority or 0) <= 99:
        yield SpecError(f"{scheduler.policy} needs one from 1 to 99", origin=f"{origin}.priority")
    if scheduler.policy == "SCHED_DEADLINE" and "SCHED_FLAG_KEEP_PARAMS" not in scheduler.flags:
        yield from _deadline(scheduler, origin)


def _deadline(scheduler: Scheduler, origin: str) -> Problems:
    """Want three times, each within the next, as the kernel does."""
    runtime, deadline = scheduler.runtime or 0, scheduler.deadline or 0
    if runtime < _SHORTEST_NS:
        yield SpecError(f"SCHED_DEADLINE needs one from {_SHORTEST_NS}", origin=f"{origin}.runtime")
    elif deadline < runtime:
        yield SpecError("SCHED_DEADLINE needs one not below the runtime", origin=f"{origin}.deadline")
    elif scheduler.period and scheduler.period < deadline:
        yield SpecError("is below the deadline", origin=f"{origin}.period")


def _affinity(affinity: ExecCPUAffinity, origin: str) -> Problems:
    yield from list_syntax(affinity.initial, f"{origin}.initial")
    yield from list_syntax(affinity.final, f"{origin}.final")
