"""Cancellation with hooks, callbacks and listeners, and at moments of the clock: nothing is left.

The plain operations are in test_every_coroutine.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support.interrupting import Interrupted, sweep

from aiocontainer import Callbacks, RequestGoneError, Runtime, Spec
from aiocontainer.spec import Hook, Hooks, Seccomp, Syscall

if TYPE_CHECKING:
    from aiocontainer import Container
    from aiocontainer.spec import State

pytestmark = pytest.mark.needs("root")


@pytest.fixture(params=[1, 2], ids=["once", "twice"])
def times(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


async def left(runtime: Runtime) -> list[str]:
    return [container.id async for container in runtime.list()]


async def test_create_at_any_moment(runtime: Runtime, rootfs: str) -> None:
    """Most of create happens in a thread and in the helper: cancel by the clock, too."""
    spec = Spec.default(["true"], rootfs=rootfs)
    outcomes = set()
    for step in range(80):
        task = asyncio.create_task(runtime.create("aioc-test-cancel", spec))
        await asyncio.sleep(step * 0.0001)
        task.cancel()
        try:
            await (await task).delete()
            outcomes.add("created")
        except asyncio.CancelledError:
            outcomes.add("cancelled")
    assert "cancelled" in outcomes
    assert await left(runtime) == []


async def test_exec_at_any_moment(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(Spec.default(["sleep", "60"], rootfs=rootfs)) as container:
        for step in range(80):
            task = asyncio.create_task(container.exec(["sleep", "60"]))
            await asyncio.sleep(step * 0.0001)
            task.cancel()
            try:
                process = await task
            except asyncio.CancelledError:
                continue
            await process.end()
            process.close()
        assert await container.processes() == [container.pid]


async def test_create_in_a_user_namespace(runtime: Runtime, times: int) -> None:
    async def attempt(at: int) -> None:
        await Interrupted(runtime.run(["true"]), at, times)

    assert await sweep(attempt) > 4
    assert await left(runtime) == []


# With hooks and callbacks at every point: what a cancellation interrupts is killed and undone.


async def idle(state: State) -> None:
    await asyncio.sleep(0)


HOOK = (Hook(path="/bin/sh", args=("sh", "-c", "cat > /dev/null"), env=("PATH=/bin:/usr/bin",)),)
ALL_HOOKS = Hooks(
    prestart=HOOK,
    create_runtime=HOOK,
    create_container=HOOK,
    start_container=HOOK,
    poststart=HOOK,
    poststop=HOOK,
)
ALL_CALLBACKS = Callbacks(
    create_runtime=idle, create_container=idle, start_container=idle, poststart=idle, poststop=idle
)


def hooked(rootfs: str) -> Spec:
    return replace(Spec.default(["sleep", "60"], rootfs=rootfs), hooks=ALL_HOOKS)


async def test_create_with_hooks(runtime: Runtime, rootfs: str, times: int) -> None:
    spec = hooked(rootfs)

    async def attempt(at: int) -> None:
        create = runtime.create("aioc-test-cancel", spec, callbacks=ALL_CALLBACKS)
        container = await Interrupted(create, at, times)
        await container.delete()

    assert await sweep(attempt) > 6
    assert await left(runtime) == []


async def test_start_with_hooks(runtime: Runtime, rootfs: str, times: int) -> None:
    """A start that is cancelled while hooks run has stopped the container."""
    spec = hooked(rootfs)

    async def attempt(at: int) -> None:
        container = await runtime.create("aioc-test-cancel", spec, callbacks=ALL_CALLBACKS)
        try:
            await Interrupted(container.start(), at, times)
        finally:
            assert await container.status() in ("created", "running", "stopped")
            await container.delete(force=True)

    assert await sweep(attempt) > 4
    assert await left(runtime) == []


async def test_delete_with_hooks(runtime: Runtime, rootfs: str, times: int) -> None:
    spec = hooked(rootfs)

    async def attempt(at: int) -> None:
        container = await runtime.create("aioc-test-cancel", spec, callbacks=ALL_CALLBACKS)
        await container.start()
        try:
            await Interrupted(container.delete(force=True), at, times)
        finally:
            await container.delete(force=True)

    assert await sweep(attempt) > 2
    assert await left(runtime) == []


def asking(rootfs: str, *names: str, no_new_privs: bool) -> Spec:
    """A container that asks its application about these system calls."""
    spec = Spec.default(["sleep", "60"], rootfs=rootfs)
    assert spec.process is not None
    assert spec.linux is not None
    profile = Seccomp(
        default_action="SCMP_ACT_ALLOW", syscalls=(Syscall(names=names, action="SCMP_ACT_NOTIFY"),)
    )
    return replace(
        spec,
        process=replace(spec.process, no_new_privileges=no_new_privs),
        linux=replace(spec.linux, seccomp=profile),
    )


async def let_go(container: Container) -> None:
    async for request in container.seccomp_notifications():
        with contextlib.suppress(RequestGoneError):
            await request.continue_()


async def test_create_with_a_listener_at_any_moment(runtime: Runtime, rootfs: str) -> None:
    spec = asking(rootfs, "mkdir", no_new_privs=False)
    for step in range(60):
        task = asyncio.create_task(runtime.create("aioc-test-cancel", spec, seccomp_listener=True))
        await asyncio.sleep(step * 0.0002)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await task).delete()
    assert await left(runtime) == []


@pytest.mark.parametrize("answered", [True, False])
async def test_exec_with_a_listener_at_any_moment(runtime: Runtime, rootfs: str, answered: bool) -> None:
    """Also one that waits in execve(2) for an answer that never comes."""
    spec = asking(rootfs, "execve", no_new_privs=True)
    container = await runtime.create("aioc-test-cancel", spec, seccomp_listener=True)
    answers = asyncio.create_task(let_go(container))
    await container.start()
    if not answered:
        answers.cancel()
        await asyncio.wait([answers])
    for step in range(40):
        task = asyncio.create_task(container.exec(["sleep", "60"]))
        await asyncio.sleep(step * 0.0004)
        task.cancel()
        try:
            process = await task
        except asyncio.CancelledError:
            continue
        await process.end()
        process.close()
    assert await container.processes() == [container.pid]
    await container.delete(force=True)
    await asyncio.wait([answers])
