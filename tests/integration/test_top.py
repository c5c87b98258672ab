"""`aiocontainer top` as it is used: in a terminal that changes its size, and into a pipe."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.cgroups import has_controllers
from support.terminal import Terminal

from aiocontainer import Command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiocontainer import Runtime

pytestmark = [
    pytest.mark.needs("root", "compiled", "overlay"),
    pytest.mark.may_block("programs are waited for, and nothing else goes on"),
]

NAMES = ("aioc-test-calm", "aioc-test-quiet")
ALTERNATE, NORMAL = "\x1b[?1049h", "\x1b[?1049l"  # console_codes(4)


@pytest.fixture
async def command(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """The beginning of a command line, below whose root two containers run."""
    monkeypatch.setenv("TERM", "xterm")
    pids = 10 if has_controllers("pids") else None
    async with (
        runtime.container(Command(["sleep", "1000"], pids=pids), id=NAMES[0]),
        runtime.container(Command(["sleep", "1000"]), id=NAMES[1]),
    ):
        yield [sys.executable, "-m", "aiocontainer", "--root", runtime.root, "top"]


@pytest.mark.parametrize("options", [["--once"], []])
async def test_a_pipe_gets_one_table(command: list[str], options: list[str]) -> None:
    done = subprocess.run(  # noqa: ASYNC221
        [*command, "--interval", "50ms", *options], capture_output=True, text=True, timeout=60
    )
    titles, *lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert titles.split()[:3] == ["CONTAINER", "CPU", "%"]
    assert sorted(line.split()[0] for line in lines) == sorted(NAMES)


@pytest.mark.parametrize(("key", "status"), [("q", 0), ("\x03", 130)])
async def test_live_until_a_key(command: list[str], key: str, status: int) -> None:
    with Terminal([*command, "--interval", "100ms"], rows=20, columns=120) as terminal:
        assert ALTERNATE in terminal.read_until("PRESSURE")
        seen = terminal.read_until(NAMES[1])
        assert NAMES[0] in seen
        terminal.resize(5, 120)  # room for two lines besides titles and words
        terminal.type("n")
        terminal.read_until("2 containers")
        terminal.resize(4, 120)
        terminal.read_until("1 more do not fit")
        assert terminal.mode() != terminal.before
        terminal.type(key)
        assert NORMAL in terminal.output()
        assert (terminal.status, terminal.mode()) == (status, terminal.before)


async def test_who_comes_later_is_shown(command: list[str], runtime: Runtime) -> None:
    with Terminal([*command, "--interval", "100ms"], rows=20, columns=120) as terminal:
        terminal.read_until(NAMES[0])
        async with runtime.container(Command(["sleep", "1000"]), id="aioc-test-late"):
            terminal.read_until("aioc-test-late")
        terminal.type("q")
        terminal.output()
        assert terminal.status == 0
