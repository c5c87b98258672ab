"""What the process gets of the machine's CPUs, disks and memory: for init and exec alike.

OCI config.md "Scheduler", "I/O Priority", config-linux.md "Memory policy", "Personality".  All of it
comes while we are still root: real-time classes take a privilege.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..spec import parse_list
from .steps import Affinity, IoPriority, MemoryPolicy, Personality, Scheduler, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..spec import IOPriority as SpecIOPriority
    from ..spec import Linux, Process
    from ..spec import Scheduler as SpecScheduler

__all__ = ["affinity_steps", "tuning_steps"]


def tuning_steps(process: Process, linux: Linux, origin: str) -> Iterator[Step]:
    """Yield the steps; *origin* is the address of *process*, *linux* the container's own."""
    if process.scheduler is not None:
        yield _scheduler(process.scheduler, f"{origin}.scheduler")
    if process.io_priority is not None:
        yield _io_priority(process.io_priority, f"{origin}.ioPriority")
    if linux.personality is not None and linux.personality.domain is not None:
        yield Personality("$.linux.personality", linux.personality.domain)
    yield from _memory_policy(linux)


def affinity_steps(cpus: str, origin: str) -> Iterator[Step]:
    """Yield the step for a list of CPUs; an empty one asks for nothing."""
    ranges = parse_list(cpus, origin=origin)
    if ranges:
        yield Affinity(origin, ranges)


def _scheduler(asked: SpecScheduler, origin: str) -> Step:
    return Scheduler(
        origin,
        asked.policy,
        asked.nice or 0,
        asked.priority or 0,
        asked.flags,
        asked.runtime or 0,
        asked.deadline or 0,
        asked.period or 0,
    )


def _io_priority(asked: SpecIOPriority, origin: str) -> Step:
    return IoPriority(origin, asked.class_, asked.priority or 0)


def _memory_policy(linux: Linux) -> Iterator[Step]:
    asked, origin = linux.memory_policy, "$.linux.memoryPolicy"
    if asked is not None and asked.mode is not None:
        yield MemoryPolicy(origin, asked.mode, parse_list(asked.nodes, origin=f"{origin}.nodes"), asked.flags)
