"""A farm over a scheduler and workers that are processes of their own, some of which are killed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

import pytest

from aiocontainer import Command, ContainerExited, DaskFarm, Job, SpecError, UnsupportedError, WorkerLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.leaks import Leaks

pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.needs("root", "compiled", "overlay"),
    pytest.mark.may_block("Dask reads its configuration"),
    pytest.mark.filterwarnings("default"),  # what Dask warns of is not ours
]

PATIENCE_S = 60
THREADS = 3


class Cluster:
    """A scheduler, and workers without anybody who starts them again."""

    def __init__(self, directory: Path, count: int, **environ: str) -> None:
        self.file = str(directory / "scheduler.json")
        self._log = open(directory / "dask.log", "wb")  # noqa: SIM115 - closed below
        self._environ = {**os.environ, **environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._cwd = str(directory)
        self.scheduler = self._start("scheduler", "--port", "0", "--dashboard-address", ":0")
        self.workers = [self.add() for _ in range(count)]

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *words, "--scheduler-file", self.file]
        return subprocess.Popen(
            command, cwd=self._cwd, stdout=self._log, stderr=subprocess.STDOUT, env=self._environ
        )

    def add(self) -> subprocess.Popen[bytes]:
        return self._start("worker", "--no-nanny", "--nthreads", str(THREADS), "--no-dashboard")

    def kill(self, pid: int) -> None:
        for worker in self.workers:
            if worker.pid == pid:
                worker.kill()
                worker.wait()

    async def address(self) -> str:
        await wait_for(lambda: asyncio.sleep(0, os.path.exists(self.file)))
        with open(self.file) as file:
            found: str = json.load(file)["address"]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
        self._log.close()


@pytest.fixture
def environ() -> dict[str, str]:
    return {}


@pytest.fixture
def cluster(snap: Leaks, tmp_path: Path, environ: dict[str, str]) -> Any:
    with Cluster(tmp_path, 3, **environ) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Any]:
    from distributed import Client

    async with Client(await cluster.address(), asynchronous=True) as client:
        await client.wait_for_workers(3, timeout=PATIENCE_S)
        yield client


@pytest.fixture
def root(snap: Leaks, tmp_path: Path) -> str:
    path = str(tmp_path / "state")
    snap.watch(path)
    return path


def sleeper(name: str, seconds: float, **options: Any) -> Job:
    return Job(source=Command(["sh", "-c", f"echo {name}; exec sleep {seconds}"]), name=name, **options)


async def wait_for(what: Any) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await what()):  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.02)
    return found


def containers(root: str) -> list[str]:
    return [name for name in os.listdir(root) if not name.startswith(".")] if os.path.isdir(root) else []


async def test_every_job_has_its_result_once(client: Any, root: str) -> None:
    """And whatever can become of a job becomes of it as on one machine; input and errors travel."""
    told = []
    async with DaskFarm(client, root=root, progress=told.append) as farm:
        jobs = [
            Job(source=["sh", "-c", f"cat; exit {number % 3}"], name=str(number), input=b"%d" % number)
            for number in range(20)
        ]
        results = [result async for result in farm.results(jobs)]
        late = await farm.submit(sleeper("late", 1000, timeout_s=0.2, retries=1))
        wrong = await farm.submit(Job(source=b"{}"))
    assert sorted(int(result.job.name) for result in results) == list(range(20))
    for result in results:
        assert result.completed is not None
        assert result.completed.stdout == result.job.input
        assert result.completed.exit.code == int(result.job.name) % 3
    with pytest.raises(ContainerExited):
        next(result for result in results if not result.ok).check()
    assert (type(late.error), late.attempts) == (TimeoutError, 2)
    assert isinstance(wrong.error, SpecError)
    assert wrong.error.origin.startswith("$")
    last = told[-1]
    assert (last.submitted, last.succeeded, last.failed, last.retried) == (22, 7, 15, 1)
    assert (last.waiting, last.running, last.alive_limit) == (0, 0, 3 * THREADS)


async def test_a_killed_worker_loses_no_job(client: Any, cluster: Cluster, root: str) -> None:
    async with DaskFarm(client, root=root) as farm:
        pids = await client.run(os.getpid)
        futures = [farm.submit(sleeper(str(number), 0.5)) for number in range(24)]

        async def busy() -> str | None:
            processing = await client.processing()
            return next((each for each, keys in processing.items() if len(keys) >= THREADS), None)

        victim = await wait_for(busy)
        await wait_for(lambda: asyncio.sleep(0, len(containers(root)) >= 2 * THREADS))
        cluster.kill(pids[victim])
        results = await asyncio.gather(*futures)
    assert [result.job.name for result in results] == [str(number) for number in range(24)]
    assert all(result.ok for result in results)
    assert [result.completed.stdout for result in results if result.completed] == [
        b"%d\n" % number for number in range(24)
    ]
    assert farm.metrics.succeeded == 24
    from aiocontainer import Runtime

    async with Runtime(root=root) as runtime:  # what the dead worker has left of its state
        await runtime.sweep()
    assert containers(root) == []


@pytest.mark.parametrize("environ", [{"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}])
async def test_a_job_without_any_worker_left_says_so(client: Any, cluster: Cluster, root: str) -> None:
    async with DaskFarm(client, root=root) as farm:
        pids = await client.run(os.getpid)
        future = farm.submit(sleeper("unlucky", 1000))
        await wait_for(lambda: asyncio.sleep(0, farm.metrics.running == 1))
        processing = await client.processing()
        cluster.kill(pids[next(worker for worker, keys in processing.items() if keys)])
        result = await future
    assert isinstance(result.error, WorkerLostError)
    assert result.error.worker.startswith("tcp://")
    from aiocontainer import Runtime

    async with Runtime(root=root) as runtime:
        await runtime.sweep()


async def test_who_is_cancelled_is_killed(client: Any, root: str) -> None:
    async with DaskFarm(client, root=root) as farm:
        future = farm.submit(sleeper("tired", 1000))
        await wait_for(lambda: asyncio.sleep(0, containers(root)))
        future.cancel()
        await wait_for(lambda: asyncio.sleep(0, not containers(root)))
    assert farm.metrics.cancelled == 1


async def test_an_exception_ends_everything(client: Any, root: str) -> None:
    with pytest.raises(LookupError):  # noqa: PT012
        async with DaskFarm(client, root=root) as farm:
            future = farm.submit(sleeper("tired", 1000))
            await wait_for(lambda: asyncio.sleep(0, containers(root)))
            raise LookupError
    assert future.cancelled()
    assert containers(root) == []
    with pytest.raises(RuntimeError, match="closed"):
        farm.submit(sleeper("late", 0))


async def test_a_synchronous_client_is_refused() -> None:
    class Client:
        asynchronous = False

    with pytest.raises(UnsupportedError, match=r"Client\(asynchronous=True\)"):
        DaskFarm(Client())
