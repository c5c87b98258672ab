"""What happens in the cgroup of one container, found out when the kernel says that something has."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, Protocol

from .._tuples import NamedTuple
from ..errors import UnsupportedError
from ..plan.host import CgroupMode
from . import triggers
from .counters import Above, Counters, Evidence, notices, oom_victims, parse, verdict
from .notices import Exited, Frozen, Pressure, Thawed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._aio import OwnedFd
    from .exit_status import ExitStatus, OomVerdict
    from .notices import Event
    from .stream import Exchange
    from .triggers import Threshold, Trigger

__all__ = ["Armed", "CgroupFiles", "Last", "Monitor", "first_reading"]

_SETTLING_S: Final = (0.001, 0.005, 0.025, 0.1, 0.5)
"""When to look again after v1's notice, which comes before the kill."""

_WATCHED: Final = (("memory", "memory.events"), ("pids", "pids.events"), ("", "cgroup.events"))

_SLACK_S: Final = 1.0
_DRIFT: Final = 1e-4
"""How far the log's clock may be away from the monotonic one, which NTP slews."""

_FIRST_PID_NAMESPACE: Final = 0xEFFFFFFC  # <linux/proc_ns.h>: PROC_PID_INIT_INO
_RECORD_BYTES: Final = 8192


class CgroupFiles(Protocol):
    """The files of a cgroup, as `cgroups.CgroupFiles` gives them."""

    mode: CgroupMode
    home: str
    """Where the container's processes live, as a path below it; "" is in itself."""

    def path(self, controller: str) -> str | None:
        """Return the directory, None where there is none."""

    def has(self, controller: str, file: str) -> bool:
        """Tell whether a file is there."""

    def read(self, controller: str, file: str, *, up: int = 0) -> bytes | None:
        """Read a file of it, or of the one *up* levels above."""

    def read_below(self, controller: str, file: str) -> list[bytes]:
        """Read a file in all cgroups below."""

    def open(self, controller: str, file: str, *, flags: int = os.O_RDONLY) -> OwnedFd | None:
        """Open a file."""

    def levels_above(self, controller: str) -> int:
        """Count those above it."""


class Last(NamedTuple):
    """The reading that was taken when the init had ended."""

    counters: Counters
    evidence: Evidence


class Armed(NamedTuple):
    """What came of arming: watches, and the readings before and after."""

    watches: tuple[Closable, ...]
    triggers: dict[Threshold, Trigger]
    oom: Trigger | None
    before: Counters
    after: Counters

    def close(self) -> None:
        """Disarm."""
        for each in (*self.watches, *self.triggers.values()):
            each.close()
        if self.oom is not None:
            self.oom.close()


class Closable(Protocol):
    """Whatever has to be closed."""

    def close(self) -> None:
        """Close it."""


def first_reading(files: CgroupFiles, *, fresh: bool) -> Counters:
    """Read what later readings are compared with; in a thread, before anything runs in the cgroup.

    In a *fresh* one nothing has been counted yet, but in those above it.
    """
    if fresh:
        return Counters(above=_above(files))
    return _all_counters(files)._replace(populated=None, frozen=None)


class Monitor:
    """The readings of one container, compared one with the next.

    `read`, `read_last` and `arm` block briefly and run in a thread; all else belongs to the loop.
    """

    def __init__(
        self, id: str, files: CgroupFiles, first: Counters, exchange: Exchange, *, pid: int = 0
    ) -> None:
        self.id = id
        self.pid = pid
        self.armed: Armed | None = None
        self.ended: bool = False
        self.last: Last | None = None
        self.shot: bool = False
        """We ourselves have sent SIGKILL to the init while it lived."""
        self._files = files
        self._first = first
        self._seen = first
        self._exchange = exchange
        self._settling = 0
        self._frozen = False
        self._told = 0
        """How often we were told that it stands still or goes on."""
        self._read_at = 0
        """What that was when the latest reading began: what it says of it may be old."""
        self._since_s = time.monotonic()

    # In a thread ------------------------------------------------------------------------------------

    def has_memory(self) -> bool:
        """Whether its memory is accounted, so that the kernel can tell of kills."""
        file = "memory.oom_control" if self._files.mode is CgroupMode.V1 else "memory.events"
        return self._files.has("memory", file)

    def read(self) -> Counters:
        """Take a reading."""
        self._read_at = self._told
        counters = _counters(self._files)
        if counters.kills > self._seen.kills:
            return _with_details(self._files, counters)
        return counters._replace(own_kills=self._seen.own_kills, above=self._seen.above)

    def read_last(self, killed: bool | None) -> Last:
        """Take the last reading; *killed*: whether the init ended by SIGKILL, None if that is not known."""
        counters = self.read() if self.armed is not None else self._read_kills()
        if counters.kills < self._seen.kills:  # a service manager was faster: what was seen is all there is
            counters = self._seen._replace(populated=False)
        if counters.kills <= self._first.kills:
            return Last(counters, Evidence(bool(killed)))
        return Last(counters, self._evidence(killed))

    def _read_kills(self) -> Counters:
        """Read no more than is needed as long as nobody was killed."""
        kills = _kills(self._files)
        return self._seen if kills <= self._seen.kills else self.read()

    def _evidence(self, killed: bool | None) -> Evidence:
        v1 = self._files.mode is CgroupMode.V1
        peak = self._files.read("memory", "memory.max_usage_in_bytes" if v1 else "memory.peak")
        group = self._files.read("memory", "memory.oom.group")
        victims = None if killed is False else _logged_victims(self._since_s * (1 - _DRIFT) - _SLACK_S)
        victim = None if victims is None else self.pid in victims
        return Evidence(
            killed=bool(victim) if killed is None else killed,
            victim=victim,
            shot=self.shot,
            peak_bytes=int(peak) if peak and peak.strip().isdigit() else None,
            group=group is not None and group.strip() == b"1",
        )

    def arm(
        self,
        watch: Callable[[int], Closable],
        wanted: set[Threshold],
        *,
        from_first: bool,
    ) -> Armed:
        """Have the kernel tell of changes; a reading before and one after, so that none is missed.

        *from_first*: what has happened since the first reading is news.
        """
        self._read_at = self._told
        before = _all_counters(self._files)
        if from_first:
            before = self._first._replace(populated=before.populated, frozen=before.frozen)
        watches: list[Closable] = []
        pressures: dict[Threshold, Trigger] = {}
        oom = None
        try:
            for controller, file in _WATCHED:
                fd = self._files.open(controller, file)
                if fd is not None:
                    with fd:
                        watches.append(watch(fd.fileno()))
            if self._files.mode is CgroupMode.V1:
                oom = triggers.oom_trigger(self._files)
            for threshold in wanted:
                pressures[threshold] = triggers.open_trigger(self._files, threshold)
            after = _all_counters(self._files)
        except BaseException:
            Armed(tuple(watches), pressures, oom, before, before).close()
            raise
        return Armed(tuple(watches), pressures, oom, before, after)

    def arm_more(self, wanted: set[Threshold]) -> dict[Threshold, Trigger]:
        """Arm thresholds that nobody had wanted before."""
        made: dict[Threshold, Trigger] = {}
        try:
            for threshold in wanted:
                made[threshold] = triggers.open_trigger(self._files, threshold)
        except BaseException:
            for trigger in made.values():
                trigger.close()
            raise
        return made

    def require_memory(self) -> None:
        """Raise UnsupportedError where kills would never be told of."""
        if not self.has_memory():
            raise UnsupportedError(
                "out-of-memory events", needs=f"a memory cgroup for container {self.id!r}: give it a limit"
            )

    # On the loop ------------------------------------------------------------------------------------

    def take(self, armed: Armed, woke: Callable[[Monitor], object]) -> None:
        """Take over what was armed, and tell what happened meanwhile."""
        self.armed = armed
        if armed.oom is not None:
            armed.oom.watch(lambda: self._oom(woke))
        for threshold, trigger in armed.triggers.items():
            self._watch_pressure(threshold, trigger)
        self._seen = armed.before
        self.seen(armed.after)

    def take_more(self, made: dict[Threshold, Trigger]) -> None:
        """Take over further thresholds."""
        assert self.armed is not None
        for threshold, trigger in made.items():
            self.armed.triggers[threshold] = trigger
            self._watch_pressure(threshold, trigger)

    def disarm(self) -> None:
        """Have the kernel tell nothing any more."""
        armed, self.armed = self.armed, None
        if armed is not None:
            armed.close()

    def trim(self) -> None:
        """Let go of what nobody listens to any more."""
        if self.armed is None:
            return
        if not self._exchange.listens(self.id):
            self.disarm()
            return
        wanted = self._exchange.thresholds(self.id)
        for threshold in [each for each in self.armed.triggers if each not in wanted]:
            self.armed.triggers.pop(threshold).close()

    def seen(self, now: Counters) -> bool:
        """Tell what has happened since the reading before; whether somebody was killed."""
        before = self._seen
        if now.frozen is None or self.is_old:
            now = now._replace(frozen=before.frozen)
        self._seen = now
        for event in notices(self.id, before, now, time.time()):
            if isinstance(event, Frozen | Thawed):
                self._froze(isinstance(event, Frozen))
            else:
                self._exchange.publish(event)
        return now.kills > before.kills

    @property
    def is_old(self) -> bool:
        """Whether we were told that it stands still or goes on since the latest reading began."""
        return self._read_at != self._told

    def froze(self, frozen: bool) -> None:
        """Be told that it stands still, or goes on, by whoever has made it."""
        self._told += 1
        self._froze(frozen)

    def _froze(self, frozen: bool) -> None:
        """Tell that it stands still, or goes on, once, whoever has noticed it."""
        if frozen is not self._frozen:
            self._frozen = frozen
            self._seen = self._seen._replace(frozen=frozen)
            self._exchange.publish(Frozen(id=self.id) if frozen else Thawed(id=self.id))

    def again_in_s(self, *, killed: bool) -> float | None:
        """After v1's notice: when to look again, until somebody was killed, but not for ever."""
        if self._settling == 0:
            return None
        if killed or self._settling > len(_SETTLING_S) or self.ended:
            self._settling = 0
            return None
        self._settling += 1
        return _SETTLING_S[self._settling - 2]

    def conclude(self, last: Last) -> None:
        """Take the last reading, and end all streams of this container; only once."""
        if self.last is None:
            self.last = last
            self.seen(last.counters)

    def verdict(self) -> OomVerdict | None:
        """Judge by the last reading; None while there is none."""
        return None if self.last is None else verdict(self._first, self.last.counters, self.last.evidence)

    def exited(self, exit: ExitStatus) -> None:
        """Tell of the exit, after everything else."""
        if not self.ended:
            self.ended = True
            self._exchange.publish(Exited(id=self.id, exit=exit))
            self._exchange.finish(self.id)
            self.disarm()

    def publish(self, event: Event) -> None:
        """Tell of what the kernel does not know."""
        self._exchange.publish(event)

    def _oom(self, woke: Callable[[Monitor], object]) -> None:
        self._settling = 1
        woke(self)

    def _watch_pressure(self, threshold: Threshold, trigger: Trigger) -> None:
        def passed() -> None:
            event = Pressure(id=self.id, resource=threshold.resource, level=threshold.level)
            self._exchange.publish(event, threshold)

        trigger.watch(passed)


def _counters(files: CgroupFiles) -> Counters:
    state = parse(files.read("", "cgroup.events"))
    populated = bool(state[b"populated"]) if b"populated" in state else None
    frozen = bool(state[b"frozen"]) if b"frozen" in state else None
    pids = parse(files.read("pids", "pids.events")).get(b"max", 0)
    if files.mode is not CgroupMode.V1:
        memory = parse(files.read("memory", "memory.events"))
        return Counters(
            kills=memory.get(b"oom_kill", 0),
            ooms=memory.get(b"oom", 0),
            group_kills=memory.get(b"oom_group_kill", 0),
            high=memory.get(b"high", 0),
            max=memory.get(b"max", 0),
            pids_max=pids,
            populated=populated,
            frozen=frozen,
        )
    control = parse(files.read("memory", "memory.oom_control"))
    failures = _number(files.read("memory", "memory.failcnt"))
    return Counters(
        kills=_kills(files),
        ooms=failures,
        max=failures,
        pids_max=pids,
        populated=populated,
        # The freezer of v1 tells nobody, and the one of cgroup2 beside it knows nothing of that.
        frozen=frozen if files.path("freezer") is None else None,
        stuck=bool(control.get(b"oom_kill_disable") and control.get(b"under_oom")),
    )


def _all_counters(files: CgroupFiles) -> Counters:
    return _with_details(files, _counters(files))


def _with_details(files: CgroupFiles, counters: Counters) -> Counters:
    """Add what changes only with the number of kills."""
    if files.mode is CgroupMode.V1:
        own: int | None = parse(files.read("memory", "memory.oom_control")).get(b"oom_kill", 0)
    else:
        home = f"{files.home}/" if files.home else ""
        own = parse(files.read("memory", f"{home}memory.events.local")).get(b"oom_kill")
    return counters._replace(own_kills=counters.kills if own is None else own, above=_above(files))


def _kills(files: CgroupFiles) -> int:
    """Count the victims; v1 counts those below a cgroup there alone."""
    if files.mode is not CgroupMode.V1:
        return parse(files.read("memory", "memory.events")).get(b"oom_kill", 0)
    texts = [files.read("memory", "memory.oom_control"), *files.read_below("memory", "memory.oom_control")]
    return sum(parse(text).get(b"oom_kill", 0) for text in texts)


def _above(files: CgroupFiles) -> tuple[Above, ...]:
    """Read what the cgroups above count of themselves alone."""
    levels = range(1, files.levels_above("memory") + 1)
    if files.mode is CgroupMode.V1:
        return tuple(Above(_number(files.read("memory", "memory.failcnt", up=up))) for up in levels)
    local = (parse(files.read("memory", "memory.events.local", up=up)) for up in levels)
    return tuple(Above(each.get(b"oom", 0), each.get(b"oom_group_kill", 0)) for each in local)


def _number(text: bytes | None) -> int:
    return int(text) if text and text.strip().isdigit() else 0


def _logged_victims(since: float) -> set[int] | None:
    """Read the kernel's log for victims since a moment of the monotonic clock; None where it says nothing."""
    try:
        if os.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE:
            return None
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    records = []
    try:
        while True:
            try:
                records.append(os.read(log, _RECORD_BYTES))
            except BrokenPipeError:
                continue  # overwritten while we read
            except OSError:
                break
    finally:
        os.close(log)
    return oom_victims(records, since)
