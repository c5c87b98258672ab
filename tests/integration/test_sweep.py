"""What killed owners leave is found and removed; what lives, or was meant to stay, is not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest

from aiocontainer import NotFoundError, Runtime, Spec

if TYPE_CHECKING:
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root", "busybox")

STAYS = f"aioc-test-{os.urandom(4).hex()}"

OWNER = """
import asyncio, sys
from asyncio.subprocess import DEVNULL
from aiocontainer import Runtime, Spec

async def main(root, rootfs, lifetime, id):
    async with Runtime(root=root, lifetime=lifetime) as runtime:
        spec = Spec.default(["sleep", "60"], rootfs=rootfs)
        c = await runtime.create(id, spec, stdin=DEVNULL, stdout=DEVNULL)  # nobody waits for its output
        await c.start()
        print(c.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""

INTERRUPTED = (
    """
import os, signal, sys
from aiocontainer.container.setup import Setup
Setup._save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
    + OWNER
)


async def killed_owner(code: str, root: str, rootfs: str, lifetime: str, id: str) -> None:
    """Let a process create a container, and kill it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, root, rootfs, lifetime, id, stdout=PIPE
    )
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 30)
    with contextlib.suppress(ProcessLookupError):  # the interrupted one kills itself
        process.send_signal(signal.SIGKILL)
    await process.wait()


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(10):
        while any(os.path.exists(f"/proc/{pid}") for pid in pids):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)


@pytest.fixture
def root(snap: Leaks, tmp_path: Path) -> str:
    path = str(tmp_path / "state")
    snap.watch(path)
    return path


async def test_what_a_killed_owner_left(root: str, rootfs: str) -> None:
    await killed_owner(OWNER, root, rootfs, "owner", "aioc-test-orphan")
    async with Runtime(root=root) as runtime:
        async with asyncio.timeout(20):
            while not (found := await runtime.sweep(dry_run=True)):  # noqa: ASYNC110 - its init still dies
                await asyncio.sleep(0.05)
        assert [(each.id, each.reason) for each in found] == [("aioc-test-orphan", "orphaned")]
        assert await runtime.sweep() == found
        assert await runtime.sweep() == ()
        with pytest.raises(NotFoundError):
            await runtime.load("aioc-test-orphan")


async def test_what_a_killed_owner_had_paused(root: str, rootfs: str) -> None:
    """SIGKILL alone does not end what v1's freezer holds."""
    code = OWNER.replace("print(", "await c.pause(); print(")
    await killed_owner(code, root, rootfs, "owner", "aioc-test-paused")
    async with Runtime(root=root) as runtime:
        assert [each.id for each in await runtime.sweep()] == ["aioc-test-paused"]
    assert os.listdir(root) == []


async def test_an_interrupted_creation(root: str, rootfs: str) -> None:
    await killed_owner(INTERRUPTED, root, rootfs, "detached", "aioc-test-half")
    async with Runtime(root=root) as runtime:
        found = await runtime.sweep()
        assert [(each.id, each.reason) for each in found] == [("aioc-test-half", "interrupted")]
        assert [c.id async for c in runtime.list()] == []


async def test_what_lives_or_was_meant_to_stay_is_not_touched(root: str, rootfs: str) -> None:
    await killed_owner(OWNER, root, rootfs, "detached", STAYS)
    async with Runtime(root=root) as runtime, Runtime(root=root) as other:
        c = await other.create("aioc-test-mine", Spec.default(["true"], rootfs=rootfs))
        await c.start()
        await c.wait()
        assert await runtime.sweep() == ()
        stays = await runtime.load(STAYS)
        assert stays.pid
        await stays.kill("KILL")
        await stays.wait()
        assert await runtime.sweep() == (), "somebody may want to know how it ended"
        await stays.delete()


async def test_the_command(root: str, rootfs: str) -> None:
    await killed_owner(INTERRUPTED, root, rootfs, "owner", "aioc-test-half")
    arguments = (sys.executable, "-m", "aiocontainer", "--root", root, "prune")
    for more, expected in (
        (("--dry-run",), b"aioc-test-half: interrupted\n"),
        (("-q",), b"aioc-test-half\n"),
        ((), b""),
    ):
        process = await asyncio.create_subprocess_exec(*arguments, *more, stdout=PIPE)
        assert (await process.communicate())[0] == expected
        assert process.returncode == 0
