"""A farm over many machines: Dask distributed has the jobs, each of its workers a runtime of its own.

``pip install aiocontainer[dask]`` here and there.  A worker takes as many jobs at once as it has threads.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from typing import TYPE_CHECKING, Any, Self

from .._aio import finish
from ..errors import UnsupportedError, WorkerLostError
from .farm import FarmMetrics
from .feed import Feed
from .job import Job, JobResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
    from types import TracebackType

__all__ = ["DaskFarm"]


class DaskFarm:
    """Runs jobs as `Farm` does, on the workers of a Dask cluster; used as ``async with``.

    The job of a worker that goes away is done by another one, so it may begin more than once; its result
    comes once.  Where that happens too often, which is the scheduler's setting ``allowed-failures``, the
    result's error is `WorkerLostError`.
    """

    def __init__(
        self,
        client: Any,
        *,
        alive: int | None = None,
        starting: int | None = None,
        memory_bytes: int | None = None,
        progress: Callable[[FarmMetrics], object] | None = None,
        root: str | os.PathLike[str] | None = None,
        cgroups: str = "auto",
    ) -> None:
        """*client* is a ``distributed.Client`` with ``asynchronous=True``, and stays the caller's.

        *alive*, *starting* and *memory_bytes* bound what one worker does, as in `Farm`; *root* and *cgroups*
        are for its `Runtime`.
        """
        if not client.asynchronous:
            raise UnsupportedError("a synchronous client", needs="Client(asynchronous=True)", origin="client")
        self._client = client
        self._name = f"aiocontainer-{os.urandom(8).hex()}"
        self._runtime = {"root": os.fspath(root) if root is not None else None, "cgroups": cgroups}
        self._farm = {"alive": alive, "starting": starting, "memory_bytes": memory_bytes}
        self._progress = progress
        self._numbers = itertools.count()
        self._pending: set[asyncio.Future[JobResult]] = set()
        self._running: set[str] = set()
        self._slots = 1
        self._succeeded = self._failed = self._cancelled = self._retried = 0
        self._closed = False

    async def __aenter__(self) -> Self:
        """Have every worker open a runtime, also those that will come."""
        from ._worker import LocalFarm

        try:
            await self._client.register_plugin(
                LocalFarm(self._name, self._runtime, self._farm), name=self._name
            )
            self._client.subscribe_topic(self._name, lambda event: self._running.add(event[1]))
            self._slots = max(1, sum((await self._client.nthreads()).values()))
        except BaseException:
            await finish(self._end)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while exc is None and self._pending:
                await asyncio.wait(self._pending)
        finally:
            self._closed = True
            await finish(self._end)

    def submit(self, job: Job) -> asyncio.Future[JobResult]:
        """Have *job* done somewhere; the future has its result.  Cancelling the future ends the job."""
        if self._closed:
            raise RuntimeError("the farm is closed")
        task = asyncio.ensure_future(self._do(job))
        self._pending.add(task)
        task.add_done_callback(self._count)
        return task

    async def results(
        self, jobs: Iterable[Job] | AsyncIterable[Job], *, ahead: int | None = None
    ) -> AsyncIterator[JobResult]:
        """Do *jobs* and give their results as they come; as `Farm.results`.

        *ahead* None is twice what all workers together take at once.
        """
        feed = Feed(self.submit, jobs, ahead or 2 * self._slots)
        try:
            async for result in feed:
                yield result
        finally:
            await finish(feed.close)

    @property
    def metrics(self) -> FarmMetrics:
        """How the jobs stand, as far as workers have told; starting ones count as running."""
        running = len(self._running)
        return FarmMetrics(
            waiting=max(0, len(self._pending) - running),
            starting=0,
            running=running,
            succeeded=self._succeeded,
            failed=self._failed,
            cancelled=self._cancelled,
            retried=self._retried,
            alive_limit=self._slots,
        )

    # ------------------------------------------------------------------------------------------------

    async def _do(self, job: Job) -> JobResult:
        from distributed import KilledWorker

        from ._worker import run_job

        key, since = f"{self._name}-{next(self._numbers)}", time.monotonic()
        task = self._client.submit(
            run_job, self._name, key, job, key=key, pure=False, priority=job.priority, retries=0
        )
        try:
            return JobResult(job=job, **await task)
        except KilledWorker as exc:
            error = WorkerLostError(getattr(exc.last_worker, "address", "") or "unknown")
            return JobResult(job=job, error=error, took_s=time.monotonic() - since)
        except asyncio.CancelledError:
            await finish(lambda: self._client.cancel([task], force=True))
            raise
        finally:
            self._running.discard(key)
            task.release()

    def _count(self, future: asyncio.Future[JobResult]) -> None:
        self._pending.discard(future)
        if future.cancelled():
            self._cancelled += 1
        elif future.exception() is not None or not future.result().ok:
            self._failed += 1
        else:
            self._succeeded += 1
        if not future.cancelled() and future.exception() is None:
            self._retried += future.result().attempts - 1
        if self._progress is not None:
            self._progress(self.metrics)

    async def _end(self) -> None:
        """End everything, and have the workers close their runtimes."""
        for future in self._pending:
            future.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)
        self._client.unsubscribe_topic(self._name)
        await self._client.unregister_worker_plugin(self._name)
