"""Containers saved, gone, and restored: what they were doing goes on; and what fails leaves them running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from aiocontainer import Callbacks, CriuError, Mount, NotFoundError, Progress, Spec, SpecError, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from support.leaks import Leaks

    from aiocontainer import Container, Runtime

# CRIU reads thousands of small files: no time is asserted anywhere.
pytestmark = [
    pytest.mark.needs("root", "cgroup2", "criu"),
    pytest.mark.may_block("reads files of the container"),
]

COUNTING = "i=0; while :; do i=$((i+1)); echo $i > /tmp/n; sleep 0.05; done"
QUIET: dict[str, Any] = {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": DEVNULL}


def shell(script: str, rootfs: str, **process: Any) -> Spec:
    """A container that may write to its root."""
    spec = Spec.default(["sh", "-c", script], rootfs=rootfs)
    assert spec.process is not None
    assert spec.root is not None
    root = replace(spec.root, readonly=False)
    return replace(spec, root=root, process=replace(spec.process, **process))


class Counter:
    """The number that a container writes to its /tmp/n."""

    def __init__(self, rootfs: str) -> None:
        self._path = os.path.join(rootfs, "tmp/n")

    @property
    def value(self) -> int:
        with contextlib.suppress(FileNotFoundError, ValueError), open(self._path) as file:
            return int(file.read())
        return 0

    async def passes(self, value: int) -> int:
        """Wait until it is more than *value*; what it is then."""
        while True:
            now = self.value
            if now > value:
                return now
            await asyncio.sleep(0.05)


@pytest.fixture
def counter(rootfs: str) -> Counter:
    return Counter(rootfs)


@pytest.fixture
def images(tmp_path: Path) -> str:
    return str(tmp_path / "images")


async def start(runtime: Runtime, spec: Spec, **streams: Any) -> Container:
    container = await runtime.create("aioc-test-saved", spec, **(QUIET | streams))
    await container.start()
    return container


async def test_a_counting_process(runtime: Runtime, rootfs: str, counter: Counter, images: str) -> None:
    """It is gone meanwhile, and then goes on under another id, as a container in every respect."""
    phases: list[str] = []
    spec = shell(COUNTING, rootfs)
    c = await start(runtime, spec)
    await counter.passes(3)
    stats = await c.checkpoint(images=images, progress=lambda progress: phases.append(progress.phase))
    assert stats.pages_written > 0
    assert "post-dump" in phases
    assert (await c.wait()).signal is signal.SIGKILL
    with pytest.raises(NotFoundError):
        await runtime.load("aioc-test-saved")
    saved = counter.value

    c = await runtime.restore("aioc-test-restored", spec, images=images, **QUIET)
    assert await counter.passes(saved) < saved + 1000
    state = await c.state()
    assert (state.status, state.pid) == (Status.RUNNING, c.pid)
    assert any(path.endswith("aioc-test-restored") for path in state.cgroup_paths.values())
    p = await c.exec(["sh", "-c", "ls /proc/1/fd; cat /tmp/n"], stdout=PIPE)
    out, _ = await p.communicate()
    assert out is not None
    assert int(out.split()[-1]) > saved
    assert len(await c.processes()) >= 1
    assert (await c.stats()).pids.current >= 1
    await c.pause()
    await c.resume()
    await c.kill("KILL")
    exit = await c.wait()
    assert (exit.known, exit.signal) == (True, signal.SIGKILL)
    await c.delete()


async def test_a_tree_with_pipes(runtime: Runtime, rootfs: str, counter: Counter, images: str) -> None:
    """What one process writes and another reads is lost by neither; nor is what the outside reads."""
    count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"
    spec = shell(f"({count}) | while read x; do echo $x > /tmp/n; echo $x; done", rootfs)
    reader, writer = os.pipe()
    c = await start(runtime, spec, stdout=writer)
    os.close(writer)
    await counter.passes(3)
    await c.checkpoint(images=images)
    with open(reader) as file:
        before = [int(line) for line in file]
    streams = QUIET | {"stdout": PIPE}
    c = await runtime.restore("aioc-test-saved", spec, images=images, **streams)
    await counter.passes(before[-1] + 3)
    assert len(await c.processes()) >= 3
    assert c.stdout is not None
    after = [int(await c.stdout.readline()) for _ in range(3)]
    assert [*before, *after] == list(range(1, len(before) + 4))
    await c.delete(force=True)


async def test_a_terminal(runtime: Runtime, rootfs: str, images: str) -> None:
    """Its master is handed over anew, its settings are as they were."""
    script = "stty -echo; i=0; while read x; do i=$((i+1)); echo got $x $i; done"
    spec = shell(script, rootfs, terminal=True)
    assert spec.root is not None
    spec = replace(spec, root=replace(spec.root, readonly=True))
    c = await start(runtime, spec, stdin=None, stdout=None, stderr=None)
    assert c.console is not None
    await answers(c, "first", 1)
    await c.checkpoint(images=images)
    c = await runtime.restore("aioc-test-saved", spec, images=images)
    assert c.console is not None
    said = await answers(c, "second", 2)
    assert said.count(b"second") == 1, "it echoes"
    p = await c.exec(["touch", "/written"], stderr=PIPE)
    assert b"Read-only" in ((await p.communicate())[1] or b"")
    await c.delete(force=True)


async def answers(c: Container, word: str, number: int) -> bytes:
    """Type a line at its terminal, and read until it has answered."""
    assert c.console is not None
    await c.console.write(f"{word}\n".encode())
    said = b""
    while f"got {word} {number}".encode() not in said:
        said += await c.console.read()
    return said


@pytest.mark.needs("criu-tcp")
async def test_an_established_connection(runtime: Runtime, rootfs: str, images: str) -> None:
    """The other end, which is outside, notices nothing; without being told to, CRIU says why it does not."""
    port = free_port()
    serve = "i=0; while read x; do i=$((i+1)); echo $x $i; done"
    with open(os.path.join(rootfs, "bin/serve"), "w") as file:
        file.write(f"#!/bin/sh\n{serve}\n")
    os.chmod(os.path.join(rootfs, "bin/serve"), 0o755)
    spec = shell(f"exec nc -ll -p {port} -e /bin/serve", rootfs)
    assert spec.linux is not None
    namespaces = tuple(each for each in spec.linux.namespaces if each.type != "network")
    mounts = tuple(each for each in spec.mounts if each.destination != "/sys")
    spec = replace(spec, mounts=mounts, linux=replace(spec.linux, namespaces=namespaces))
    c = await start(runtime, spec)
    reader, writer = await connected(port)

    async def echo(word: str) -> bytes:
        writer.write(f"{word}\n".encode())
        return await reader.readline()

    assert await echo("one") == b"one 1\n"
    with pytest.raises(CriuError, match="checkpoint of container") as failed:
        await c.checkpoint(images=f"{images}-refused")
    assert any("Error" in line for line in failed.value.log)
    assert any("tcp-established" in line for line in failed.value.log), failed.value.log
    assert await c.status() is Status.RUNNING
    assert await echo("two") == b"two 2\n"

    await c.checkpoint(images=images, tcp_established=True)
    c = await runtime.restore("aioc-test-saved", spec, images=images, tcp_established=True, **QUIET)
    assert await echo("three") == b"three 3\n"
    other, closing = await connected(port)
    closing.write(b"x\n")
    assert await other.readline() == b"x 1\n"
    for each in (writer, closing):
        each.close()
        await each.wait_closed()
    await c.delete(force=True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)


@pytest.mark.needs("criu-tracks")
async def test_in_rounds(runtime: Runtime, rootfs: str, counter: Counter, images: str) -> None:
    """Three pre-dumps, each on the one before, and the last has what they have not."""
    spec = shell(COUNTING, rootfs)
    c = await start(runtime, spec)
    await counter.passes(3)
    counted = []
    for number in (1, 2, 3):
        parent = f"../{number - 1}" if number > 1 else None
        counted.append(await c.checkpoint(images=f"{images}/{number}", pre_dump=True, parent=parent))
        await counter.passes(counter.value)
    rounds = await c.checkpoint_in_rounds(images=f"{images}/more", most=1)
    assert len(rounds) == 2
    assert rounds[-1].pages_in_parent > 0
    assert [os.path.lexists(f"{images}/{number}/parent") for number in (1, 2, 3)] == [False, True, True]
    assert counted[1].pages_in_parent > 0
    saved = counter.value
    c = await runtime.restore("aioc-test-saved", spec, images=f"{images}/more/last", **QUIET)
    await counter.passes(saved)
    await c.delete(force=True)


async def test_criu_dies_in_the_middle(runtime: Runtime, rootfs: str, counter: Counter, images: str) -> None:
    """The container runs on, and the error says what happened; then it can be saved all the same."""
    spec = shell(COUNTING, rootfs)
    c = await start(runtime, spec)
    await counter.passes(3)
    with pytest.raises(CriuError, match="killed by signal 9"):
        await c.checkpoint(images=f"{images}-1", progress=at("query-ext-files", kill_criu))
    assert await c.status() is Status.RUNNING
    await counter.passes(counter.value + 2)
    if shutil.which("iptables"):
        command = ["nsenter", f"--net=/proc/{c.pid}/ns/net", "iptables", "-S"]
        assert (
            "CRIU"
            not in subprocess.run(  # noqa: ASYNC221
                command, capture_output=True, text=True, check=True
            ).stdout
        )
    await c.checkpoint(images=images)
    saved = counter.value

    # So does one that restores: then nothing is left, which `runtime` looks after.
    with pytest.raises(CriuError, match="killed by signal 9"):
        await runtime.restore(
            "aioc-test-lost", spec, images=images, **QUIET, progress=at("post-restore", kill_criu)
        )
    with pytest.raises(NotFoundError):
        await runtime.load("aioc-test-lost")
    c = await runtime.restore("aioc-test-saved", spec, images=images, **QUIET)
    await counter.passes(saved)
    await c.delete(force=True)


def at(phase: str, act: Callable[[], object]) -> Callable[[Progress], None]:
    def look(progress: Progress) -> None:
        if progress.phase == phase:
            act()

    return look


def kill_criu() -> None:
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            children = file.read().split()
        for child in children:
            with open(f"/proc/{child}/cmdline") as file:
                words = file.read()
            if words.startswith("criu"):
                os.kill(int(child), signal.SIGKILL)


async def test_cancelled(runtime: Runtime, rootfs: str, counter: Counter, images: str) -> None:
    """A cancelled checkpoint leaves it running, a cancelled restore leaves nothing."""
    spec = shell(COUNTING, rootfs)
    c = await start(runtime, spec)
    await counter.passes(3)
    await cancelled_at("post-dump", lambda look: c.checkpoint(images=f"{images}-1", progress=look))
    await counter.passes(counter.value + 2)
    await c.checkpoint(images=images)
    saved = counter.value
    for phase in ("setup-namespaces", "post-restore"):
        await cancelled_at(
            phase,
            lambda look: runtime.restore("aioc-test-saved", spec, images=images, **QUIET, progress=look),
        )
        with pytest.raises(NotFoundError):
            await runtime.load("aioc-test-saved")
    assert counter.value == saved


async def cancelled_at(phase: str, work: Callable[[Any], Awaitable[object]]) -> None:
    async def task() -> None:
        await work(at(phase, running.cancel))

    running = asyncio.ensure_future(task())
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_with_mounts_elsewhere(
    runtime: Runtime, rootfs: str, counter: Counter, images: str, tmp_path: Path
) -> None:
    """A copy of a container that runs on: its bind mounts show what the new specification says."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    spec = shell(COUNTING, rootfs)
    c = await start(runtime, spec.with_mount(Mount.bind(str(tmp_path / "here"), "/mnt/data")))
    await counter.passes(3)
    await c.checkpoint(images=images, leave_running=True)
    await counter.passes(counter.value)
    await c.delete(force=True)
    missing = spec.with_mount(Mount.bind(str(tmp_path / "nowhere"), "/mnt/data"))
    with pytest.raises(SpecError, match="does not exist"):
        await runtime.restore("aioc-test-copy", missing, images=images, **QUIET)
    moved = spec.with_mount(Mount.bind(str(tmp_path / "there"), "/mnt/data"))
    called: list[str] = []
    callbacks = Callbacks(
        create_runtime=lambda state: note(called, f"create {state.pid}"),
        poststart=lambda state: note(called, f"poststart {state.pid}"),
        poststop=lambda state: note(called, "poststop"),
    )
    copy = await runtime.restore("aioc-test-copy", moved, images=images, callbacks=callbacks, **QUIET)
    assert called == [f"create {copy.pid}", f"poststart {copy.pid}"]
    p = await copy.exec(["cat", "/mnt/data/file"], stdout=PIPE)
    assert (await p.communicate())[0] == b"there"
    await copy.delete(force=True)
    assert called[2:] == ["poststop"]


async def note(called: list[str], what: str) -> None:
    called.append(what)


@pytest.mark.needs("criu-tracks")  # without, CRIU 4.1 breaks off in splice(2): EBADF
async def test_lazily(runtime: Runtime, rootfs: str, counter: Counter, images: str) -> None:
    """The copy runs before its memory has come; the original goes when all of it has."""
    spec = shell(COUNTING, rootfs)
    c = await start(runtime, spec)
    await counter.passes(3)
    port = free_port()
    reader, writer = os.pipe()
    lazily: dict[str, Any] = {"images": images, "lazy_pages": True}
    saving = asyncio.ensure_future(c.checkpoint(**lazily, page_server=("127.0.0.1", port), status_fd=writer))
    with open(reader, "rb", buffering=0) as told:
        assert await asyncio.to_thread(told.read, 1) == b"\0"
    os.close(writer)
    saved = counter.value
    words = ["lazy-pages", "-D", images, "--page-server", "--address", "127.0.0.1", "--port", str(port)]
    fetching = await asyncio.create_subprocess_exec("criu", *words, **QUIET)
    while not os.path.exists(f"{images}/lazy-pages.socket"):
        assert fetching.returncode is None
        await asyncio.sleep(0.05)
    copy = await runtime.restore("aioc-test-copy", spec, **lazily, **QUIET)
    await counter.passes(saved)
    await saving
    assert await fetching.wait() == 0
    assert (await c.wait()).signal is signal.SIGKILL
    await counter.passes(counter.value)
    await copy.delete(force=True)


def test_by_the_command(
    bundle: Callable[[Spec], str], rootfs: str, counter: Counter, images: str, snap: Leaks, tmp_path: Path
) -> None:
    """What is restored detached outlives the command, and another one finds it."""
    root = str(tmp_path / "state")
    snap.watch(root)
    path = bundle(shell(COUNTING, rootfs))

    def command(*words: str) -> str:
        line = [sys.executable, "-m", "aiocontainer", "--root", root, *words]
        with open(tmp_path / "output", "w+b") as output:
            done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        text = (tmp_path / "output").read_text()
        assert done.returncode == 0, text
        return text

    def passes(value: int) -> int:
        while counter.value <= value:
            time.sleep(0.05)
        return counter.value

    command("run", "-d", "-b", path, "aioc-test-1")
    passes(3)
    command("checkpoint", "--image-path", images, "aioc-test-1")
    saved = counter.value
    pid_file = str(tmp_path / "pid")
    command("restore", "-d", "-b", path, "--image-path", images, "--pid-file", pid_file, "aioc-test-2")
    state = json.loads(command("state", "aioc-test-2"))
    with open(pid_file) as file:
        assert (state["status"], state["pid"]) == ("running", int(file.read()))
    passes(saved)
    command("delete", "--force", "aioc-test-2")
