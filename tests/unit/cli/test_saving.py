"""checkpoint and restore: each option, as it is spelt, to what CRIU is told."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from aiocontainer import CheckpointOptions, RestoreOptions
from aiocontainer.cli import checkpoint as module
from aiocontainer.cli import execute
from aiocontainer.criu.messages import Version
from aiocontainer.criu.options import dump_fields, restore_fields
from aiocontainer.criu.probing import Criu

if TYPE_CHECKING:
    from collections.abc import Callable

CRIU = Criu("criu", Version(4, 1, 1), frozenset({"mem_track", "lazy_pages"}))
LAZY = "--lazy-pages --page-server 127.0.0.1:9"


class Fake:
    """A runtime, and its container, that only write down what they are asked for."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.console = None
        self.pid = 42

    async def load(self, id: str) -> Fake:
        assert id == "x"
        return self

    async def checkpoint(self, **asked: Any) -> None:
        self.asked = asked

    async def restore(self, id: str, bundle: str, **asked: Any) -> Fake:
        assert (id, bundle) == ("x", ".")
        self.asked = asked
        return self


Asked = dict[str, Any]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Asked]:
    """Function that carries out a command line, and returns what the runtime was asked for."""

    def run(words: str) -> Asked:
        fake = Fake()
        monkeypatch.setattr(module, "drive", lambda _, work, **__: asyncio.run(work(fake)))
        assert execute([*words.split(), "x"]) == 0
        return fake.asked

    return run


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ("--tcp-skip-in-flight", "tcp_skip_in_flight", True),
        ("--auto-dedup", "auto_dedup", True),
        (LAZY, "lazy_pages", True),
        ("--page-server [::1]:27", "ps", {"address": "::1", "port": 27}),
        ("--empty-ns network", "empty_ns", 0x40000000),
        ("--network-lock iptables", "network_lock", 1),
        ("--network-lock nftables", "network_lock", 2),
        ("--network-lock=skip", "network_lock", 3),
        *(
            (f"--manage-cgroups-mode {word}", "manage_cgroups_mode", number)
            for number, word in enumerate(("ignore", "none", "props", "soft", "full", "strict"))
        ),
        ("--link-remap", "link_remap", True),
        ("--leave-running", "leave_running", True),
        ("--parent-path ../1", "parent_img", "../1"),
        ("--tcp-established", "tcp_established", True),
        ("--ext-unix-sk", "ext_unix_sk", True),
        ("--shell-job", "shell_job", True),
        ("--file-locks", "file_locks", True),
    ],
)
def test_checkpoint(ask: Callable[[str], Asked], options: str, field: str, value: object) -> None:
    asked = ask(f"checkpoint {options}")
    assert asked.pop("images") == "checkpoint"
    fields = dump_fields(CheckpointOptions(**asked), CRIU)
    assert fields[field] == value
    if value is True:
        assert not dump_fields(CheckpointOptions(), CRIU)[field]


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ("--tcp-close", "tcp_close", True),
        ("--lsm-profile apparmor:web", "lsm_profile", "apparmor:web"),
        ("--lsm-mount-context u:r:t:s0", "lsm_mount_context", "u:r:t:s0"),
        ("--auto-dedup", "auto_dedup", True),
        ("--lazy-pages", "lazy_pages", True),
        ("--empty-ns=network", "empty_ns", 0x40000000),
        ("--network-lock skip", "network_lock", 3),
        ("--manage-cgroups-mode strict", "manage_cgroups_mode", 5),
    ],
)
def test_restore(ask: Callable[[str], Asked], options: str, field: str, value: object) -> None:
    asked = ask(f"restore --detach {options}")
    assert asked.pop("images") == "checkpoint"
    assert restore_fields(RestoreOptions(**asked), CRIU)[field] == value
    assert restore_fields(RestoreOptions(), CRIU)[field] != value


def test_who_is_told_that_pages_can_be_fetched(ask: Callable[[str], Asked]) -> None:
    reader, writer = os.pipe()
    try:
        asked = ask(f"checkpoint {LAZY} --status-fd {writer}")
    finally:
        os.close(reader)
        os.close(writer)
    assert asked["status_fd"] == writer
    assert ask("checkpoint --status-fd -1")["status_fd"] == -1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("checkpoint --status-fd 1000", "descriptor 1000 is not open"),
        ("checkpoint --status-fd x", "'x' is not a number"),
        ("checkpoint --status-fd 99999999999999999999", "is not open"),
        ("checkpoint --empty-ns pid", "only 'network'"),
        ("restore --empty-ns pid", "only 'network'"),
        ("checkpoint --page-server host", "ADDRESS:PORT"),
        ("checkpoint --manage-cgroups-mode some", "none of soft"),
        ("restore --network-lock door", "none of iptables"),
    ],
)
def test_what_is_refused(words: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([*words.split(), "x"]) == 1
    assert why in capsys.readouterr().err
