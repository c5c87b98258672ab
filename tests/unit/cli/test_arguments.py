"""The words of the command line: what runc takes we take, and mean the same by it."""

from __future__ import annotations

import pytest

from aiocontainer.cli.arguments import UsageError, parse
from aiocontainer.cli.table import COMMANDS, GLOBAL_OPTIONS

# `runc COMMAND --help` of runc 1.1, and --pidfd-socket of 1.2.
RUNC = {
    "run": (
        "--bundle -b --console-socket --detach -d --keep --pid-file --no-subreaper --no-pivot "
        "--no-new-keyring --preserve-fds --pidfd-socket"
    ),
    "create": (
        "--bundle -b --console-socket --pid-file --no-pivot --no-new-keyring --preserve-fds --pidfd-socket"
    ),
    "start": "",
    "exec": (
        "--console-socket --cwd --env -e --tty -t --user -u --additional-gids -g --process -p --detach -d "
        "--pid-file --process-label --apparmor --no-new-privs --cap -c --preserve-fds --cgroup "
        "--ignore-paused --pidfd-socket"
    ),
    "kill": "--all -a",
    "delete": "--force -f",
    "pause": "",
    "resume": "",
    "ps": "--format -f",
    "events": "--interval --stats",
    "state": "",
    "list": "--format -f --quiet -q",
    "spec": "--bundle -b --rootless",
}
RUNC_GLOBAL = "--debug --log --log-format --root --systemd-cgroup --rootless --help -h --version -v"


@pytest.mark.parametrize("name", sorted(RUNC))
def test_every_option_of_runc_is_there(name: str) -> None:
    command = next(command for command in COMMANDS if command.name == name)
    ours = {each for option in command.options for each in option.names}
    assert set(RUNC[name].split()) <= ours


def test_every_global_option_of_runc_is_there() -> None:
    ours = {each for option in GLOBAL_OPTIONS for each in option.names}
    assert set(RUNC_GLOBAL.split()) <= ours


def test_as_a_container_engine_calls() -> None:
    program = "--root /run/engine/runc --log /b/log.json --log-format json --systemd-cgroup"
    command = "create --bundle /b --pid-file /b/init.pid --console-socket /b/pty --no-pivot web-1"
    call = parse([*program.split(), *command.split()])
    assert call.program.root == "/run/engine/runc"
    assert (call.program.log, call.program.log_format) == ("/b/log.json", "json")
    assert call.program.systemd_cgroup
    assert call.command is not None
    assert call.command.name == "create"
    assert (call.options.bundle, call.options.pid_file) == ("/b", "/b/init.pid")
    assert call.options.no_pivot
    assert call.operands == ["web-1"]


def test_values_may_be_joined_by_an_equals_sign() -> None:
    call = parse(["--root=/r", "run", "--bundle=/b", "--preserve-fds=2", "x"])
    assert (call.program.root, call.options.bundle, call.options.preserve_fds) == ("/r", "/b", 2)


@pytest.mark.parametrize(
    "words", [["delete", "--force", "x"], ["delete", "x", "--force"], ["delete", "x", "-f"]]
)
def test_options_may_follow_the_operands(words: list[str]) -> None:
    call = parse(words)
    assert call.options.force
    assert call.operands == ["x"]


@pytest.mark.parametrize(
    ("words", "operands", "separator"),
    [
        (["exec", "-t", "x", "ls", "-l", "--all"], ["x", "ls", "-l", "--all"], None),
        (["exec", "x", "--", "ls", "-l"], ["x", "ls", "-l"], 1),
        (["exec", "--cwd", "/", "--", "x", "ls"], ["x", "ls"], 0),
        (["exec", "x", "sh", "--", "-c"], ["x", "sh", "--", "-c"], None),
        (["exec", "-p", "p.json", "x"], ["x"], None),
        (["run", "x"], ["x"], None),
        (["run", "-b", "/b", "-d", "x"], ["x"], None),
        (["run", "--", "sh", "-c", "id"], ["sh", "-c", "id"], 0),
        (["run", "--", "sh", "--", "x"], ["sh", "--", "x"], 0),
        (["run", "-e", "A=1", "x", "--", "sh"], ["x", "sh"], 1),
        (["run", "--rootfs", "/r", "--"], [], 0),
    ],
)
def test_where_the_command_begins(words: list[str], operands: list[str], separator: int | None) -> None:
    call = parse(words)
    assert (call.operands, call.separator) == (operands, separator)


def test_repeated_options_make_lists() -> None:
    call = parse(["exec", "-e", "A=1", "--env", "B=2", "-g", "5", "x", "sh"])
    assert call.options.env == ["A=1", "B=2"]
    assert call.options.additional_gids == [5]
    assert call.options.cap == []


@pytest.mark.parametrize(
    "words",
    [
        ["bogus"],
        ["--bogus", "list"],
        ["list", "--bogus"],
        ["list", "--form", "json"],  # no abbreviations: scripts would break at the next option
        ["list", "-f", "yaml"],
        ["list", "x"],
        ["state"],
        ["state", "x", "y"],
        ["kill", "x", "TERM", "y"],
        ["create", "-b"],
        ["create", "--preserve-fds", "1_0", "x"],
        ["create", "--preserve-fds", "-1", "x"],
        ["create", "--preserve-fds", "\u0661", "x"],
        ["--log-format", "xml", "list"],
        ["--root"],
        ["exec"],
    ],
)
def test_what_is_no_command_line(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(words)


def test_help_needs_no_operands() -> None:
    call = parse(["state", "--help"])
    assert call.options.help


def test_names_are_unique() -> None:
    for options in (GLOBAL_OPTIONS, *(command.options for command in COMMANDS)):
        names = [name for option in options for name in option.names]
        assert len(names) == len(set(names))
        assert all(name.startswith("--") for name in (option.names[0] for option in options))
