"""Deadlines of exec, and output that somebody else still holds open."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest

from aiocontainer import ExecExited, Runtime, Spec, SpecError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("root", "busybox")


def idle(rootfs: str) -> Spec:
    return Spec.default(["sleep", "60"], rootfs=rootfs)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)


def subgroups(paths: dict[str, str]) -> list[str]:
    return [name for path in paths.values() for name in os.listdir(path) if name.startswith("aioc-exec-")]


async def test_the_whole_tree_dies_in_time(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(idle(rootfs)) as c:
        before = set(await c.processes())
        script = "setsid sleep 50 & (setsid sleep 50 &); sleep 50"
        began = time.monotonic()
        process = await c.exec(["sh", "-c", script], timeout_s=0.5)
        exit = await asyncio.wait_for(process.wait(), 10)
        assert 0.4 < time.monotonic() - began < 5
        assert exit.timed_out
        assert exit.signal == signal.SIGKILL
        paths = dict((await c.state()).cgroup_paths)
        await until(lambda: not subgroups(paths))
        assert set(await c.processes()) == before
        assert c.pid


async def test_who_is_in_time_is_not_touched(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(idle(rootfs)) as c:
        process = await c.exec(["sh", "-c", "exit 3"], timeout_s=30)
        exit = await asyncio.wait_for(process.wait(), 10)
        assert (exit.code, exit.timed_out) == (3, False)
        paths = dict((await c.state()).cgroup_paths)
        await until(lambda: not subgroups(paths))


async def test_what_is_left_behind_dies_at_the_deadline(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(idle(rootfs)) as c:
        before = set(await c.processes())
        process = await c.exec(["sh", "-c", "setsid sleep 50 & exit 0"], timeout_s=1)
        exit = await asyncio.wait_for(process.wait(), 10)
        assert (exit.code, exit.timed_out) == (0, False)
        assert len(set(await c.processes()) - before) == 1
        await asyncio.sleep(1.5)
        assert set(await c.processes()) == before


async def test_a_container_goes_with_its_deadlines(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(idle(rootfs)) as c:
        process = await c.exec(["sleep", "50"], timeout_s=40)
    assert not (await process.wait()).timed_out


async def test_a_runtime_that_ends_leaves_nobody_without_deadline(rootfs: str, tmp_path: object) -> None:
    root = f"{tmp_path}/state"
    async with Runtime(root=root, lifetime="detached") as runtime:
        c = await runtime.create("aioc-test-d1", idle(rootfs))
        await c.start()
        before = await c.processes()
        await c.exec(["sleep", "50"], timeout_s=40)
    async with Runtime(root=root) as runtime:
        c = await runtime.load("aioc-test-d1")
        assert await c.processes() == before
        await c.delete(force=True)


async def test_a_program_that_is_missing_leaves_no_cgroup(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(idle(rootfs)) as c:
        with pytest.raises(Exception, match="no-such"):
            await c.exec(["no-such"], timeout_s=1)
        assert not subgroups(dict((await c.state()).cgroup_paths))
        with pytest.raises(SpecError):
            await c.exec(["true"], timeout_s=0)


async def test_without_a_cgroup_it_is_refused(rootfs: str, tmp_path: object) -> None:
    async with (
        Runtime(root=f"{tmp_path}/state", cgroups="none") as runtime,
        runtime.container(idle(rootfs)) as c,
    ):
        with pytest.raises(UnsupportedError, match="cgroup"):
            await c.exec(["true"], timeout_s=1)


async def test_the_end_of_an_exec_is_told(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(idle(rootfs)) as c, c.events() as events:
        process = await c.exec(["sh", "-c", "exit 9"])
        event = await asyncio.wait_for(anext(events), 10)
    assert isinstance(event, ExecExited)
    assert (event.pid, event.exit.code) == (process.pid, 9)


async def test_output_held_by_a_child_is_read_for_a_while(runtime: Runtime, rootfs: str) -> None:
    script = "(sleep 0.3; echo late; sleep 50) & echo early"
    async with runtime.container(idle(rootfs)) as c:
        process = await c.exec(["sh", "-c", script], stdout=PIPE)
        began = time.monotonic()
        out, err = await asyncio.wait_for(process.communicate(drain_s=1.0), 20)
        assert out == b"early\nlate\n"
        assert err is None
        assert time.monotonic() - began < 10
