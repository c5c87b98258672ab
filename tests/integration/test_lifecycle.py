"""Containers on the real kernel: create, start, wait, exec, kill, delete, and what may not be done when."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from typing import TYPE_CHECKING

import pytest

from aiocontainer import (
    BootstrapError,
    ExistsError,
    NotFoundError,
    NotRunningError,
    Runtime,
    Spec,
    SpecError,
    StateError,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("root")


def shell(script: str, rootfs: str) -> Spec:
    return Spec.default(["sh", "-c", script], rootfs=rootfs)


async def test_create_start_wait_delete(runtime: Runtime, rootfs: str) -> None:
    c = await runtime.create("aioc-test-1", shell("echo hello; exit 3", rootfs), stdin=DEVNULL, stdout=PIPE)
    assert await c.status() is Status.CREATED
    assert c.pid > 0
    await c.start()
    assert c.stdout is not None
    assert await c.stdout.read() == b"hello\n"
    exit = await c.wait()
    assert (exit.code, exit.signal, exit.known) == (3, None, True)
    assert exit.duration_s is not None
    assert exit.duration_s >= 0
    assert exit.rusage is not None
    assert await c.status() is Status.STOPPED
    assert c.pid == 0
    await c.delete()
    await c.delete()
    with pytest.raises(NotFoundError):
        await runtime.load("aioc-test-1")


async def test_isolation(runtime: Runtime, rootfs: str) -> None:
    script = "echo $$; hostname; ls /sys/class/net; cat /proc/self/mountinfo | wc -l; id -u; pwd; ps | wc -l"
    spec = shell(script, rootfs).with_hostname("inside")
    async with runtime.container(spec, stdout=PIPE) as c:
        assert c.stdout is not None
        lines = (await c.stdout.read()).decode().split("\n")
        assert (await c.wait()).clean
    assert lines[:3] == ["1", "inside", "lo"]
    assert int(lines[3]) < 40
    assert lines[4:6] == ["0", "/"]


async def test_from_bundle_bytes_and_spec(
    runtime: Runtime, rootfs: str, bundle: Callable[[Spec], str]
) -> None:
    spec = shell("true", rootfs)
    for source in (spec, spec.encode(), bundle(spec)):
        c = await runtime.create(None, source)
        await c.start()
        assert (await c.wait()).clean
        await c.delete()


async def test_many_waiters_and_a_late_one(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(shell("read x; exit 7", rootfs), stdin=PIPE) as c:
        waiters = [asyncio.create_task(c.wait()) for _ in range(5)]
        cancelled = asyncio.create_task(c.wait())
        await asyncio.sleep(0)
        cancelled.cancel()
        assert c.stdin is not None
        c.stdin.write(b"go\n")
        assert {(await waiter).code for waiter in waiters} == {7}
        assert (await c.wait()).code == 7
        with pytest.raises(asyncio.CancelledError):
            await cancelled


async def test_what_may_not_be_done_when(runtime: Runtime, rootfs: str) -> None:
    c = await runtime.create("aioc-test-2", shell("sleep 60", rootfs))
    with pytest.raises(ExistsError):
        await runtime.create("aioc-test-2", shell("true", rootfs))
    await c.start()
    with pytest.raises(StateError, match="already started"):
        await c.start()
    with pytest.raises(StateError, match="kill it first"):
        await c.delete()
    await c.kill("KILL")
    assert (await c.wait()).signal is signal.SIGKILL
    for refused in (c.kill(), c.start(), c.exec(["true"])):
        with pytest.raises(NotRunningError):
            await refused
    await c.delete()


async def test_delete_of_what_was_never_started(runtime: Runtime, rootfs: str) -> None:
    c = await runtime.create(None, shell("true", rootfs))
    await c.delete()
    assert (await c.wait()).signal is signal.SIGKILL


async def test_exec(runtime: Runtime, rootfs: str) -> None:
    spec = shell("sleep 60", rootfs).with_env(COLOUR="red")
    async with runtime.container(spec) as c:
        p = await c.exec(
            [
                "sh",
                "-c",
                "echo $COLOUR $EXTRA; id -u; id -g; pwd; cat /proc/1/cmdline | tr '\\0' ' '; cat >&2",
            ],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={"EXTRA": "more"},
            cwd="/tmp",
            user="1000:1000",
        )
        out, err = await p.communicate(b"to stderr")
        assert (
            out == b"red more\n1000\n1000\n/tmp\nsh -c sleep 60 "
            or out == b"red more\n1000\n1000\n/tmp\nsleep 60 "
        )
        assert err == b"to stderr"
        assert (await p.wait()).clean
        assert (await (await c.exec(["sh", "-c", "exit 5"])).wait()).code == 5
        left = await c.exec(["sh", "-c", "exit 6"], reap=False)
        assert (await left.wait()).code == 6
        _, status = await asyncio.to_thread(os.waitpid, left.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 6
        q = await c.exec(["sleep", "60"])
        assert set(await c.processes()) == {c.pid, q.pid}
        q.kill()
        assert (await q.wait()).signal is signal.SIGKILL
        namespaces = {
            name: os.readlink(f"/proc/{c.pid}/ns/{name}") for name in ("mnt", "net", "pid", "uts", "ipc")
        }
        p = await c.exec(
            ["sh", "-c", "for n in mnt net pid uts ipc; do readlink /proc/self/ns/$n; done"], stdout=PIPE
        )
        out, _ = await p.communicate()
        assert out is not None
        assert out.decode().split() == list(namespaces.values())


async def test_program_not_there(runtime: Runtime, rootfs: str) -> None:
    with pytest.raises(BootstrapError) as caught:
        await runtime.create("aioc-test-3", Spec.default(["/no/such"], rootfs=rootfs))
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == 2
    assert caught.value.origin == "$.process.args[0]"
    with pytest.raises(NotFoundError):
        await runtime.load("aioc-test-3")
    async with runtime.container(shell("sleep 60", rootfs)) as c:
        with pytest.raises(BootstrapError):
            await c.exec(["/no/such"])
        with pytest.raises(BootstrapError) as caught:
            await c.exec(["/etc"])
        assert await c.processes() == [c.pid]


async def test_stderr_to_stdout_and_files(runtime: Runtime, rootfs: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    done = await runtime.run(shell("echo out; echo err >&2", rootfs), stderr=STDOUT)
    assert (done.stdout, done.stderr) == (b"out\nerr\n", None)
    with open(tmp_path / "out", "wb") as file:
        await runtime.run(shell("echo file", rootfs), stdout=file)
    assert (tmp_path / "out").read_bytes() == b"file\n"
    with pytest.raises(SpecError):
        await runtime.run(shell("true", rootfs), stdout=987)


async def test_backpressure_loses_nothing(runtime: Runtime, rootfs: str) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do echo line number $i; i=$((i+1)); done"
    async with runtime.container(shell(script, rootfs), stdout=PIPE) as c:
        await asyncio.sleep(0.1)
        assert c.stdout is not None
        count = 0
        async for line in c.stdout:
            assert line == f"line number {count}\n".encode()
            count += 1
        assert count == 20000


async def test_timeout_leaves_nothing(runtime: Runtime, rootfs: str) -> None:
    with pytest.raises(TimeoutError):
        await runtime.run(shell("sleep 60", rootfs), timeout_s=0.5)


async def test_another_process_takes_over(rootfs: str, tmp_path, snap) -> None:  # type: ignore[no-untyped-def]
    root = str(tmp_path / "shared")
    snap.watch(root)
    async with Runtime(root, lifetime="detached") as first, Runtime(root, lifetime="detached") as second:
        c = await first.create("aioc-test-4", shell("sleep 60", rootfs))
        d = await second.load("aioc-test-4")
        assert d is not c
        assert await d.status() is Status.CREATED
        await d.start()
        assert await c.status() is Status.RUNNING
        with pytest.raises(StateError, match="already started"):
            await c.start()
        p = await d.exec(["true"])
        assert (await p.wait()).clean
        assert [found.id async for found in second.list()] == ["aioc-test-4"]
        await d.kill("KILL")
        assert (await c.wait()).signal is signal.SIGKILL
        await d.wait()
        assert await d.status() is Status.STOPPED
        await d.delete()
        with pytest.raises(NotFoundError):
            await second.load("aioc-test-4")
        await c.delete(force=True)


async def test_killed_by_a_realtime_signal(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(shell("sleep 60", rootfs)) as c:
        p = await c.exec(["sleep", "60"])
        assert p.send_signal("RTMIN+6")
        exit = await p.wait()
        assert (exit.signal, str(exit)) == (signal.SIGRTMIN + 6, "killed by signal 40")


async def test_pause_and_resume(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(shell("while :; do echo x; done", rootfs), stdout=DEVNULL) as c:
        await c.pause()
        assert await c.status() is Status.PAUSED
        with pytest.raises(StateError):
            await c.exec(["true"])
        await c.resume()
        assert await c.status() is Status.RUNNING
        await c.pause()  # and the block is left: delete kills what is frozen


async def test_ignored_sigchld(runtime: Runtime, rootfs: str) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        async with runtime.container(shell("exit 9", rootfs)) as c:
            exit = await c.wait()
            if exit.known:  # Linux 6.15
                assert exit.code == 9
            else:
                assert (exit.code, exit.signal) == (None, None)
    finally:
        signal.signal(signal.SIGCHLD, before)
