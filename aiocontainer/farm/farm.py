"""Run many containers as fast as this machine can, without drowning it.

What limits how fast containers can be started is not what limits how many can live: starting one takes
locks of the kernel (network namespaces, mounts, cgroups) and a CPU, living takes memory and descriptors.
So two numbers are bounded, and a job waits in order of priority until both have room for it.
"""

from __future__ import annotations

import asyncio
import collections
import errno
import heapq
import itertools
import os
import resource
import time
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Final, Self

from msgspec import Struct

from .._aio import finish
from ..container import Completed
from ..errors import ContainerError
from .feed import Feed
from .job import Job, JobResult, as_source

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
    from types import TracebackType

    from ..container import Container
    from ..runtime import Runtime

__all__ = ["Farm", "FarmMetrics"]

_STARTING_PER_CPU: Final = 2
"""More make no container start sooner: they wait for each other in the kernel."""
_ALIVE_PER_CPU: Final = 64
_FDS_EACH: Final = 8
_LATENCIES: Final = 1024
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC})


class FarmMetrics(Struct, frozen=True, kw_only=True):
    """Counts of jobs; each is in one of waiting, starting, running, succeeded, failed and cancelled."""

    waiting: int
    """For their turn."""
    starting: int
    """Containers that are coming up."""
    running: int
    """Containers whose program runs."""
    succeeded: int
    """Ended with status 0."""
    failed: int
    """Neither ended with status 0, nor have any attempts left."""
    cancelled: int
    """By whoever submitted them, or because the farm was left."""
    retried: int
    """Attempts beyond the first."""
    alive_limit: int
    """How many may live at once now: less than asked for where the machine ran out of something."""

    @property
    def submitted(self) -> int:
        """All jobs there ever were."""
        return self.ended + self.waiting + self.starting + self.running

    @property
    def ended(self) -> int:
        """Jobs of which nothing is left to do."""
        return self.succeeded + self.failed + self.cancelled


class _Entry:
    """A job on its way; ordered as it is started."""

    __slots__ = ("attempts", "began", "future", "is_starting", "job", "key", "submitted", "task")

    def __init__(self, job: Job, number: int, future: asyncio.Future[JobResult]) -> None:
        self.job = job
        self.key = (-job.priority, number)
        self.future = future
        self.submitted = time.monotonic()
        self.began: float | None = None
        self.attempts = 0
        self.is_starting = False
        self.task: asyncio.Task[None] | None = None

    def __lt__(self, other: _Entry) -> bool:
        return self.key < other.key


class Farm:
    """Runs jobs on a runtime; used as ``async with``.

    Leaving the block waits for all jobs; leaving it by an exception or cancellation ends them, and
    nothing of them is left.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        alive: int | None = None,
        starting: int | None = None,
        memory_bytes: int | None = None,
        progress: Callable[[FarmMetrics], object] | None = None,
    ) -> None:
        """Bound what is *alive* and what is *starting* at once; None: as this machine has CPUs and room.

        The sum of the `Job.memory_bytes` of what is alive stays within *memory_bytes*, but one job runs
        in any case.  *progress* is called at the end of every job.
        """
        cpus = len(os.sched_getaffinity(0))
        self._runtime = runtime
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._alive = alive or max(1, min(_ALIVE_PER_CPU * cpus, files // _FDS_EACH))
        self._alive_most, self._credit = self._alive, 0
        self._starting_most = starting or _STARTING_PER_CPU * cpus
        self._memory = memory_bytes
        self._progress = progress
        self._numbers = itertools.count()
        self._waiting: list[_Entry] = []
        self._working: set[_Entry] = set()
        self._reserved = 0
        self._starting = 0
        self._succeeded = self._failed = self._cancelled = self._retried = 0
        self._latencies: collections.deque[float] = collections.deque(maxlen=_LATENCIES)
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if exc is None:
                await self._idle.wait()
        finally:
            self._closed = True
            await finish(self._end)

    def submit(self, job: Job) -> asyncio.Future[JobResult]:
        """Have *job* done; the future has its result, whatever that is.

        Cancelling the future ends the job.
        """
        if self._closed:
            raise RuntimeError("the farm is closed")
        entry = _Entry(job, next(self._numbers), asyncio.get_running_loop().create_future())
        entry.future.add_done_callback(lambda _: self._given_up(entry))
        heapq.heappush(self._waiting, entry)
        self._idle.clear()
        self._dispatch()
        return entry.future

    async def results(
        self, jobs: Iterable[Job] | AsyncIterable[Job], *, ahead: int | None = None
    ) -> AsyncIterator[JobResult]:
        """Do *jobs* and give their results as they come.

        At most *ahead* jobs are taken that have no result yet (None: twice what may live at once), and
        none while its results are not asked for.  Closing the iterator cancels what it has begun.
        """
        feed = Feed(self.submit, jobs, ahead or 2 * self._alive)
        try:
            async for result in feed:
                yield result
        finally:
            await finish(feed.close)

    @property
    def metrics(self) -> FarmMetrics:
        """How the jobs stand."""
        return FarmMetrics(
            waiting=len(self._waiting),
            starting=self._starting,
            running=len(self._working) - self._starting,
            succeeded=self._succeeded,
            failed=self._failed,
            cancelled=self._cancelled,
            retried=self._retried,
            alive_limit=self._alive,
        )

    def start_latency_s(self, quantile: float = 0.5) -> float | None:
        """How long starting a container took, of the last thousand; None where none was started yet."""
        ordered = sorted(self._latencies)
        return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)] if ordered else None

    # ------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Begin what there is room for, the most urgent first."""
        while self._waiting and self._has_room(self._waiting[0].job):
            entry = heapq.heappop(self._waiting)
            self._working.add(entry)
            self._reserved += entry.job.memory_bytes
            entry.is_starting = True
            self._starting += 1
            entry.attempts += 1
            entry.began = entry.began or time.monotonic()
            entry.task = asyncio.ensure_future(self._attempt(entry))
        if not self._waiting and not self._working:
            self._idle.set()

    def _has_room(self, job: Job) -> bool:
        if self._starting >= self._starting_most or len(self._working) >= self._alive:
            return False
        if self._memory is None or not self._working:
            return True
        return self._reserved + job.memory_bytes <= self._memory

    async def _attempt(self, entry: _Entry) -> None:
        """Do one attempt, and settle what comes after it."""
        completed: Completed | None = None
        error: Exception | None = None
        try:
            completed = await self._run(entry)
        except asyncio.CancelledError:
            entry.future.cancel()
            raise
        except Exception as exc:  # noqa: BLE001 - told to who waits for the job
            error = exc
        finally:
            self._no_longer_starting(entry)
            self._working.discard(entry)
            self._reserved -= entry.job.memory_bytes
            self._settle(entry, completed, error)
            self._dispatch()

    async def _run(self, entry: _Entry) -> Completed:
        job, since = entry.job, time.monotonic()
        source, stdin = as_source(job.source), DEVNULL if job.input is None else PIPE
        async with asyncio.timeout(job.timeout_s):
            async with self._runtime.container(source, stdin=stdin, stdout=PIPE, stderr=PIPE) as container:
                self._latencies.append(time.monotonic() - since)
                self._no_longer_starting(entry)
                self._dispatch()
                return await _to_its_end(container, job)

    def _no_longer_starting(self, entry: _Entry) -> None:
        if entry.is_starting:
            entry.is_starting = False
            self._starting -= 1

    def _settle(self, entry: _Entry, completed: Completed | None, error: Exception | None) -> None:
        if entry.future.done() or (completed is None and error is None):
            return
        if error is not None and not isinstance(error, ContainerError | TimeoutError):
            self._failed += 1
            entry.future.set_exception(error)
            self._tell()
        elif error is not None and self._is_exhausted(error):
            entry.attempts -= 1
            heapq.heappush(self._waiting, entry)
        elif (completed is None or not completed.exit.clean) and entry.attempts <= entry.job.retries:
            self._retried += 1
            heapq.heappush(self._waiting, entry)
        else:
            self._finish(entry, completed, error)

    def _is_exhausted(self, error: Exception) -> bool:
        """Whether the machine has no room for so many: then it is tried again when others are gone."""
        if getattr(error, "errno", None) not in _EXHAUSTED or not self._working:
            return False
        self._alive, self._credit = max(1, min(self._alive - 1, len(self._working))), 0
        return True

    def _grow_again(self) -> None:
        """After as many ends as there can be alive, try one more than that."""
        self._credit += 1
        if self._credit >= self._alive:
            self._alive, self._credit = min(self._alive + 1, self._alive_most), 0

    def _finish(self, entry: _Entry, completed: Completed | None, error: Exception | None) -> None:
        assert entry.began is not None
        result = JobResult(
            job=entry.job,
            completed=completed,
            error=error,
            attempts=entry.attempts,
            waited_s=entry.began - entry.submitted,
            took_s=time.monotonic() - entry.began,
        )
        if result.ok:
            self._succeeded += 1
        else:
            self._failed += 1
        self._grow_again()
        entry.future.set_result(result)
        self._tell()

    def _given_up(self, entry: _Entry) -> None:
        """See whether it was cancelled: by who waits for it, or with its task."""
        if not entry.future.cancelled():
            return
        self._cancelled += 1
        if entry in self._working:
            assert entry.task is not None
            entry.task.cancel()
        elif entry in self._waiting:
            self._waiting.remove(entry)
            heapq.heapify(self._waiting)
            self._dispatch()
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.metrics)

    async def _end(self) -> None:
        """End everything, and wait until nothing is left."""
        for entry in [*self._waiting, *self._working]:
            entry.future.cancel()
        self._waiting.clear()
        tasks = [entry.task for entry in self._working if entry.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)


async def _to_its_end(container: Container, job: Job) -> Completed:
    process = container.process
    assert process is not None
    out, err = await process.communicate(job.input, keep_bytes=job.output_bytes)
    return Completed(args=process.args, exit=await process.wait(), stdout=out, stderr=err)
