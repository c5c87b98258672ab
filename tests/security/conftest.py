"""What attacks are made with: a canary on the host, a racer, a careless parent.

``--race-s``, or AIOCONTAINER_RACE_S, is how long each race goes on (3 seconds), AIOCONTAINER_SWEEP how
many descriptor numbers are tried (32).  How often a race was tried is told at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import pytest
from hostile import Canary
from ordinary import FIRST, USER
from support.guest import compile_program
from support.weak import weaken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from support.leaks import Leaks

    from aiocontainer import Spec

HERE = os.path.dirname(__file__)
TESTS = os.path.dirname(HERE)

weaken()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Attackers block the loop as they like."""
    for item in items:
        if str(item.path).startswith(HERE):
            item.add_marker(pytest.mark.may_block("it attacks"))
            if "lap" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.race)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many attempts each race was."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        attempts = dict(report.user_properties).get("attempts") if report.when == "call" else None
        if attempts is not None:
            terminalreporter.write_line(f"{report.nodeid}: {attempts} attempts in {report.duration:.0f} s")


def python_environment() -> dict[str, str]:
    """For a program of ours that imports what we import."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([TESTS, *sys.path])}


def report_of(*command: str, input: bytes | None = None) -> dict[str, Any]:
    """Run a program of ours, which has to end well, and return what it reports on its standard output."""
    environment = python_environment()
    done = subprocess.run(command, input=input, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture
def canary() -> Iterator[Canary]:
    """A directory of the host that no container has to do with: afterwards it is as it was.

    Not even for a moment anything was made in it, or changed.
    """
    path = tempfile.mkdtemp(prefix="aioc-test-canary-")
    os.chmod(path, 0o755)
    try:
        canary = Canary(path)
        yield canary
        canary.check()
    finally:
        shutil.rmtree(path)


@pytest.fixture(scope="session")
def racer_program(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = str(tmp_path_factory.mktemp("racer") / "racer")
    return compile_program(os.path.join(HERE, "racer.c"), target)


@pytest.fixture
def racer(racer_program: str) -> Callable[[str, str], AbstractContextManager[None]]:
    """Function whose block sees two names exchanged all the time, by a process of its own."""

    @contextlib.contextmanager
    def race(one: str, other: str) -> Iterator[None]:
        with subprocess.Popen([racer_program, one, other], stdin=subprocess.PIPE) as process:
            try:
                yield
                assert process.poll() is None, "the race ended early"
            finally:
                process.kill()

    return race


@pytest.fixture
def lap(request: pytest.FixtureRequest) -> Callable[[], bool]:
    """Function that is true until the time for one race is over; called once for each attempt."""
    deadline = time.monotonic() + request.config.getoption("--race-s")
    attempts = 0

    def more() -> bool:
        nonlocal attempts
        if time.monotonic() < deadline:
            attempts += 1
            return True
        request.node.user_properties.append(("attempts", attempts))
        return False

    return more


@pytest.fixture
def race(
    racer: Callable[[str, str], AbstractContextManager[None]], lap: Callable[[], bool]
) -> Callable[[str, str], AbstractContextManager[Iterator[bool]]]:
    """Function whose block has as many laps as there is time for, while two names are exchanged."""

    @contextlib.contextmanager
    def run(one: str, other: str) -> Iterator[Iterator[bool]]:
        with racer(one, other):
            yield iter(lap, False)

    return run


@pytest.fixture
def sweep() -> range:
    """Descriptor numbers to try."""
    return range(int(os.environ.get("AIOCONTAINER_SWEEP", "32")))


@pytest.fixture
def bad_parent(tmp_path: Any, snap: Leaks) -> Callable[..., dict[str, Any]]:
    """Function that has a careless program (``bad_parent.py``) run a container; its report.

    Keyword arguments are those of its `Request`.
    """
    state = str(tmp_path / "state-of-bad-parent")
    report = tmp_path / "report.json"
    snap.watch(state)

    def run(**request: Any) -> dict[str, Any]:
        request = {"state": state, "report": str(report), **request}
        command = [sys.executable, os.path.join(HERE, "bad_parent.py"), json.dumps(request)]
        environment = {**python_environment(), "EVIL": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
        assert report.exists(), (done.returncode, done.stdout, done.stderr)
        found: dict[str, Any] = json.loads(report.read_text())
        report.unlink()
        return found

    return run


# A mount namespace where the ordinary user is known, and has subordinate ids.
PRELUDE = f"""
set -e
mount --make-rprivate /
cd "$1"
printf 'root:x:0:0::/root:/bin/sh\\nordinary:x:{USER}:{USER}::/:/bin/sh\\n' > passwd
printf 'root:x:0:\\nordinary:x:{USER}:\\n' > group
printf 'ordinary:{FIRST}:6000\\n' > subid
for file in passwd group; do mount --bind $file /etc/$file; done
for file in subuid subgid; do mount --bind subid /etc/$file; done
shift
exec "$@"
"""


@pytest.fixture
def as_user(public_tmp: str) -> Callable[..., dict[str, Any]]:
    """Function that has an ordinary user (``ordinary.py``) run a container; the report."""
    state = f"{public_tmp}/state"
    os.mkdir(state, 0o700)
    os.chown(state, USER, USER)

    def run(spec: Spec, groups: tuple[int, ...] = (), *, dumpable: bool = True) -> dict[str, Any]:
        arguments = [state, str(int(dumpable)), *map(str, groups)]
        program = [sys.executable, os.path.join(HERE, "ordinary.py"), *arguments]
        view = ("unshare", "--mount", "sh", "-c", PRELUDE, "sh", public_tmp)
        return report_of(*view, *program, input=spec.encode())

    return run
