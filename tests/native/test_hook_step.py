"""A hook in the container's own process: what it is given, and how little it can do to us."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import talk
from support.processes import is_alive
from talk import Raw, program, step

from aiocontainer import native
from aiocontainer.native._lib import lib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

STATE = (b'{"id":"x","pid":', b',"bundle":"/"}')
TRUE = program("/bin/true")


def hook(
    script: str,
    *,
    env: Sequence[str] = ("PATH=/usr/bin:/bin",),
    directory: str = "/",
    timeout_s: float = 0,
    state: tuple[bytes, bytes] = STATE,
) -> Raw:
    strings = ("/bin/sh", directory, "hook", "-c", script, *env)
    before, after = state
    return step("HOOK", a=3, b=int(timeout_s * 1000), c=len(before), strings=strings, data=before + after)


def failed(spawner: native.Spawner, *steps: Raw) -> native.Reply:
    done = talk.run(spawner, [*steps, *TRUE])
    done.exits()
    assert done.failure is not None
    return done.failure


def passes(spawner: native.Spawner, *steps: Raw) -> None:
    done = talk.run(spawner, [*steps, *TRUE])
    assert done.failure is None, done.failure
    assert [each.code for each in done.exits()] == [0]


@contextmanager
def quick(limit_s: float = 3) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < limit_s


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


# What it is given.


def test_state_with_the_pid_of_the_container(spawner: native.Spawner, tmp_path: Path) -> None:
    path = tmp_path / "state"
    done = talk.run(spawner, [hook(f"cat > {path}"), *TRUE])
    done.exits()
    assert json.loads(path.read_text()) == {"id": "x", "pid": done.processes[0].value, "bundle": "/"}


def test_a_state_larger_than_a_pipe(spawner: native.Spawner, tmp_path: Path) -> None:
    path = tmp_path / "state"
    passes(spawner, hook(f"cat > {path}", state=(b"x" * 200_000, b"y" * 60_000)))
    assert path.stat().st_size > 260_000


def test_environment_arguments_and_directory(spawner: native.Spawner, tmp_path: Path) -> None:
    path = tmp_path / "seen"
    script = f"tr '\\0' '\\n' < /proc/$$/environ > {path}; pwd >> {path}; echo $0 >> {path}; umask >> {path}"
    passes(spawner, step("UMASK", a=0o027), hook(script, env=("A=1", "B=2"), directory=str(tmp_path)))
    assert path.read_text().splitlines() == ["A=1", "B=2", str(tmp_path), "hook", "0027"]


def test_nothing_of_ours(spawner: native.Spawner, tmp_path: Path) -> None:
    """No descriptor, no terminal, a session and a process group of its own."""
    path = tmp_path / "seen"
    fds = [os.memfd_create(f"m{n}") for n in range(3)]
    script = f"ls /proc/$$/fd > {path}; cut -d' ' -f 1,5,6 /proc/$$/stat >> {path}; echo $$ >> {path}"
    done = talk.run(spawner, [step("FD", fd=0, a=9), hook(script), *TRUE], fds)
    assert done.failure is None
    done.exits()
    for fd in fds:
        os.close(fd)
    *numbers, ids, pid = path.read_text().splitlines()
    assert numbers == ["0", "1", "10", "2"]  # 10 is the shell's own, for its redirection
    assert set(ids.split()) == {pid}


def test_one_after_the_other(spawner: native.Spawner, tmp_path: Path) -> None:
    path = tmp_path / "order"
    passes(spawner, *(hook(f"sleep 0.0{3 - n}; echo {n} >> {path}") for n in range(3)))
    assert path.read_text() == "0\n1\n2\n"


def test_the_first_failure_is_the_last_hook(spawner: native.Spawner, tmp_path: Path) -> None:
    path = tmp_path / "order"
    reply = failed(spawner, hook(f"echo 0 >> {path}"), hook("exit 7"), hook(f"echo 2 >> {path}"))
    assert (reply.step, reply.value) == (1, 7)
    assert path.read_text() == "0\n"


# How it may fail.


def test_exit_status(spawner: native.Spawner) -> None:
    reply = failed(spawner, hook("echo told; echo why >&2; exit 3"))
    assert (reply.error, reply.call, reply.value, reply.text) == (errno.ECANCELED, "hook", 3, b"told\nwhy\n")


def test_signal(spawner: native.Spawner) -> None:
    reply = failed(spawner, hook("echo bye; kill -USR1 $$"))
    assert (reply.error, reply.value, reply.text) == (errno.ECANCELED, -signal.SIGUSR1, b"bye\n")


@pytest.mark.parametrize(
    ("path", "error"),
    [("/no/such/hook", errno.ENOENT), ("/etc", errno.EACCES), ("/etc/passwd", errno.EACCES)],
)
def test_what_cannot_be_executed(spawner: native.Spawner, path: str, error: int) -> None:
    reply = failed(spawner, step("HOOK", a=1, strings=(path, "", "hook")))
    assert (reply.error, reply.call, reply.value, reply.text) == (error, "hook", 0, b"")


def test_no_such_directory(spawner: native.Spawner) -> None:
    assert failed(spawner, hook("true", directory="/no/such")).error == errno.ENOENT


def test_it_need_not_read(spawner: native.Spawner) -> None:
    passes(spawner, hook("exec <&-; sleep 0.05", state=(b"x" * 100_000, b"")))


def test_flood(spawner: native.Spawner) -> None:
    """However much it writes, the end is kept and no more."""
    with quick(20):
        reply = failed(spawner, hook("head -c 20000000 /dev/zero | tr '\\0' x; echo end; exit 1"))
    assert reply.value == 1
    assert reply.text.endswith(b"xxxend\n")
    assert lib.WIRE_MAX_TEXT // 2 <= len(reply.text) <= lib.WIRE_MAX_TEXT


def test_endless_flood(spawner: native.Spawner) -> None:
    with quick():
        assert failed(spawner, hook("yes", timeout_s=0.3)).error == errno.ETIMEDOUT


def test_hang(spawner: native.Spawner, tmp_path: Path) -> None:
    """At the deadline it goes, and its children with it."""
    path = tmp_path / "pids"
    with quick():
        reply = failed(spawner, hook(f"sleep 61 & echo $$ $! > {path}; echo here; wait", timeout_s=0.3))
    assert (reply.error, reply.call, reply.value, reply.text) == (errno.ETIMEDOUT, "hook", 0, b"here\n")
    assert all(gone(int(pid)) for pid in path.read_text().split())


def test_a_deadline_that_is_kept(spawner: native.Spawner) -> None:
    passes(spawner, hook("sleep 0.05", timeout_s=20))


def test_daemon_that_keeps_the_pipe_open(spawner: native.Spawner, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with quick():
        passes(spawner, hook(f"setsid sleep 62 & echo $! > {path}"))
        reply = failed(spawner, hook("(sleep 0.2; yes) & echo first; exit 4"))
    assert (reply.value, reply.text) == (4, b"first\n")
    daemon = int(path.read_text())
    assert is_alive(daemon)
    os.kill(daemon, signal.SIGKILL)


def test_nobody_waits_any_more(spawner: native.Spawner, tmp_path: Path) -> None:
    """The application goes, and so does the hook that had no deadline."""
    path = tmp_path / "pids"
    talked = talk.send(spawner, [hook(f"sleep 63 & echo $$ $! > {path}; wait"), *TRUE])
    talked.until(native.REPLY_SPAWNED)
    deadline = time.monotonic() + 5
    while not (path.exists() and path.read_text().endswith("\n")) and time.monotonic() < deadline:
        time.sleep(0.01)
    talked.close()
    assert talked.exits()[0].code == 1
    assert all(gone(int(pid)) for pid in path.read_text().split())


def test_it_dies_with_the_container(spawner: native.Spawner, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    talked = talk.send(spawner, [hook(f"echo $$ > {path}; exec sleep 64"), *TRUE])
    spawned = talked.until(native.REPLY_SPAWNED)
    deadline = time.monotonic() + 5
    while not (path.exists() and path.read_text().endswith("\n")) and time.monotonic() < deadline:
        time.sleep(0.01)
    signal.pidfd_send_signal(spawned.fds[0], signal.SIGKILL)
    talked.exits()
    talked.close()
    assert gone(int(path.read_text()))
