"""From a stream of jobs to a stream of results, with a bound on what is between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from .job import Job, JobResult

__all__ = ["Feed"]


class Feed:
    """Submits jobs while there is room, and iterates over results as they come; to be closed."""

    def __init__(
        self,
        submit: Callable[[Job], asyncio.Future[JobResult]],
        jobs: Iterable[Job] | AsyncIterable[Job],
        ahead: int,
    ) -> None:
        self._submit = submit
        self._jobs = jobs
        self._room = asyncio.Semaphore(ahead)
        self._pending: set[asyncio.Future[JobResult]] = set()
        self._done: asyncio.Queue[asyncio.Future[JobResult] | None] = asyncio.Queue()
        self._feeder = asyncio.ensure_future(self._feed())
        self._feeder.add_done_callback(lambda _: self._done.put_nowait(None))

    async def _feed(self) -> None:
        if isinstance(self._jobs, AsyncIterable):
            async for job in self._jobs:
                await self._begin(job)
        else:
            for job in self._jobs:
                await self._begin(job)

    async def _begin(self, job: Job) -> None:
        await self._room.acquire()
        future = self._submit(job)
        self._pending.add(future)
        future.add_done_callback(self._done.put_nowait)

    async def __aiter__(self) -> AsyncIterator[JobResult]:
        while not self._feeder.done() or self._pending:
            future = await self._done.get()
            if future is None:
                continue
            self._pending.discard(future)
            result = await future
            yield result
            self._room.release()
        self._feeder.result()  # what went wrong with the jobs themselves

    async def close(self) -> None:
        """Cancel what has no result yet; the farm waits for its end."""
        self._feeder.cancel()
        for future in self._pending:
            future.cancel()
        await asyncio.gather(self._feeder, *self._pending, return_exceptions=True)
