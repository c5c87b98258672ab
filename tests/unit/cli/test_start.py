"""What the program loads before it does anything: each module costs every call of the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from aiocontainer import glance, native
from aiocontainer.cli.table import COMMANDS
from aiocontainer.native.wire import ORDER, REPLY
from aiocontainer.store.documents import VERSION

OURS = {
    "aiocontainer",
    "aiocontainer.cli",
    "aiocontainer.cli.arguments",
    "aiocontainer.cli.descriptors",
    "aiocontainer.cli.report",
    "aiocontainer.cli.table",
}
GLANCE = OURS | {
    "aiocontainer.errors",  # for a container that is not there
    "aiocontainer.glance",
    "aiocontainer.store",
    "aiocontainer.store.files",
    "aiocontainer.store.living",
}
LIGHT = {
    "state": GLANCE | {"aiocontainer.cli.show"},
    "list": GLANCE | {"aiocontainer.cli.show"},
    "kill": GLANCE | {"aiocontainer.cli.lifecycle"},
    "start": GLANCE | {"aiocontainer.cli.lifecycle"},
    "delete": GLANCE | {"aiocontainer.cli.lifecycle"},
}
"""What a command may load of this package to find that there is no such container, or none at all."""

STANDARD = {"_json", "_signal", "_socket", "errno", "fcntl", "pwd", "time"}
"""And of Python's library, besides what the interpreter has loaded anyway: parts that are written in C."""

NOT_FOR_A_LOOP = {
    "anyio",
    "argparse",
    "ctypes",
    "dataclasses",
    "datetime",
    "dbus_fast",
    "decimal",
    "google.protobuf",
    "hashlib",
    "multiprocessing",
    "numbers",
    "platform",
    "pyinotify",
    "pyroute2",
    "rich",
    "site",
    "ssl",
    "tempfile",
    "typing_extensions",
    "uuid",
    "aiocontainer._features",
    "aiocontainer.farm",
    "aiocontainer.images",
}
"""What commands with an event loop do without, as long as nothing of it is asked for."""

ENDED = {
    "version": VERSION,
    "id": "x",
    "pid": 1,
    "starttime": 1,
    "boot_id": "another boot",
    "owner": os.geteuid(),
    "bundle": "/bundle",
    "created": "2026-01-01T00:00:00Z",
    "oci_version": "1.3.0",
    "cgroup": {"mode": "none"},
    "facts": {},
}
"""The state of a container from before the machine was started."""

# As the installed command is started: `-I -S`, and the path of the package.
CODE = """
import os, sys
sys.path += sys.argv[1].split(":")
before = set(sys.modules)
from aiocontainer.cli import execute
execute(sys.argv[2:])
print(*sorted(set(sys.modules) - before))
"""


def loaded(root: Path, *words: str) -> set[str]:
    package = f"{Path(__file__).parents[3]}:{Path(msgspec.__file__).parents[1]}"
    command = [sys.executable, "-I", "-S", "-c", CODE, package, "--root", str(root), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("name", sorted(LIGHT))
def test_short_commands_load_next_to_nothing(name: str, tmp_path: Path) -> None:
    os.mkdir(tmp_path / "state", 0o700)
    found = loaded(tmp_path / "state", name, *([] if name == "list" else ["x"]))
    ours = {each for each in found if each.startswith("aiocontainer")}
    assert ours <= LIGHT[name]
    assert found - ours - {"__future__"} <= STANDARD


@pytest.mark.parametrize("words", ["state x", "list"])
def test_a_container_that_is_there_takes_no_errors(words: str, tmp_path: Path) -> None:
    os.mkdir(root := tmp_path / "state", 0o700)
    os.mkdir(root / "x", 0o700)
    (root / "x/state.json").write_bytes(msgspec.json.encode(ENDED))
    (root / "x/state.json").chmod(0o600)
    found = loaded(root, *words.split())
    assert "aiocontainer.glance" in found
    assert not {"aiocontainer.errors", "asyncio"} & found


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_loads_no_command(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = loaded(tmp_path, command.name, "--help")
    assert {each for each in found if each.startswith("aiocontainer")} <= OURS | {"aiocontainer.cli.help"}


def test_the_protocol_is_that_of_the_helper() -> None:
    assert ORDER.pack(*ORDER.unpack(glance._PROCEED)) == native.PROCEED
    magic, kind, *_ = REPLY.unpack(glance._PAUSED + bytes(REPLY.size - len(glance._PAUSED)))
    assert (magic, kind) == (ORDER.unpack(native.PROCEED)[0], native.REPLY_PAUSED)
    assert glance._VERSION == VERSION
    assert glance._MAX_REPLY >= native.REPLY_SPACE


@pytest.mark.parametrize("words", ["create -b none x", "run -b none x", "exec x true", "pause x"])
def test_commands_with_a_loop_load_what_they_use(words: str, tmp_path: Path) -> None:
    os.mkdir(tmp_path / "state", 0o700)
    found = loaded(tmp_path / "state", *words.split())
    assert "asyncio" in found
    assert not sorted(NOT_FOR_A_LOOP & found)
    assert "_ast" not in found  # by which `inspect` would be loaded: that is there, and empty
