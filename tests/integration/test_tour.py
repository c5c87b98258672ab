"""The tour of the public surface, as users will read it: each line either works or says what it waits for."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from typing import TYPE_CHECKING

import pytest
from support.cgroups import needs_controllers

import aiocontainer
from aiocontainer import (
    Mount,
    NotFoundError,
    Resources,
    Runtime,
    Spec,
    SpecError,
    StateError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root")


@pytest.fixture
async def runtime(tmp_path: Path, snap: Leaks) -> AsyncIterator[Runtime]:
    snap.watch(str(tmp_path / "state"))
    async with Runtime(root=str(tmp_path / "state"), cgroups="auto", lifetime="owner") as runtime:
        yield runtime


async def test_one_command(snap: Leaks) -> None:
    done = await aiocontainer.run(["python3", "-c", "print(6*7)"], timeout_s=5)
    assert (done.stdout, done.stderr) == (b"42\n", b"")
    assert done.exit.clean
    assert done.check() is done
    failed = await aiocontainer.run(["sh", "-c", "echo oh >&2; exit 3"])
    with pytest.raises(aiocontainer.ContainerExited, match="oh"):
        failed.check()


async def test_one_command_with_limits() -> None:
    try:
        done = await aiocontainer.run(["true"], timeout_s=5, memory="256M", pids=64, cpus=0.5)
    except UnsupportedError as exc:
        pytest.skip(f"needs {exc.needs}")
    assert done.check().stats is not None
    assert done.stats.pids.limit == 64
    assert done.stats.memory.limit_bytes == 256 << 20


async def test_owned(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(Spec.default(["sleep", "60"], rootfs=rootfs), id=None, stdout=PIPE) as c:
        assert (c.id, (await c.state()).status) == (c.id, "running")
        assert c.pid > 1
        await c.kill("KILL")
        assert c.stdout is not None
        async for line in c.stdout:
            pytest.fail(f"sleep wrote {line!r}")
    with pytest.raises(NotFoundError):
        await runtime.load(c.id)


async def test_lifecycle(runtime: Runtime, rootfs: str, bundle: Callable[[Spec], str]) -> None:
    needs_controllers("memory")
    path = bundle(
        Spec.default(["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"], rootfs=rootfs)
    )
    c = await runtime.create("aioc-test-web-1", path, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
    assert await c.status() == "created"
    await c.start()
    assert await c.status() == "running"
    assert c.stdout is not None
    assert await c.stdout.readline() == b"up\n"
    p = await c.exec(["sh", "-c", "id"], stdout=PIPE)
    out, err = await p.communicate()
    assert out is not None
    assert out.startswith(b"uid=0")
    assert err is None
    p = await c.exec(["sleep", "60"], timeout_s=0.1)
    assert (await p.wait()).signal == signal.SIGKILL
    await c.pause()
    await c.resume()
    await c.update(Resources())
    s = await c.stats()
    assert s.memory.usage_bytes > 0
    assert s.cpu.total_ns > 0
    assert s.pids.current >= 1
    await c.kill("TERM")
    exit = await c.wait()
    assert exit.clean
    await c.delete()
    d = await runtime.create("aioc-test-web-2", path, stdin=DEVNULL, stdout=PIPE)
    await d.start()
    assert d.stdout is not None
    assert await d.stdout.readline() == b"up\n"  # from here on it listens
    assert (await d.stop(grace_s=10)).clean
    await d.delete(force=True)


async def test_what_others_created(runtime: Runtime, rootfs: str, bundle: Callable[[Spec], str]) -> None:
    path = bundle(Spec.default(["sleep", "60"], rootfs=rootfs))
    async with Runtime(root=runtime.root, lifetime="detached") as other:
        await other.create("aioc-test-web-1", path)
    c = await runtime.load("aioc-test-web-1")
    assert [c.id async for c in runtime.list()] == ["aioc-test-web-1"]
    stream = runtime.events()
    async for sample in c.stats_stream(interval_s=1):
        assert sample.id == c.id
        break
    with pytest.raises(StateError, match="its program does not run yet"):
        await c.checkpoint(images="/ckpt/web-1", leave_running=True)
    with pytest.raises((UnsupportedError, SpecError)):  # there is no CRIU, or no such directory
        await runtime.restore("aioc-test-web-2", path, images="/ckpt/web-1")
    assert "pivot_root" in runtime.plan(path).listing()
    assert await runtime.sweep() == ()
    await c.delete()
    async for event in stream:
        assert event.id == c.id
        if isinstance(event, aiocontainer.Deleted):
            break


async def test_changed_copies(runtime: Runtime, rootfs: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    spec = (
        Spec.default(["sh", "-c", "cat /mnt/file; echo $COLOUR; echo x > /mnt/file"], rootfs=rootfs)
        .with_mount(Mount.bind(str(tmp_path), "/mnt", read_only=True))
        .with_env(COLOUR="red")
        .with_annotation("org.example.key", "value")
        .with_systemd_property("CollectMode", "inactive-or-failed")
    )
    done = await runtime.run(spec)
    assert done.stdout == b"from outside\nred\n"
    assert done.stderr is not None
    assert b"Read-only" in done.stderr
    assert Spec.decode(spec.encode()) == spec


async def test_errors_pass_through(runtime: Runtime, rootfs: str) -> None:
    task = asyncio.create_task(runtime.run(Spec.default(["sleep", "60"], rootfs=rootfs)))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        await runtime.run(Spec.default(["sleep", "60"], rootfs=rootfs), timeout_s=0.3)
    with pytest.raises(SpecError) as caught:
        await runtime.create("aioc-test-bad", b'{"ociVersion": "1.3.0", "process": {"cwd": 1}}')
    assert caught.value.origin == "$.process.cwd"
