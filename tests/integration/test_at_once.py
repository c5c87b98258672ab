"""What is created to be started has no gate, and is otherwise like all others."""

from __future__ import annotations

import os
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from aiocontainer import BootstrapError, Callbacks, Runtime, Spec, StateError
from aiocontainer.spec import Hook, Hooks

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.needs("root", "busybox", "compiled")


async def test_it_runs_and_is_found(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(Spec.default(["sleep", "60"], rootfs=rootfs), id="once") as container:
        assert not os.path.exists(os.path.join(runtime.root, "once", "gate"))
        assert await container.status() == "running"
        with open(f"/proc/{container.pid}/comm") as file:
            assert file.read() == "sleep\n"  # execve(2) has worked by then
        with pytest.raises(StateError):
            await container.start()
        process = await container.exec(["cat", "/proc/1/cmdline"], stdout=PIPE)
        assert (await process.communicate())[0] == b"sleep\x0060\x00"
        async with Runtime(runtime.root, lifetime="detached") as other:
            loaded = await other.load("once")
            assert await loaded.status() == "running"
            with pytest.raises(StateError):
                await loaded.start()
            await loaded.kill("KILL")
        assert (await container.wait()).signal == 9


async def test_how_it_ended_and_when(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(Spec.default(["sh", "-c", "exit 7"], rootfs=rootfs)) as container:
        exit = await container.wait()
    assert exit.code == 7
    assert exit.started_at is not None
    assert exit.exited_at is not None


async def test_a_program_that_cannot_be_executed(runtime: Runtime, rootfs: str) -> None:
    path = os.path.join(rootfs, "bin/broken")
    with open(path, "wb") as file:
        file.write(b"\x7fELF, or not")
    os.chmod(path, 0o755)
    with pytest.raises(BootstrapError) as caught:
        async with runtime.container(Spec.default(["/bin/broken"], rootfs=rootfs), id="broken"):
            raise AssertionError("it cannot run")
    assert "/bin/broken" in str(caught.value)
    assert [found async for found in runtime.list()] == []


@pytest.mark.parametrize("by", ["hook", "callback"])
async def test_who_has_something_to_do_in_between_gets_to_do_it(
    runtime: Runtime, rootfs: str, tmp_path: Path, by: str
) -> None:
    mark = tmp_path / "mark"

    async def note(*_: object) -> None:
        mark.write_text("done")

    spec = Spec.default(["sleep", "60"], rootfs=rootfs)
    hook = Hook(path="/bin/sh", args=("sh", "-c", f"cat > /dev/null; echo done > {mark}"))
    if by == "hook":
        spec = replace(spec, hooks=Hooks(poststart=(hook,)))
    callbacks = Callbacks(poststart=note) if by == "callback" else None
    async with runtime.container(spec, callbacks=callbacks) as container:
        assert await container.status() == "running"
        assert mark.read_text().strip() == "done"


async def test_its_creator_may_ask_for_it(runtime: Runtime, rootfs: str) -> None:
    container = await runtime.create("asked", Spec.default(["true"], rootfs=rootfs), start=True)
    assert (await container.wait()).clean
    await container.delete()
