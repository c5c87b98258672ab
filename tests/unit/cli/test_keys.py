"""Keys of a terminal, read one by one."""

from __future__ import annotations

import os
import pty
from typing import TYPE_CHECKING

import pytest

from aiocontainer.cli.terminal import is_hung_up, key_by_key

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    yield master, slave
    os.close(slave)
    os.close(master)


def test_a_read_does_not_wait_for_what_is_gone(terminal: tuple[int, int]) -> None:
    """Ctrl-C empties the queue between poll(2) and read(2)."""
    master, slave = terminal
    with key_by_key(slave):
        assert os.read(slave, 8) == b""
        assert not is_hung_up(slave)
        os.write(master, b"q")
        assert os.read(slave, 8) == b"q"


def test_nobody_at_the_other_side(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    assert not is_hung_up(slave)
    other = os.dup(master)
    os.close(master)
    assert not is_hung_up(slave)
    os.close(other)
    assert is_hung_up(slave)
    os.dup2(slave, master)  # for the fixture to close
