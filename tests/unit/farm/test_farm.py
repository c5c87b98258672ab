"""What a farm does with a runtime that only pretends: who goes first, how many, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest

from aiocontainer import Completed, ExitStatus, SpecError
from aiocontainer.errors import CgroupError, ContainerExited
from aiocontainer.farm import Farm, FarmMetrics, Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class World:
    """A runtime of the mind.  The source of a job is what its program does."""

    def __init__(self) -> None:
        self.alive: list[str] = []
        self.most_alive = self.starting = self.most_starting = 0
        self.began: list[str] = []
        self.let_start = asyncio.Event()
        self.let_start.set()
        self.deleted = 0
        self.failures: dict[str, list[Exception]] = {}

    @contextlib.asynccontextmanager
    async def container(self, source: Any, *, stdin: int, stdout: int, stderr: int) -> AsyncIterator[Any]:
        assert stdout == stderr == PIPE
        name = source.args[0]
        self.began.append(name)
        self.starting += 1
        self.most_starting = max(self.most_starting, self.starting)
        try:
            await self.let_start.wait()
            await asyncio.sleep(0)
            if self.failures.get(name):
                raise self.failures[name].pop(0)
        finally:
            self.starting -= 1
        self.alive.append(name)
        self.most_alive = max(self.most_alive, len(self.alive))
        try:
            yield Pretended(source.args, stdin)
        finally:
            await asyncio.sleep(0)
            self.alive.remove(name)
            self.deleted += 1


class Pretended:
    """Container and process in one: sleeps, ends with a status, repeats its input."""

    def __init__(self, args: Any, stdin: int) -> None:
        self.args = tuple(args)
        self.process = self
        self._stdin = stdin

    async def communicate(self, input: bytes | None, *, keep_bytes: int | None) -> tuple[bytes, bytes]:
        assert (self._stdin == PIPE) == (input is not None)
        for word in self.args[1:]:
            if word.startswith("sleep="):
                await asyncio.sleep(float(word.removeprefix("sleep=")))
        return (input or b"")[-(keep_bytes or 100) :], b""

    async def wait(self) -> ExitStatus:
        codes = [word.removeprefix("exit=") for word in self.args[1:] if word.startswith("exit=")]
        return ExitStatus(code=int(codes[0]) if codes else 0)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def farm_of(world: World) -> Callable[..., Farm]:
    return lambda **options: Farm(world, **options)  # type: ignore[arg-type]


def job(name: str, *words: str, **options: Any) -> Job:
    return Job(source=[name, *words], **options)


async def test_a_job_comes_to_its_end(farm_of: Callable[..., Farm], world: World) -> None:
    async with farm_of() as farm:
        result = await farm.submit(job("one", input=b"words", output_bytes=3))
    assert result.ok
    assert result.check() == Completed(args=("one",), exit=ExitStatus(code=0), stdout=b"rds", stderr=b"")
    assert (result.attempts, world.deleted) == (1, 1)
    assert result.waited_s >= 0
    assert result.took_s >= 0


async def test_the_urgent_first_and_equals_in_order(farm_of: Callable[..., Farm], world: World) -> None:
    async with farm_of(alive=1) as farm:
        for name, priority in (("first", 0), ("low", -1), ("a", 0), ("urgent", 5), ("b", 0)):
            farm.submit(job(name, priority=priority))
    assert world.began == ["first", "urgent", "a", "b", "low"]


async def test_bounds_are_kept_and_used(farm_of: Callable[..., Farm], world: World) -> None:
    async with farm_of(alive=7, starting=3) as farm:
        for number in range(50):
            farm.submit(job(str(number), "sleep=0.001"))
    assert (world.most_alive, world.most_starting, world.deleted) == (7, 3, 50)


async def test_memory_is_a_bound_but_for_one_job(farm_of: Callable[..., Farm], world: World) -> None:
    async with farm_of(alive=10, memory_bytes=100) as farm:
        for number in range(6):
            farm.submit(job(str(number), "sleep=0.001", memory_bytes=40))
        big = await farm.submit(job("big", memory_bytes=1000))
    assert big.ok
    assert world.most_alive == 2


async def test_a_failed_attempt_is_repeated(farm_of: Callable[..., Farm], world: World) -> None:
    world.failures["flaky"] = [SpecError("not today", origin="$"), SpecError("nor now", origin="$")]
    async with farm_of() as farm:
        flaky = await farm.submit(job("flaky", retries=2))
        unclean = await farm.submit(job("unclean", "exit=3", retries=1))
        metrics = farm.metrics
    assert (flaky.ok, flaky.attempts) == (True, 3)
    assert (unclean.ok, unclean.attempts) == (False, 2)
    assert unclean.completed is not None
    assert (metrics.succeeded, metrics.failed, metrics.retried) == (1, 1, 3)
    with pytest.raises(ContainerExited):
        unclean.check()


async def test_the_last_failure_is_told(farm_of: Callable[..., Farm], world: World) -> None:
    world.failures["broken"] = [SpecError("never", origin="$.mounts[3]")]
    async with farm_of() as farm:
        result = await farm.submit(job("broken"))
    assert result.completed is None
    with pytest.raises(SpecError, match="never"):
        result.check()


async def test_a_deadline_ends_an_attempt(farm_of: Callable[..., Farm], world: World) -> None:
    async with farm_of() as farm:
        result = await farm.submit(job("slow", "sleep=30", timeout_s=0.01))
    assert isinstance(result.error, TimeoutError)
    assert world.alive == []


async def test_what_is_no_failure_of_a_container_is_raised(
    farm_of: Callable[..., Farm], world: World
) -> None:
    world.failures["bug"] = [ZeroDivisionError("here")]
    async with farm_of() as farm:
        with pytest.raises(ZeroDivisionError):
            await farm.submit(job("bug", retries=5))
        assert (await farm.submit(job("next"))).ok


async def test_without_room_it_is_tried_again_later(farm_of: Callable[..., Farm], world: World) -> None:
    world.failures["unlucky"] = [CgroupError("/sys/fs/cgroup/x", errno.ENOSPC)]
    async with farm_of(alive=8) as farm:
        others = [farm.submit(job(f"other{n}", "sleep=0.005")) for n in range(3)]
        result = await farm.submit(job("unlucky"))
        assert result.ok
        assert result.attempts == 1
        assert farm.metrics.alive_limit < 8
        await asyncio.gather(*others)
        await asyncio.gather(*(farm.submit(job(str(number))) for number in range(100)))
        assert farm.metrics.alive_limit == 8


async def test_alone_and_without_room_it_fails(farm_of: Callable[..., Farm], world: World) -> None:
    world.failures["big"] = [CgroupError("/sys/fs/cgroup/x", errno.ENOSPC)]
    async with farm_of() as farm:
        result = await farm.submit(job("big"))
    assert isinstance(result.error, CgroupError)


async def test_cancelling_one_leaves_the_others(farm_of: Callable[..., Farm], world: World) -> None:
    async with farm_of(alive=1) as farm:
        running, waiting, last = (
            farm.submit(job(*words)) for words in (("run", "sleep=60"), ("wait",), ("last",))
        )
        while "run" not in world.alive:  # noqa: ASYNC110 - turns of the loop are what is waited for
            await asyncio.sleep(0)
        waiting.cancel()
        running.cancel()
        assert (await last).ok
        assert farm.metrics.cancelled == 2
    assert world.began == ["run", "last"]
    assert world.alive == []


async def test_leaving_by_an_exception_ends_all(farm_of: Callable[..., Farm], world: World) -> None:
    futures: list[asyncio.Future[Any]] = []
    farm = farm_of(alive=2)

    async def leave() -> None:
        async with farm:
            futures.extend(farm.submit(job(str(n), "sleep=60")) for n in range(5))
            while len(world.alive) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
            raise LookupError

    with pytest.raises(LookupError):
        await leave()
    assert all(future.cancelled() for future in futures)
    assert world.alive == []
    assert world.deleted == 2
    with pytest.raises(RuntimeError):
        farm.submit(job("late"))


async def test_results_come_as_they_are_ready(farm_of: Callable[..., Farm]) -> None:
    taken: list[int] = []

    def jobs() -> Any:
        for number, delay in enumerate((0.03, 0.001, 0.001)):
            taken.append(number)
            yield job(str(number), f"sleep={delay}")

    async with farm_of(alive=3) as farm:
        names = [result.job.source[0] async for result in farm.results(jobs())]
    assert sorted(names[:2]) == ["1", "2"]
    assert names[2] == "0"
    assert taken == [0, 1, 2]


async def test_no_more_jobs_are_taken_than_asked_for(farm_of: Callable[..., Farm]) -> None:
    taken = 0

    async def jobs() -> AsyncIterator[Job]:
        nonlocal taken
        while True:
            taken += 1
            yield job(str(taken))

    async with farm_of(alive=2) as farm:
        results = farm.results(jobs(), ahead=5)
        first = await anext(results)
        await asyncio.sleep(0.01)
        assert first.ok
        assert taken == 5 + 1  # the feeder has the next one in its hand
        await results.aclose()  # type: ignore[attr-defined]
        assert farm.metrics.waiting == 0


async def test_an_error_of_the_jobs_themselves_is_raised(farm_of: Callable[..., Farm]) -> None:
    def jobs() -> Any:
        yield job("one")
        raise OSError("the list of tests cannot be read")

    async with farm_of() as farm:
        results = farm.results(jobs())
        assert (await anext(results)).ok
        with pytest.raises(OSError, match="cannot be read"):
            await anext(results)


async def test_progress_adds_up(world: World) -> None:
    told: list[FarmMetrics] = []
    async with Farm(world, alive=2, progress=told.append) as farm:  # type: ignore[arg-type]
        for number in range(6):
            farm.submit(job(str(number), f"exit={number % 2}"))
    assert [metrics.ended for metrics in told] == [1, 2, 3, 4, 5, 6]
    assert all(metrics.submitted == 6 for metrics in told[1:])
    assert (told[-1].succeeded, told[-1].failed) == (3, 3)
    assert farm.start_latency_s() is not None
    assert farm.start_latency_s(0.99) is not None


def test_a_job_has_a_name_for_people() -> None:
    assert str(job("sh", "-c", "true")) == "sh -c true"
    assert str(Job(source=["sh"], name="shell")) == "shell"
    assert str(Job(source="/bundles/web")) == "/bundles/web"
