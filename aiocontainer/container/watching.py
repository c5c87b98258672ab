"""What a container tells of itself: its streams of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .._aio import in_thread
from ..events import Deleted, Event, ExecExited, Exited, Interest, Oom, Pressure, Started, Updated, threshold

if TYPE_CHECKING:
    from ..events import Events, Lost, Monitor, Watcher
    from .process import Process

__all__ = ["Watching"]

E = TypeVar("E", bound=Event)


class Watching:
    """The events of one container; *process* is None where it had ended before we came."""

    def __init__(self, watcher: Watcher, monitor: Monitor, process: Process | None) -> None:
        self._watcher = watcher
        self.monitor = monitor
        """What is known of its cgroup."""
        self._process = process
        self._started = False
        self._deleted = False
        watcher.add(monitor)
        if process is not None:
            process.observe(watcher, monitor)

    @property
    def id(self) -> str:
        """Of the container."""
        return self.monitor.id

    def tell(self, event: Event) -> None:
        """Tell of what was done to it."""
        self.monitor.publish(event)

    def started(self, *, told: bool = True) -> None:
        """Tell that it was started, once, whoever has done it; or know of it without telling."""
        if not self._started and told:
            self.tell(Started(id=self.id))
        self._started = True

    def deleted(self) -> None:
        """Tell that it is gone, once."""
        if not self._deleted:
            self._deleted = True
            self.tell(Deleted(id=self.id))

    def updated(self) -> None:
        """Tell that its limits were changed."""
        self.tell(Updated(id=self.id))

    def exec_exited(self, process: Process) -> None:
        """Tell that a process which exec had added has ended."""
        assert process.exit is not None
        self.tell(ExecExited(id=self.id, pid=process.pid, exit=process.exit))

    def froze(self, frozen: bool) -> None:
        """Tell that it stands still, or goes on; nothing if that is known."""
        self.monitor.froze(frozen)

    def shot(self) -> None:
        """Note that SIGKILL was sent to all of it."""
        self.monitor.shot = True

    async def arm_fresh(self) -> None:
        """Have everything watched that somebody listens to, while nothing of the user's runs."""
        await self._watcher.arm(fresh=self.monitor)

    def all(self, pressure: str | None, limit: int) -> Events[Event]:
        """Return everything until the init has ended."""
        wanted = None if pressure is None else threshold(pressure)
        return self._until_exit(Interest(self.id, threshold=wanted), limit)

    def ooms(self, limit: int) -> Events[Oom | Lost]:
        """Return kills alone."""

        async def prepare() -> None:
            await in_thread(self.monitor.require_memory)

        interest = Interest(self.id, kinds=(Oom,))
        consumer: Events[Oom | Lost] = self._watcher.events(interest, limit=limit, prepare=prepare)
        return self._end_if_ended(consumer)

    def pressure(
        self,
        level: str | None,
        resource: str,
        some: float | None,
        full: float | None,
        window_s: float,
        limit: int,
    ) -> Events[Pressure | Lost]:
        """Return moments of too much pressure."""
        wanted = threshold(level, resource=resource, some=some, full=full, window_s=window_s)
        return self._until_exit(Interest(self.id, kinds=(Pressure,), threshold=wanted), limit)

    def _until_exit(self, interest: Interest, limit: int) -> Events[Any]:
        return self._end_if_ended(self._watcher.events(interest, limit=limit))

    def _end_if_ended(self, consumer: Events[E]) -> Events[E]:
        """Whoever comes late is told of the exit alone."""
        if self._process is None:
            consumer.finish()
        elif self.monitor.ended and self._process.exit is not None:
            if consumer.interest.kinds == (Event,):
                consumer.put(Exited(id=self.id, exit=self._process.exit))
            consumer.finish()
        return consumer

    def close(self) -> None:
        """Watch it no longer."""
        self._watcher.discard(self.monitor)
