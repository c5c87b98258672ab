"""What the kernel has counted of a container's cgroup, and what follows from it; pure.

cgroup-v2.rst "memory.events", "cgroup.events", "pids.events"; cgroup-v1/memory.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from .._convert import convert
from .._lazy import pattern
from .._tuples import NamedTuple
from .exit_status import OomVerdict
from .notices import Empty, Event, Frozen, LimitHit, Oom, Thawed

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Above", "Counters", "Evidence", "notices", "oom_victims", "parse", "verdict"]

_VICTIM: Final = pattern(rb"Killed process (\d+) \(")
_KERNEL: Final = 8
"""Priorities below it come from the kernel: who writes to the log himself gets a higher facility."""


class Above(NamedTuple):
    """One cgroup above the container's: how often its own limit, and its own group, had to kill."""

    ooms: int = 0
    group_kills: int = 0


class Counters(NamedTuple):
    """One reading; 0 and None for what the kernel does not tell."""

    kills: int = 0
    """Of the container and of all cgroups below its own."""
    own_kills: int = 0
    ooms: int = 0
    """How often the limit of the container, or one below it, left nothing but killing."""
    group_kills: int = 0
    high: int = 0
    max: int = 0
    pids_max: int = 0
    populated: bool | None = None
    frozen: bool | None = None
    stuck: bool = False
    """Out of memory, and nobody may be killed."""
    above: tuple[Above, ...] = ()

    @property
    def victims(self) -> int:
        """How many processes were killed: the kernel counts the first one of each group twice.

        Once by itself, and once more with the others: oom_kill_process().
        """
        return self.kills - min(self.group_kills, max(0, self.kills - 1))

    def remembered(self) -> dict[str, object]:
        """Give what another process needs to compare its own readings with, as plain data."""
        if not any(self):
            return {}
        above = [list(each) for each in self.above]
        return {"kills": self.kills, "ooms": self.ooms, "group_kills": self.group_kills, "above": above}

    @classmethod
    def recalled(cls, known: object) -> Counters:
        """Read back what `remembered` gave; what is not of that form counts as nothing."""
        try:
            return convert(known, _Remembered).counters()
        except msgspec.ValidationError:
            return cls()


class _Remembered(msgspec.Struct, frozen=True):
    kills: int = 0
    ooms: int = 0
    group_kills: int = 0
    above: tuple[tuple[int, int], ...] = ()

    def counters(self) -> Counters:
        above = tuple(Above(*each) for each in self.above)
        return Counters(kills=self.kills, ooms=self.ooms, group_kills=self.group_kills, above=above)


class Evidence(NamedTuple):
    """What is known of the exit of an init besides the counters."""

    killed: bool
    """By SIGKILL, which is what the out-of-memory killer sends."""
    victim: bool | None = None
    """Whether the kernel's log names it as a victim; None where that is not readable."""
    shot: bool = False
    """We ourselves have sent SIGKILL."""
    peak_bytes: int | None = None
    group: bool = False
    """memory.oom.group is set."""


def parse(text: bytes | None) -> dict[bytes, int]:
    """Read "key number" lines; what is not of that form, or no file at all, says nothing."""
    values = {}
    for line in (text or b"").splitlines():
        key, _, number = line.partition(b" ")
        if number.isdigit():
            values[key] = int(number)
    return values


def notices(id: str, before: Counters, now: Counters, at: float) -> Iterator[Event]:
    """Tell what must have happened between two readings, counts before states."""
    kills = now.victims - before.victims
    if kills > 0:
        below = max(0, now.kills - before.kills - max(0, now.own_kills - before.own_kills))
        group = now.group_kills > before.group_kills or _groups(before, now)
        yield Oom(id=id, at=at, kills=kills, below=below, group=group)
    elif now.stuck and not before.stuck:
        yield Oom(id=id, at=at, kills=0)
    if now.high > before.high:
        yield LimitHit(id=id, at=at, limit="memory.high", hits=now.high - before.high)
    if now.max > before.max:
        yield LimitHit(id=id, at=at, limit="memory.max", hits=now.max - before.max)
    if now.pids_max > before.pids_max:
        yield LimitHit(id=id, at=at, limit="pids.max", hits=now.pids_max - before.pids_max)
    if now.frozen is not None and now.frozen != bool(before.frozen):
        yield Frozen(id=id, at=at) if now.frozen else Thawed(id=id, at=at)
    if now.populated is False and before.populated:
        yield Empty(id=id, at=at)


def verdict(first: Counters, last: Counters, evidence: Evidence) -> OomVerdict | None:
    """Judge by all that happened between the first reading, at create, and the last; None: no kill.

    An exit status alone proves nothing: 137 can be a program's own, and SIGKILL anybody's.
    """
    kills = last.victims - first.victims
    if kills <= 0:
        return None
    group = last.group_kills > first.group_kills or (evidence.group and kills > 1) or _groups(first, last)
    return OomVerdict(
        kills=kills,
        init_killed=evidence.killed and (not evidence.shot if evidence.victim is None else evidence.victim),
        group=group,
        limit=_limit(first, last),
        peak_bytes=evidence.peak_bytes,
    )


def _limit(first: Counters, last: Counters) -> str:
    if last.ooms > first.ooms:
        return "container"
    return "ancestor" if any(now.ooms > then.ooms for now, then in _above(first, last)) else "host"


def _groups(first: Counters, last: Counters) -> bool:
    """Whether a cgroup above was killed as a whole, and the container with it."""
    return any(now.group_kills > then.group_kills for now, then in _above(first, last))


def _above(first: Counters, last: Counters) -> Iterator[tuple[Above, Above]]:
    """Pair the readings of what is above; without a first one nothing is held against it."""
    return zip(last.above, first.above, strict=False)


def oom_victims(records: list[bytes], since_s: float) -> set[int] | None:
    """Find the victims of the out-of-memory killer in records of /dev/kmsg, by pid of the first namespace.

    None where what is left of the log does not reach back to *since_s* (seconds since boot, as the log
    counts them).  ABI/testing/dev-kmsg.
    """
    victims = set()
    oldest_s = None
    for record in records:
        head, _, text = record.partition(b";")
        fields = head.split(b",")
        if len(fields) < 3 or not fields[0].isdigit() or not fields[2].isdigit():
            continue
        at_s = int(fields[2]) / 1e6
        oldest_s = at_s if oldest_s is None else oldest_s
        found = _VICTIM.search(text)
        if found and int(fields[0]) < _KERNEL and at_s >= since_s:
            victims.add(int(found[1]))
    return victims if oldest_s is not None and oldest_s <= since_s else None
