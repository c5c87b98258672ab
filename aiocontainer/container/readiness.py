"""A socket of the container's own for sd_notify(3): its program says there when it is ready."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from .._aio import Closing
from ..spec import Mount

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .._aio import OwnedFd
    from ..spec import Spec

__all__ = ["Readiness", "with_notify_socket"]

_PLACE: Final = "/run/notify"
"""Directory in the container, as with runc."""

_MAX_MESSAGE_BYTES: Final = 4096
_READY: Final = b"READY=1"


def with_notify_socket(spec: Spec, directory: str, name: str) -> Spec:
    """Show the *directory* of the host, in which the socket will have this *name*, and tell the program."""
    mount = Mount(
        destination=_PLACE,
        type="bind",
        source=directory,
        options=("bind", "nosuid", "noexec", "nodev", "ro"),
    )
    process = spec.process
    if process is not None:
        env = [entry for entry in process.env if not entry.startswith("NOTIFY_SOCKET=")]
        process = replace(process, env=(*env, f"NOTIFY_SOCKET={_PLACE}/{name}"))
    return replace(spec, process=process, mounts=(*spec.mounts, mount))


class Readiness(Closing):
    """The socket, listening; `close()` or ``with`` ends it, and whoever writes then is refused."""

    def __init__(self, notify: socket.socket, pidfd: OwnedFd, forget: Callable[[], object]) -> None:
        """Take over both; *forget* removes the socket's name."""
        self._socket = notify
        self._pidfd = pidfd
        self._forget = forget

    def close(self) -> None:
        """Listen no more; a second call does nothing."""
        if self._socket.fileno() >= 0:
            self._socket.close()
            self._pidfd.close()
            self._forget()

    async def wait(self) -> bool:
        """Wait until the program says READY=1, as a line of a message; False once the init has ended.

        Everything else that it says is dropped, and descriptors that it sends are closed.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def end(ready: bool) -> None:
            if not done.done():
                done.set_result(ready)

        def read() -> None:
            # One message at a time: a flood of them keeps the loop from nothing else.
            try:
                # Without room for them descriptors are closed by the kernel: unix(7).
                message = self._socket.recv(_MAX_MESSAGE_BYTES)
            except OSError:  # somebody else's turn
                return
            if _READY in message.split(b"\n"):
                end(True)

        loop.add_reader(self._socket, read)
        loop.add_reader(self._pidfd, end, False)
        try:
            return await done
        finally:
            loop.remove_reader(self._socket)
            loop.remove_reader(self._pidfd)
