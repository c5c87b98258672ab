"""What can happen to a container, as values."""

from __future__ import annotations

import time
from typing import Literal, TypeAlias

from msgspec import Struct, field

from .exit_status import ExitStatus  # noqa: TC001 - msgspec reads the annotations

__all__ = [
    "Created",
    "Deleted",
    "Empty",
    "Event",
    "ExecExited",
    "Exited",
    "Frozen",
    "LimitHit",
    "Lost",
    "Oom",
    "Pressure",
    "PressureLevel",
    "Started",
    "Thawed",
    "Updated",
]

PressureLevel: TypeAlias = Literal["low", "medium", "critical"]


class Event(Struct, frozen=True, kw_only=True):
    """Something that has happened; its class says what."""

    id: str
    """Of the container."""
    at: float = field(default_factory=time.time)
    """Seconds since the epoch, when it was noticed."""


class Created(Event, frozen=True, kw_only=True):
    """A container came, and waits to be started."""

    pid: int
    """Of its init, in our pid namespace."""


class Started(Event, frozen=True, kw_only=True):
    """Its program runs."""


class Oom(Event, frozen=True, kw_only=True):
    """The out-of-memory killer was there.  cgroup-v2.rst "memory.events", cgroup-v1/memory.rst."""

    kills: int
    """How many processes it has killed since the last such event.

    0: nobody may be killed (oom_kill_disable of v1), so whatever needs memory stands still.
    """
    below: int = 0
    """How many of them were in cgroups that the container itself has made."""
    group: bool = False
    """It killed the whole cgroup: memory.oom.group."""


class LimitHit(Event, frozen=True, kw_only=True):
    """A limit was reached, without anything being killed for it."""

    limit: Literal["memory.high", "memory.max", "pids.max"]
    hits: int
    """How often since the last such event."""


class Pressure(Event, frozen=True, kw_only=True):
    """Too much time is lost by waiting for a resource.  accounting/psi.rst, cgroup-v1/memory.rst."""

    resource: Literal["memory", "cpu", "io"]
    """What is waited for."""
    level: PressureLevel | None
    """None where thresholds were given instead."""


class Frozen(Event, frozen=True, kw_only=True):
    """All its processes stand still."""


class Thawed(Event, frozen=True, kw_only=True):
    """Its processes go on."""


class Empty(Event, frozen=True, kw_only=True):
    """The last process in its cgroup has ended."""


class Updated(Event, frozen=True, kw_only=True):
    """Its limits were changed."""


class ExecExited(Event, frozen=True, kw_only=True):
    """A process that exec had added has ended."""

    pid: int
    """As `Process.pid` said."""
    exit: ExitStatus


class Exited(Event, frozen=True, kw_only=True):
    """Its init has ended."""

    exit: ExitStatus


class Deleted(Event, frozen=True, kw_only=True):
    """It was removed."""


class Lost(Event, frozen=True, kw_only=True):
    """Events did not fit into the queue of a consumer that lags: they are gone."""

    id: str = ""
    """None in particular."""
    count: int
    """How many."""
