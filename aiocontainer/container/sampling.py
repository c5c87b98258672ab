"""Readings at intervals."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from .._tuples import NamedTuple
from ..errors import NotRunningError, SpecError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ..cgroups import Cgroup
    from ..cgroups.stats.reading import KeptFiles
    from ..store import State
    from .stats import Stats

__all__ = ["Accounts", "StatsStream", "check_interval"]


def check_interval(interval_s: float) -> float:
    """Return *interval_s*; `SpecError` unless it is a time that passes."""
    if not 0 < interval_s < math.inf:
        raise SpecError("an interval is a positive number of seconds", origin="interval_s")
    return interval_s


class Accounts(NamedTuple):
    """Where a container is accounted."""

    record: State
    cgroup: Cgroup


class StatsStream:
    """Readings at intervals, until the container stops; made by `Container.stats_stream`.

    The first comes at once, the others at multiples of the interval after it, however long each takes;
    moments that have passed meanwhile are left out.  A cancelled wait loses nothing: go on, or `aclose`,
    which closes the accounting files that stay open between readings.
    """

    def __init__(
        self,
        interval_s: float,
        read: Callable[[KeptFiles | None], Awaitable[tuple[Stats, KeptFiles]]],
        ended: Callable[[], Awaitable[object]],
    ) -> None:
        """*read* makes the files to keep when it is given none; *ended* returns when the container stops."""
        self._interval_s = check_interval(interval_s)
        self._read = read
        self._ended = ended
        self._kept: KeptFiles | None = None
        self._first_s: float | None = None
        self._moment = 0
        self._over = False

    def __aiter__(self) -> AsyncIterator[Stats]:
        return self

    async def __anext__(self) -> Stats:
        if self._first_s is None and not self._over:
            return await self._begin()
        if self._over or await self._ends_first():
            await self.aclose()
            raise StopAsyncIteration
        try:
            stats, self._kept = await self._read(self._kept)
        except NotRunningError:
            await self.aclose()
            raise StopAsyncIteration from None
        return stats

    async def _begin(self) -> Stats:
        """Read for the first time; `NotRunningError` where there is nothing to stream."""
        first_s = asyncio.get_running_loop().time()
        stats, self._kept = await self._read(None)
        self._first_s = first_s
        return stats

    async def _ends_first(self) -> bool:
        """Wait for the next moment; True where the container stops before."""
        assert self._first_s is not None
        passed = math.floor((asyncio.get_running_loop().time() - self._first_s) / self._interval_s)
        moment = 1 + max(passed, self._moment)  # a timer may fire a hair before its time
        try:
            async with asyncio.timeout_at(self._first_s + moment * self._interval_s):
                await self._ended()
        except TimeoutError:
            self._moment = moment
            return False
        return True

    async def aclose(self) -> None:
        """End it, and close what is open."""
        self._over = True
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()
