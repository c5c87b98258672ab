"""Terminals: the master side as an asyncio object, and its hand-over to a console socket."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import socket
import struct
import termios

from ._aio import OwnedFd
from ._tuples import NamedTuple
from .errors import SpecError

__all__ = ["Pty", "WindowSize", "send_master"]

_CHUNK = 65536
_FULL_S = 0.002
"""Between two looks at a terminal whose other side reads nothing."""


class WindowSize(NamedTuple):
    """Rows and columns of a terminal."""

    rows: int
    columns: int


class Pty:
    """The master of a container's terminal; owns its descriptor.

    End of file is what the kernel says with EIO: nobody has the other side open any more.
    """

    def __init__(self, master: OwnedFd) -> None:
        """Take over *master*."""
        self._master = master
        os.set_blocking(master.fileno(), False)

    def fileno(self) -> int:
        """Return the master, which stays ours and does not block."""
        return self._master.fileno()

    async def read(self, size: int = _CHUNK) -> bytes:
        """Read what is there, at most *size* bytes; b"" at the end."""
        while True:
            try:
                return os.read(self.fileno(), size)
            except BlockingIOError:
                await self._ready(write=False)
            except OSError:  # EIO
                return b""

    async def write(self, data: bytes) -> None:
        """Write all of *data*, as if typed; ends early where the other side is gone."""
        rest, refused = memoryview(data), 0
        while rest:
            try:
                rest, refused = rest[os.write(self.fileno(), rest) :], 0
            except BlockingIOError:
                if self._is_left():
                    return
                refused += 1
                if refused > 1:  # the kernel says "writable" while there is room for less than one buffer
                    await asyncio.sleep(_FULL_S)
                await self._ready(write=True)
            except OSError:  # EIO
                return

    def resize(self, rows: int, columns: int) -> None:
        """Set the window size; the foreground processes get SIGWINCH.  ioctl_tty(2)."""
        if not (0 <= rows < 65536 and 0 <= columns < 65536):
            raise SpecError("rows and columns are 16-bit numbers", origin="console_size")
        fcntl.ioctl(self.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def size(self) -> WindowSize:
        """The window size now."""
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(self.fileno(), termios.TIOCGWINSZ, bytes(8)))
        return WindowSize(rows, columns)

    def detach(self) -> OwnedFd:
        """Hand the master over to the caller."""
        return OwnedFd(self._master.detach())

    def close(self) -> None:
        """Close the master: the foreground processes get SIGHUP.  A second call does nothing."""
        self._master.close()

    def _is_left(self) -> bool:
        """Whether nobody has the other side open: a full terminal then goes on refusing, without EIO."""
        poll = select.poll()
        poll.register(self.fileno(), 0)  # POLLHUP is reported unasked.  poll(2)
        return bool(poll.poll(0))

    async def _ready(self, *, write: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        fd = os.dup(self.fileno())  # of its own, so that reading and writing may wait at once
        add, remove = (
            (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
        )
        try:
            add(fd, _settle, ready)
            await ready
        finally:
            remove(fd)
            os.close(fd)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def send_master(path: str, master: int, *, timeout_s: float = 10.0) -> None:
    """Send *master* to the listener at *path*: one message, its name and one descriptor.  Blocks."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(path)
            socket.send_fds(sock, [b"/dev/ptmx"], [master])
        except (OSError, ValueError) as exc:
            raise SpecError(f"{path}: {exc}", origin="console_socket") from exc
