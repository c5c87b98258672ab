"""Manual pages and completions: made of the table, so nothing of it is missing; and bash takes its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from aiocontainer.cli import execute
from aiocontainer.cli.completion import bash, fish, takes_id, zsh
from aiocontainer.cli.manual import command_page, program_page
from aiocontainer.cli.table import COMMANDS, GLOBAL_OPTIONS, PROGRAM, Command, Option

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def ids(command: object) -> str:
    return command.name if isinstance(command, Command) else str(command)


def names(options: Iterable[Option]) -> list[str]:
    return [name for option in options for name in option.names]


def plain(page: str) -> str:
    """What a page shows: without the marks of man(7)."""
    return re.sub(r"\\f[BIR]", "", page).replace("\\-", "-").replace("\\(aq", "'")


def test_the_manual_names_every_command_and_option() -> None:
    page = plain(program_page())
    assert all(f"\n{PROGRAM}-{command.name}(8)\n" in page for command in COMMANDS)
    assert all(f"{name}" in page for name in names(GLOBAL_OPTIONS))


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
def test_a_page_names_every_option(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["man", command.name]) == 0
    page = capsys.readouterr().out
    assert page == command_page(command)
    lines = plain(page).splitlines()
    shown = {word for line in lines for word in re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", line)}
    assert set(names(command.options)) <= shown
    assert f"{PROGRAM}-{command.name} - {command.summary}" in lines


@pytest.mark.skipif(shutil.which("mandoc") is None and shutil.which("groff") is None, reason="needs a man")
@pytest.mark.may_block("it runs another program")
def test_pages_are_good_roff() -> None:
    linter = (
        ["mandoc", "-T", "lint", "-W", "error"] if shutil.which("mandoc") else ["groff", "-man", "-ww", "-z"]
    )
    for page in (program_page(), *map(command_page, COMMANDS)):
        done = subprocess.run(linter, input=page, capture_output=True, text=True, check=False, timeout=30)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("script", [bash, zsh, fish], ids=["bash", "zsh", "fish"])
def test_scripts_name_every_command_and_option(script) -> None:  # type: ignore[no-untyped-def]
    text = script()
    words = set(re.findall(r"[a-z][a-z0-9-]*", text))
    for command in COMMANDS:
        assert command.name in words
        assert {name.lstrip("-") for name in names(command.options) if name[1] == "-"} <= words
    assert {name.lstrip("-") for name in names(GLOBAL_OPTIONS) if name[1] == "-"} <= words


def test_there_is_no_other_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["completion", "tcsh"]) == 1
    assert "bash, zsh, fish" in capsys.readouterr().err


COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_aiocontainer
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def completed(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Function that has bash complete the last of some words; the program is one that has two containers."""
    (tmp_path / "script").write_text(bash())
    program = tmp_path / PROGRAM
    program.write_text('#!/bin/sh\nif [ "$*" = "list --quiet" ]; then echo web-1; echo db; fi\n')
    program.chmod(0o755)
    (tmp_path / "bundle").mkdir()

    def complete(*words: str) -> set[str]:
        command = ["bash", "--norc", "-c", COMPLETE, "bash", "./script", str(program), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30)
        assert done.stderr == ""
        return set(done.stdout.split())

    return complete


@pytest.mark.may_block("it runs a shell")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("st",), {"start", "state"}),
        (("--root", "/r", "st"), {"start", "state"}),
        (("--log-f",), {"--log-format"}),
        (("--log-format", ""), {"text", "json"}),
        (("kill", "--a"), {"--all"}),
        (("kill", "w"), {"web-1"}),
        (("exec", "-t", ""), {"web-1", "db"}),
        (("list", "--format", "j"), {"json"}),
        (("run", "--bundle", "bu"), {"bundle"}),
        (("--cgroup-manager", "systemd", "run", "--det"), {"--detach"}),
        (("completion", ""), {"bash", "zsh", "fish"}),
        (("man", "che" if any(c.name == "checkpoint" for c in COMMANDS) else "upd"), None),
    ],
)
def test_bash_completes(words: tuple[str, ...], expected: set[str] | None, completed) -> None:  # type: ignore[no-untyped-def]
    assert completed(*words) == (expected or {"checkpoint" if words[-1] == "che" else "update"})


@pytest.mark.may_block("it runs a shell")
def test_bash_completes_every_command(completed) -> None:  # type: ignore[no-untyped-def]
    assert completed("") == {command.name for command in COMMANDS}
    for command in COMMANDS:
        assert completed(command.name, "-") == set(names(command.options))
        if takes_id(command):
            assert completed(command.name, "") == {"web-1", "db"}


@pytest.mark.may_block("it runs a shell")
@pytest.mark.parametrize(("shell", "script"), [("zsh", zsh), ("fish", fish)])
def test_other_shells_can_read_theirs(shell: str, script, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    (tmp_path / "script").write_text(script())
    done = subprocess.run([shell, "-n", "script"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [["help"], ["help", "run"]])
def test_help_is_a_command_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(words) == 0
    shown = capsys.readouterr().out
    assert execute([*words[1:], "--help"]) == 0
    assert capsys.readouterr().out == shown
