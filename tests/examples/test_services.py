"""The examples that go on until they are told to stop, as their users see them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.leaks import Leaks

pytestmark = [pytest.mark.needs("root", "compiled", "overlay"), pytest.mark.usefixtures("snap")]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PATIENCE_S = 60


class Service:
    """An example that runs; its lines come one after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def read_until(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        seen = ""
        for line in self.process.stdout:
            seen += line
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"no {pattern!r} in:\n{seen}")

    def end(self) -> str:
        """Ask it to end, and return what it still says."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        return out


@contextmanager
def service(name: str, *arguments: str) -> Iterator[Service]:
    command = [sys.executable, "-u", str(EXAMPLES / name), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield Service(process)
        finally:
            process.kill()


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The watcher --------------------------------------------------------------------------------------------


HOW = "ended, how is not known"  # before Linux 6.15 a stranger is told no more: PIDFD_GET_INFO


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Somebody else, with a container that is there already."""

    def run(*words: str) -> int:
        command = [sys.executable, "-m", "aiocontainer", "--root", str(tmp_path), *words]
        return subprocess.run(command, stdin=subprocess.DEVNULL, timeout=PATIENCE_S, check=False).returncode

    try:
        assert run("run", "--detach", "aioc-test-early", "--", "sleep", "1000") == 0
        yield run
    finally:
        run("delete", "--force", "aioc-test-early")


def test_watcher(cli: Callable[..., int], tmp_path: Path) -> None:
    with service("watcher.py", str(tmp_path)) as watcher:
        watcher.read_until(r"^aioc-test-early: running, process \d+$")
        watcher.read_until("^watching$")
        assert cli("run", "aioc-test-three", "--", "sh", "-c", "exit 3") == 3
        watcher.read_until("^aioc-test-three: created, process")
        watcher.read_until(f"^aioc-test-three: (ended with status 3|{HOW})$")
        assert cli("run", "--memory", "32M", "aioc-test-hungry", "--", "tail", "/dev/zero") == 137
        watcher.read_until("^aioc-test-hungry: 1 killed for want of memory")
        watcher.read_until(f"^aioc-test-hungry: (killed by SIGKILL|{HOW}), at the limit of the container$")
        watcher.read_until("^aioc-test-hungry: deleted$")
        assert cli("delete", "--force", "aioc-test-early") == 0
        watcher.read_until(f"^aioc-test-early: (killed by SIGKILL|{HOW})$")
        assert watcher.end().endswith("no longer watching\n")


# The web service ----------------------------------------------------------------------------------------


@pytest.fixture
def port(snap: Leaks) -> Iterator[int]:
    """Of a code runner."""
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    with service("code_runner.py", "0") as runner:
        yield int(runner.read_until(r"running on http://127.0.0.1:(\d+)")[1])
        assert "Finished server process" in runner.end()
        assert runner.process.returncode in (0, -signal.SIGTERM)


def post(port: int, program: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("POST", "/run", program.encode())
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body) if answer.status == 200 else body.decode()


def test_code_runner(port: int) -> None:
    answers = {
        "print(6 * 7)": {"outcome": "ended with status 0", "output": "42\n"},
        "raise SystemExit('no')": {"outcome": "ended with status 1", "output": "no\n"},
        "bytearray(1 << 30)": {"outcome": "out of memory", "output": ""},
        "while True: pass": {"outcome": "timed out", "output": ""},
        "open('/etc/passwd', 'a')": {"outcome": "ended with status 1"},
    }
    for program, expected in answers.items():
        status, answer = post(port, program)
        assert (status, {**answer, **expected}) == (200, answer), program
    _, much = post(port, "print('x' * 10**6 + 'end')")
    assert len(much["output"]) == 64 * 1024
    assert much["output"].endswith("end\n")
    assert post(port, "#" * 70_000) == (413, "the program is too long")


def test_who_hangs_up_ends_his_program(port: int) -> None:
    def lives() -> bool:
        return subprocess.run(["pgrep", "-f", mark], stdout=subprocess.DEVNULL, check=False).returncode == 0

    mark = f"7777{os.getpid()}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("POST", "/run", f"import os; os.execlp('sleep', 'sleep', '{mark}')".encode())
    wait_for(lives)
    connection.close()
    wait_for(lambda: not lives())
