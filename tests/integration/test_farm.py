"""Farm and warm pool with real containers."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest

from aiocontainer import Farm, Job, Spec, WarmPool
from aiocontainer.errors import BootstrapError

if TYPE_CHECKING:
    from aiocontainer import Runtime

pytestmark = pytest.mark.needs("root", "busybox", "compiled")


async def test_jobs(runtime: Runtime, rootfs: str) -> None:
    def job(number: int) -> Job:
        spec = Spec.default(["sh", "-c", f"cat; exit {number % 3}"], rootfs=rootfs)
        return Job(source=spec, name=str(number), input=b"input %d" % number)

    async with Farm(runtime, alive=6) as farm:
        results = [result async for result in farm.results(map(job, range(20)))]
        assert farm.start_latency_s(0.5) is not None
    assert sorted(int(str(result.job)) for result in results) == list(range(20))
    for result in results:
        number = int(str(result.job))
        assert result.completed is not None
        assert result.completed.exit.code == number % 3
        assert result.completed.stdout == b"input %d" % number
    assert [container async for container in runtime.list()] == []


async def test_only_the_end_of_much_output_is_kept(runtime: Runtime, rootfs: str) -> None:
    spec = Spec.default(["sh", "-c", "seq 1 200000; echo end"], rootfs=rootfs)
    async with Farm(runtime) as farm:
        result = await farm.submit(Job(source=spec, output_bytes=10))
    assert result.check().stdout == b"\n200000\nend\n"[-10:]


async def test_a_job_that_takes_too_long(runtime: Runtime, rootfs: str) -> None:
    async with Farm(runtime) as farm:
        result = await farm.submit(Job(source=Spec.default(["sleep", "60"], rootfs=rootfs), timeout_s=0.2))
    assert isinstance(result.error, TimeoutError)
    assert [container async for container in runtime.list()] == []


async def test_cancelled_in_the_middle(runtime: Runtime, rootfs: str) -> None:
    spec = Spec.default(["sleep", "60"], rootfs=rootfs)

    async def work() -> None:
        async with Farm(runtime, alive=5) as farm:
            async for _ in farm.results(Job(source=spec) for _ in range(50)):
                raise AssertionError("none of them ends")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work(), 1)
    assert [container async for container in runtime.list()] == []


async def test_a_warm_container_runs_the_program_with_its_input(runtime: Runtime, rootfs: str) -> None:
    spec = Spec.default(["sh"], rootfs=rootfs)
    async with WarmPool(runtime, spec, size=2, stdin=PIPE, stdout=PIPE) as pool:
        assert pool.ready == 2
        pids = set()
        for number in range(5):
            async with pool.take() as container:
                assert container.process is not None
                out, _ = await container.process.communicate(b"echo $((%d * 7)) $$" % number)
                assert out == b"%d 1\n" % (number * 7)
                pids.add(container.id)
        assert len(pids) == 5
    assert [container async for container in runtime.list()] == []


async def test_one_that_died_while_it_waited_is_not_given_out(runtime: Runtime, rootfs: str) -> None:
    spec = Spec.default(["true"], rootfs=rootfs)
    async with WarmPool(runtime, spec, size=2) as pool:
        victim = await anext(aiter(runtime.list()))
        await victim.kill("KILL")
        await victim.wait()
        for _ in range(3):
            async with pool.take() as container:
                assert container.id != victim.id
                assert (await container.wait()).clean


async def test_what_cannot_be_made_is_told_by_take(runtime: Runtime, rootfs: str) -> None:
    spec = Spec.default(["/no/such/program"], rootfs=rootfs)
    async with WarmPool(runtime, spec, size=1) as pool:
        with pytest.raises(BootstrapError):
            async with pool.take():
                raise AssertionError("there is nothing to take")
