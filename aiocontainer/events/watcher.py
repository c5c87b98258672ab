"""Watches all containers of a runtime: what is to be read is read in batches, in one hop to a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .._aio import finish, in_thread
from .._tuples import NamedTuple
from ..errors import ContainerError
from .monitor import Armed, Last, Monitor
from .stream import LIMIT, Events, Exchange, Interest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .counters import Counters
    from .exit_status import ExitStatus
    from .triggers import Threshold, Trigger

__all__ = ["Watcher"]


class _Request(NamedTuple):
    """A reading that is asked for: the last one, where `exit` says how the init ended."""

    waiter: asyncio.Future[None]
    killed: bool | None = None
    exit: Callable[[], ExitStatus] | None = None


class _Outcome(NamedTuple):
    """What arming one container came to."""

    monitor: Monitor
    armed: Armed | None = None
    more: dict[Threshold, Trigger] = {}  # noqa: RUF012 - never written to
    error: Exception | None = None


class Watcher:
    """One for each runtime, on one loop.  While nobody listens it holds no descriptor and no task."""

    def __init__(self) -> None:
        self.exchange: Exchange = Exchange()
        self._monitors: dict[str, Monitor] = {}
        self._asked: dict[Monitor, _Request] = {}
        self._reading: asyncio.Task[None] | None = None
        self._arming = asyncio.Lock()
        self._closed = False
        self.on_dropped: Callable[[], object] = lambda: None
        """Called when a consumer has gone."""

    async def close(self) -> None:
        """End all streams, and watch nothing any more."""
        self._closed = True
        self.exchange.finish()
        for monitor in tuple(self._monitors.values()):
            self.discard(monitor)
        if self._reading is not None:
            await asyncio.wait([self._reading])

    # Consumers --------------------------------------------------------------------------------------

    def events(
        self,
        interest: Interest,
        *,
        limit: int = LIMIT,
        prepare: Callable[[], Awaitable[object]] | None = None,
    ) -> Events[Any]:
        """Let somebody listen; *prepare* is awaited before the containers of interest are armed."""

        async def prepared() -> None:
            if prepare is not None:
                await prepare()
            await self.arm()

        consumer: Events[Any] = Events(interest, limit=limit, prepare=prepared, dropped=self._dropped)
        self.exchange.add(consumer)
        if self._closed:
            consumer.finish()
        return consumer

    def _dropped(self) -> None:
        for monitor in tuple(self._monitors.values()):
            monitor.trim()
        if not self._closed:
            self.on_dropped()

    # Containers -------------------------------------------------------------------------------------

    def add(self, monitor: Monitor) -> None:
        """Watch one more container, as far as somebody listens."""
        self._monitors[monitor.id] = monitor

    def discard(self, monitor: Monitor) -> None:
        """Watch a container no longer."""
        monitor.disarm()
        if self._monitors.get(monitor.id) is monitor:
            del self._monitors[monitor.id]

    async def arm(self, *, fresh: Monitor | None = None) -> None:
        """Arm whatever somebody listens to, or a *fresh* container alone: of that everything is news.

        Raises what was in the way, after arming all that could be: UnsupportedError, CgroupError,
        WatchError.
        """
        async with self._arming:
            # Not all others again: a thousand that live would make each new one dearer.
            concerned = self._monitors.values() if fresh is None else (fresh,)
            targets = [each for each in concerned if self._lacks(each)]
            if targets:
                await finish(lambda: self._arm(targets, fresh))

    def _lacks(self, monitor: Monitor) -> bool:
        if monitor.ended or not self.exchange.listens(monitor.id):
            return False
        return monitor.armed is None or bool(self._missing(monitor))

    def _missing(self, monitor: Monitor) -> set[Threshold]:
        armed = set() if monitor.armed is None else set(monitor.armed.triggers)
        return self.exchange.thresholds(monitor.id) - armed

    async def _arm(self, targets: Sequence[Monitor], fresh: Monitor | None) -> None:
        loop = asyncio.get_running_loop()
        plan = [(monitor, self._missing(monitor), monitor.armed is None) for monitor in targets]

        def arm(monitor: Monitor, missing: set[Threshold], whole: bool) -> _Outcome:
            from . import inotify  # only those who listen pay for it

            try:
                if not whole:
                    return _Outcome(monitor, more=monitor.arm_more(missing))
                changed = lambda _: self._ask(monitor)  # noqa: E731
                armed = monitor.arm(
                    lambda fd: inotify.watch(loop, fd, changed), missing, from_first=monitor is fresh
                )
                return _Outcome(monitor, armed)
            except (ContainerError, OSError) as exc:
                return _Outcome(monitor, error=exc)

        outcomes = await in_thread(lambda: [arm(*each) for each in plan])
        for outcome in outcomes:
            self._take(outcome)
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error

    def _take(self, outcome: _Outcome) -> None:
        monitor = outcome.monitor
        if outcome.armed is not None:
            monitor.take(outcome.armed, self._ask)
        elif outcome.error is None:
            monitor.take_more(outcome.more)
        if monitor.ended or self._monitors.get(monitor.id) is not monitor:
            monitor.disarm()

    # Readings ---------------------------------------------------------------------------------------

    def conclude(
        self, monitor: Monitor, killed: bool | None, exit: Callable[[], ExitStatus]
    ) -> asyncio.Future[None]:
        """Take the last reading of a container whose init has ended, then tell of the exit.

        *killed*: by SIGKILL; None where that is not known.
        """
        return self._request(monitor, killed, exit)

    def _ask(self, monitor: Monitor) -> None:
        """Have it read soon: once, however often that is asked for until then."""
        if monitor not in self._asked and not monitor.ended:
            self._request(monitor)

    def _request(
        self, monitor: Monitor, killed: bool | None = None, exit: Callable[[], ExitStatus] | None = None
    ) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        request = self._asked.get(monitor) or _Request(loop.create_future())
        self._asked[monitor] = request if exit is None else _Request(request.waiter, killed, exit)
        if self._reading is None:
            self._reading = loop.create_task(self._read_all())
        return request.waiter

    async def _read_all(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                await self._read_each(tuple(asked.items()))
        finally:
            self._reading = None

    async def _read_each(self, asked: Sequence[tuple[Monitor, _Request]]) -> None:
        readings = await in_thread(lambda: [_reading(*each) for each in asked])
        for (monitor, request), reading in zip(asked, readings, strict=True):
            self._read(monitor, request, reading)

    def _read(self, monitor: Monitor, request: _Request, reading: Counters | Last | None) -> None:
        if request.exit is not None:
            if isinstance(reading, Last):
                monitor.conclude(reading)
            monitor.exited(request.exit())
        elif reading is not None and not isinstance(reading, Last) and not monitor.ended:
            again_s = monitor.again_in_s(killed=monitor.seen(reading))
            if again_s is not None:
                asyncio.get_running_loop().call_later(again_s, self._ask, monitor)
            if monitor.is_old:
                self._ask(monitor)
        request.waiter.set_result(None)


def _reading(monitor: Monitor, request: _Request) -> Counters | Last | None:
    """Read, in a thread; None where that fails: the cgroup is somebody else's now, or half gone."""
    try:
        return monitor.read() if request.exit is None else monitor.read_last(request.killed)
    except (ContainerError, OSError):
        return None
