"""Events on their way to consumers: a queue for each, bounded, that says how many it had to drop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast
from weakref import WeakSet

from .notices import Event, Lost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from .triggers import Threshold

__all__ = ["Events", "Exchange", "Interest"]

E = TypeVar("E", bound=Event)

LIMIT = 1024
"""How many events wait for a consumer before further ones are dropped, and counted."""


class Interest:
    """What one consumer wants: of one container or of all, of some kinds or of all."""

    __slots__ = ("id", "kinds", "threshold")

    def __init__(
        self,
        id: str | None = None,
        kinds: tuple[type[Event], ...] = (Event,),
        threshold: Threshold | None = None,
    ) -> None:
        self.id: str | None = id
        self.kinds: tuple[type[Event], ...] = kinds
        self.threshold: Threshold | None = threshold
        """Pressure that it wants to be told of; None: of none."""

    def covers(self, id: str) -> bool:
        """Whether it is about that container."""
        return self.id is None or self.id == id

    def accepts(self, event: Event, threshold: Threshold | None) -> bool:
        """Whether it is about that event, which passing *threshold* has caused, if one did."""
        return self.covers(event.id) and isinstance(event, self.kinds) and threshold in (None, self.threshold)


class Events(Generic[E]):
    """Events as they come, to be iterated by one consumer; it hears of all from the call on.

    Who lags by more than *limit* events loses the newest ones, and gets a `Lost` with their number in
    their place.  ``async with`` waits until everything is watched, which else the first step does.
    Leaving the loop is enough to end it: nothing has to be closed, but `aclose` does it at once.
    """

    def __init__(
        self,
        interest: Interest,
        *,
        limit: int = LIMIT,
        prepare: Callable[[], Awaitable[object]] | None = None,
        dropped: Callable[[], object] = lambda: None,
    ) -> None:
        """Belongs to the running loop; *prepare* is awaited once, *dropped* called at the end."""
        self.interest = interest
        self._limit = limit
        self._prepare = prepare
        self._dropped = dropped
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Event] = deque()
        self._lost = 0
        self._ended = False
        self._wakers: deque[asyncio.Future[None]] = deque()
        self._turn = asyncio.Lock()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    def put(self, event: Event) -> None:
        """Hand over one event."""
        if self._ended:
            return
        if len(self._queue) >= self._limit:
            self._lost += 1
            return
        if self._lost:
            self._queue.append(self._take_lost())
        self._queue.append(event)
        self._wake()

    def finish(self) -> None:
        """End the stream once what is queued has been taken."""
        self._ended = True
        self._wake()

    async def aclose(self) -> None:
        """End it now; what is queued is dropped."""
        self._queue.clear()
        self._lost = 0
        self.finish()
        self._dropped()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        await self._prepared()
        while True:
            if self._queue:
                return cast("E", self._queue.popleft())
            if self._lost:
                return cast("E", self._take_lost())
            if self._ended:
                self._wake()  # others that wait for this one's end
                raise StopAsyncIteration
            await self._changed()

    async def __aenter__(self) -> Self:
        await self._prepared()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._ended and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._dropped)

    async def _prepared(self) -> None:
        if self._prepare is None:
            return
        async with self._turn:
            if self._prepare is not None:
                await self._prepare()
                self._prepare = None

    async def _changed(self) -> None:
        waker = self._loop.create_future()
        self._wakers.append(waker)
        try:
            await waker
        except asyncio.CancelledError:
            if waker.done() and not waker.cancelled():
                self._wake()  # it was our turn: the next one's now
            raise
        finally:
            if waker in self._wakers:
                self._wakers.remove(waker)

    def _wake(self) -> None:
        while self._wakers:
            waker = self._wakers.popleft()
            if not waker.done():
                waker.set_result(None)
                return

    def _take_lost(self) -> Lost:
        lost, self._lost = self._lost, 0
        return Lost(count=lost)


class Exchange:
    """Where events come in and go out to every consumer that is there."""

    def __init__(self) -> None:
        self._consumers: WeakSet[Events[Any]] = WeakSet()

    def add(self, consumer: Events[Any]) -> None:
        """Let it hear of everything from now on."""
        self._consumers.add(consumer)

    def discard(self, consumer: Events[Any]) -> None:
        """Forget a consumer that was closed."""
        self._consumers.discard(consumer)

    def publish(self, event: Event, threshold: Threshold | None = None) -> None:
        """Give an event to whom it concerns."""
        for consumer in tuple(self._consumers):
            if consumer.interest.accepts(event, threshold):
                consumer.put(event)

    def listens(self, id: str) -> bool:
        """Whether anybody wants to hear of that container."""
        return any(True for _ in self._concerned(id))

    def listens_to_all(self) -> bool:
        """Whether anybody wants to hear of every container."""
        return any(each.interest.id is None and not each.ended for each in tuple(self._consumers))

    def thresholds(self, id: str) -> set[Threshold]:
        """Return the pressure that consumers want to be told of."""
        wanted = (each.interest.threshold for each in self._concerned(id))
        return {threshold for threshold in wanted if threshold is not None}

    def finish(self, id: str | None = None) -> None:
        """End the streams of one container, or all."""
        for consumer in tuple(self._consumers):
            if id is None or consumer.interest.id == id:
                consumer.finish()

    def _concerned(self, id: str) -> Iterator[Events[Any]]:
        return (each for each in tuple(self._consumers) if not each.ended and each.interest.covers(id))
