"""A pseudo-terminal with a program on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from typing import Any, Self

__all__ = ["Terminal"]

TIMEOUT_S = 30.0


class Terminal:
    """A terminal with the program on it."""

    def __init__(self, command: list[str], rows: int = 31, columns: int = 97) -> None:
        self.status: int | None = None
        self._ahead = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(command[0], command)
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def read_until(self, end: str) -> str:
        """What comes up to *end*; what comes after it is for the next call."""
        deadline, mark = time.monotonic() + TIMEOUT_S, end.encode()
        while mark not in self._ahead:
            assert time.monotonic() < deadline, self._ahead[-4000:]
            assert select.select([self.fd], [], [], TIMEOUT_S)[0], self._ahead[-4000:]
            self._ahead += os.read(self.fd, 1 << 16)
        seen, _, self._ahead = self._ahead.partition(mark)
        return (seen + mark).decode()

    def output(self) -> str:
        """Everything until the program ends."""
        with contextlib.suppress(OSError):
            while select.select([self.fd], [], [], TIMEOUT_S)[0] and (chunk := os.read(self.fd, 1 << 16)):
                self._ahead += chunk
        self.wait()
        return self._ahead.decode()

    def wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self.fd)
