"""The program as a whole: help, version, exit statuses, what is loaded, what is printed where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aiocontainer.cli import execute
from aiocontainer.cli.show import table
from aiocontainer.cli.table import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("asyncio", "anyio", "dbus_fast", "pyroute2", "pyinotify", "subprocess", "socket")


def python(code: str, *args: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60, check=False, **more
    )  # type: ignore[call-overload,no-any-return]


CALL = "from aiocontainer.cli import main; main()"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("aiocontainer version ")
    assert second == "spec: 1.3.0"


def test_version_and_help_are_quick() -> None:
    code = (
        "import sys\nfrom aiocontainer.cli import execute\n"
        "for words in (['--version'], ['run', '--help']): execute(words)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert python(code).stdout.splitlines()[-1] == "[]"


def test_module_is_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aiocontainer", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("Usage: aiocontainer ")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command.name} " in text


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_names_every_option(command, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert execute([command.name, "--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for option in command.options for name in option.names)
    assert max(map(len, text.splitlines())) <= 100


def test_no_command_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([]) == 1
    assert "Usage:" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["bogus"], ["state"], ["exec"], ["list", "--bogus"], ["run"]])
def test_a_bad_command_line_is_one_line_and_status_1(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("aiocontainer: ")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["state", "x"], 1),
        (["kill", "x"], 1),
        (["delete", "x"], 1),
        (["start", "x"], 1),
        (["exec", "x", "id"], 255),
    ],
)
def test_no_such_container(
    words: list[str], status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.json"
    head = ["--root", str(tmp_path / "state"), "--log", str(log), "--log-format", "json"]
    os.mkdir(tmp_path / "state", 0o700)
    assert execute([*head, *words]) == status
    assert capsys.readouterr().err == "aiocontainer: container 'x' does not exist\n"
    record = json.loads(log.read_text())
    assert (record["level"], record["msg"]) == ("error", "container 'x' does not exist")


def test_forced_deletion_of_nothing(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "state", 0o700)
    assert execute(["--root", str(tmp_path / "state"), "delete", "--force", "x"]) == 0


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "a\n", "a" * 300, "\u00e4"])
def test_bad_ids(id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkdir(tmp_path / "state", 0o700)
    assert execute(["--root", str(tmp_path / "state"), "delete", "--force", id]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert os.listdir(tmp_path) == ["state"]
    assert os.listdir(tmp_path / "state") == []


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "aiocontainer", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_log_that_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["--log", str(tmp_path / "no" / "log"), "spec", "-b", str(tmp_path)]) == 1
    assert "--log" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_descriptor_to_preserve_must_be_open(tmp_path: Path) -> None:
    done = python(CALL, "--log", str(tmp_path / "log"), "run", "--preserve-fds", "1", "x")
    assert done.returncode == 1
    assert done.stderr == "aiocontainer: descriptor 3, which is to be passed on, is not open\n"


def test_closed_streams_are_no_traps(tmp_path: Path) -> None:
    """A log opened as descriptor 0 to 2 would get the text that is meant for a stream."""
    log = tmp_path / "log"
    code = "import os, sys; os.closerange(0, 3); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    done = python(code, "-c", CALL, "--log", str(log), "list", "--bogus")
    assert done.returncode == 1
    done = python(code, "-c", CALL, "--log", str(log), "--root", str(tmp_path / "none"), "state", "x")
    assert done.returncode == 1
    assert len(log.read_text().splitlines()) == 1


def test_table_is_laid_out_as_by_runc() -> None:
    documents = [
        {
            "id": "aioc-test-x",
            "pid": 31048,
            "status": "running",
            "bundle": "/tmp/aioc-b",
            "created": "2026-11-23T13:45:40.920167834Z",
            "owner": "root",
        }
    ]
    assert list(table(documents)) == [
        "ID            PID         STATUS      BUNDLE        CREATED                          OWNER",
        "aioc-test-x   31048       running     /tmp/aioc-b   2026-11-23T13:45:40.920167834Z   root",
    ]
    assert list(table([])) == ["ID          PID         STATUS      BUNDLE      CREATED     OWNER"]
