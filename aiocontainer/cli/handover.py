"""Telling the caller which process it is: by a file with its pid, by a pidfd over a socket."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Literal

__all__ = ["send_pidfd", "write_pid_file"]

_TIMEOUT_S = 10.0


def send_pidfd(path: str, pidfd: int, kind: Literal["standard", "setns"]) -> None:
    """Send *pidfd*, which stays the caller's, to the socket at *path*.

    The message is that of runc: its text says whether the process is the container's first.
    """
    with socket.socket(socket.AF_UNIX) as receiver:
        receiver.settimeout(_TIMEOUT_S)
        receiver.connect(path)
        socket.send_fds(receiver, [kind.encode()], [pidfd])


def write_pid_file(path: str, pid: int) -> None:
    """Write *pid* in one step: a reader finds all of it, or no file."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    # EXCL: a link that somebody else has put there is not followed.
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, str(pid).encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)
