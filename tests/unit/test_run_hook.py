"""Running one hook of the runtime's own namespaces: what it gets, and how it may fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiocontainer
from aiocontainer import HookError
from aiocontainer.hooks import Callbacks, inherited_environment, run_callback, run_hook
from aiocontainer.spec import Hook, State

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("compiled")

STATE = State(oci_version="1.3.0", id="web", status="creating", pid=7, bundle="/")
ORIGIN = "$.hooks.prestart[0]"


def shell(script: str, **fields: Any) -> Hook:
    return Hook(path="/bin/sh", args=("sh", "-c", script), **fields)


async def run(hook: Hook, state: bytes = b"{}", cwd: str = "/", env: dict[str, str] | None = None) -> None:
    await run_hook(hook, state, origin=ORIGIN, cwd=cwd, env=env or {"PATH": os.environ["PATH"]})


async def failed(hook: Hook) -> HookError:
    with pytest.raises(HookError) as caught:
        await run(hook)
    assert caught.value.hook == ORIGIN
    return caught.value


async def until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - others' processes set no event
            await asyncio.sleep(0.01)


async def test_output_to_files(tmp_path: Path) -> None:
    """Appended, and made where there is none; a relative path is below the directory."""
    (tmp_path / "errors").write_text("before\n")
    outputs = (str(tmp_path / "output"), "errors")
    for _ in range(2):
        hook = shell("echo out; echo err >&2")
        await run_hook(hook, b"{}", origin=ORIGIN, cwd=str(tmp_path), env={}, outputs=outputs)
    assert (tmp_path / "output").read_text() == "out\nout\n"
    assert (tmp_path / "output").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "errors").read_text() == "before\nerr\nerr\n"


async def test_output_to_one_file_alone(tmp_path: Path) -> None:
    """What goes nowhere else is told of a failure."""
    with pytest.raises(HookError) as caught:
        await run_hook(
            shell("echo out; echo err >&2; exit 3"),
            b"{}",
            origin=ORIGIN,
            cwd=str(tmp_path),
            env={},
            outputs=("output", ""),
        )
    assert (caught.value.returncode, caught.value.output) == (3, b"err\n")
    assert (tmp_path / "output").read_text() == "out\n"


async def test_output_to_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(HookError, match="Not a directory"):
        await run_hook(shell("true"), b"{}", origin=ORIGIN, cwd="/", env={}, outputs=("/dev/null/x", ""))


def ended(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


async def test_what_it_gets(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    script = f'cat > {path}; echo >> {path}; pwd >> {path}; echo "$A$B$C" >> {path}; echo $0 >> {path}'
    hook = Hook(
        path="/bin/sh",
        args=("my-name", "-c", script, "zero"),
        env=("PATH=/bin:/usr/bin", "A=1", "A=2", "B=="),
    )
    await run(hook, b'{"id":"web"}', str(tmp_path), {"C": "not this"})
    assert path.read_text().splitlines() == ['{"id":"web"}', str(tmp_path), "2=", "zero"]


async def test_inherited_environment(tmp_path: Path) -> None:
    await run(shell(f"echo $C > {tmp_path}/seen"), env={"C": "inherited"})
    assert (tmp_path / "seen").read_text() == "inherited\n"


def test_what_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR", "KEPT", "TMPDIR_"):
        monkeypatch.setenv(name, "x")
    assert inherited_environment().keys() & {"LD_PRELOAD", "PYTHONPATH", "TMPDIR"} == set()
    assert inherited_environment().keys() >= {"KEPT", "TMPDIR_", "PATH"}


async def test_a_bundle_that_is_gone(tmp_path: Path) -> None:
    await run(shell(f"pwd > {tmp_path}/seen"), cwd=str(tmp_path / "gone"))
    assert (tmp_path / "seen").read_text() == "/\n"


async def test_status_and_output() -> None:
    error = await failed(shell("echo told; echo why >&2; exit 3"))
    assert (error.returncode, error.output) == (3, b"told\nwhy\n")
    assert str(error) == f"{ORIGIN}: ended with 3: told\nwhy"


async def test_signal() -> None:
    assert (await failed(shell("kill -KILL $$"))).returncode == -signal.SIGKILL


@pytest.mark.parametrize("path", ["/no/such/hook", "/etc", "/etc/passwd", "/bin/sh\0x"])
async def test_what_cannot_be_run(path: str) -> None:
    error = await failed(Hook(path=path))
    assert error.returncode is None
    assert error.problem


async def test_deadline(tmp_path: Path) -> None:
    began = time.monotonic()
    error = await failed(shell(f"sleep 61 & echo $$ $! > {tmp_path}/pids; echo here; wait", timeout=1))
    assert (error.returncode, error.output) == (None, b"here\n")
    assert str(error) == f"{ORIGIN}: timed out: here"
    assert 1 <= time.monotonic() - began < 10
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    await until(lambda: all(map(ended, pids)))


async def test_cancellation(tmp_path: Path) -> None:
    task = asyncio.create_task(run(shell(f"sleep 62 & echo $$ $! > {tmp_path}/pids; wait")))
    await until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    await until(lambda: all(map(ended, pids)))


async def test_flood() -> None:
    error = await failed(shell("head -c 3000000 /dev/zero | tr '\\0' x; echo end; exit 1"))
    assert len(error.output) == 4096
    assert error.output.endswith(b"xend\n")


async def test_not_reading_is_no_failure() -> None:
    await run(shell("exec <&-"), b"x" * 1_000_000)


async def test_daemon_that_keeps_the_pipe_open(tmp_path: Path) -> None:
    began = time.monotonic()
    await run(shell(f"sleep 63 & echo $! > {tmp_path}/pid"))
    assert time.monotonic() - began < 10
    pid = int((tmp_path / "pid").read_text())
    assert not ended(pid)
    os.kill(pid, signal.SIGKILL)


async def test_nothing_is_left_open() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for hook in (shell("true"), shell("false"), Hook(path="/no/such/hook"), shell("sleep 9", timeout=1)):
        with contextlib.suppress(HookError):
            await run(hook)
    assert sorted(os.listdir("/proc/self/fd")) == before


async def test_callbacks() -> None:
    seen: list[object] = []

    async def note(state: State) -> None:
        seen.append(state)

    async def hang(state: State) -> None:
        await asyncio.Event().wait()

    callbacks = Callbacks(create_runtime=note, poststart=hang, timeout_s=0.05)
    await run_callback(callbacks, "create_runtime", STATE)
    await run_callback(callbacks, "poststop", STATE)
    assert seen == [STATE]
    with pytest.raises(TimeoutError) as caught:
        await run_callback(callbacks, "poststart", STATE)
    assert caught.value.__notes__ == ["in the callback poststart"]


async def test_state_is_the_document(tmp_path: Path) -> None:
    from aiocontainer.spec import encode

    await run(shell(f"cat > {tmp_path}/state"), encode(STATE))
    assert json.loads((tmp_path / "state").read_text())["status"] == "creating"


async def test_ignored_sigchld() -> None:
    """The status is known, or at least that it is not (before Linux 6.15)."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert (await failed(shell("exit 3"))).returncode in (3, None)
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1), (0, 1, 2)], ids=str)
def test_closed_standard_streams(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """Whatever numbers our descriptors have: the hook's are 0 to 2."""
    code = """
import asyncio, os, sys
for number in map(int, sys.argv[2].split(",")):
    os.close(number)
from aiocontainer.hooks import run_hook
from aiocontainer.spec import Hook
script = f"cat > {sys.argv[1]}; set -- /proc/self/fd/*; echo $# >> {sys.argv[1]}"
hook = Hook(path="/bin/sh", args=("sh", "-c", script))
asyncio.run(run_hook(hook, b"state\\n", origin="", cwd="/", env={"PATH": os.environ["PATH"]}))
os._exit(7)
"""
    arguments = [str(tmp_path / "seen"), ",".join(map(str, closed))]
    package = str(Path(aiocontainer.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 7, done.stderr
    assert (tmp_path / "seen").read_text() == "state\n4\n"  # the fourth is the shell's, for the pattern
