"""Pid files, pidfds over a socket, descriptors of the caller."""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING

import pytest

from aiocontainer.cli.descriptors import listen_fd_names, listen_fds, missing_descriptor
from aiocontainer.cli.handover import send_pidfd, write_pid_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_pid_file_is_the_number_alone(tmp_path: Path) -> None:
    file = tmp_path / "init.pid"
    file.write_text("1234567 and more")
    write_pid_file(str(file), 42)
    assert file.read_text() == "42"
    assert os.listdir(tmp_path) == ["init.pid"]


def test_a_pid_file_does_not_follow_a_link_on_its_way(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / ".init.pid").symlink_to(victim)
    write_pid_file(str(tmp_path / "init.pid"), 42)
    assert victim.read_text() == "kept"


def test_a_pidfd_is_sent_with_its_kind(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    ours = os.pidfd_open(os.getpid())
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        send_pidfd(path, ours, "setns")
        peer, _ = listener.accept()
        with peer:
            text, fds, _, _ = socket.recv_fds(peer, 100, 2)
            assert text == b"setns"
            (fd,) = fds
            assert not select.select([fd], [], [], 0)[0]  # alive, and so not readable
            os.close(fd)
            assert peer.recv(1) == b""
    os.close(ours)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        send_pidfd(str(tmp_path / "none"), 0, "standard")


def test_sockets_of_the_service_manager() -> None:
    passed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:https"}
    assert listen_fds(passed) == 2
    assert listen_fd_names(passed) == ("http", "https")
    del passed["LISTEN_FDNAMES"]
    assert listen_fd_names(passed) == ()


@pytest.mark.parametrize(
    "passed",
    [
        {},
        {"LISTEN_FDS": "2"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "2"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"},
    ],
)
def test_sockets_for_somebody_else(passed: dict[str, str]) -> None:
    assert listen_fds(passed) == 0
    assert listen_fd_names(passed) == ()


def test_a_descriptor_that_is_not_open_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_descriptor(0) is None
    assert missing_descriptor(2000) is not None
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2000")
    assert missing_descriptor(0) is not None
