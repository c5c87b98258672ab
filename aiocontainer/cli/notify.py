"""NOTIFY_SOCKET: what the container says of its readiness goes on to our own service manager.

Nothing that the container has written goes there: messages are of our own making, sd_notify(3).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiocontainer import Container

__all__ = ["listening", "start_and_tell", "tell_ready"]

_BARRIER_S = 30.0


async def start_and_tell(container: Container, address: str) -> None:
    """Start it, and return when its readiness has been passed on, or it has ended."""
    async with listening(container, address) as pass_on:
        pid = container.pid
        await container.start()
        await pass_on(pid)


@contextlib.asynccontextmanager
async def listening(container: Container, address: str) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Listen to a container that is to be started; gives what waits, and tells who is its main process."""
    readiness = await container.readiness()

    async def pass_on(pid: int) -> None:
        if readiness is None:  # created without a service manager
            return
        with readiness:
            ready = await readiness.wait()
        if ready:
            await _tell(address, pid)

    try:
        yield pass_on
    finally:
        if readiness is not None:
            readiness.close()


async def _tell(address: str, pid: int) -> None:
    """Tell it; a manager that cannot be told stops nothing that runs."""
    try:
        await tell_ready(address, pid)
    except OSError as exc:
        why = "was told, but does not answer" if isinstance(exc, TimeoutError) else exc.strerror or str(exc)
        _warn(f"NOTIFY_SOCKET: {address}: {why}")


async def tell_ready(address: str, pid: int, *, barrier_s: float = _BARRIER_S) -> None:
    """Say that the service is ready, which its main process is, and wait until that was read.

    The manager may need to look at us as long as it reads: sd_notify_barrier(3).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.connect("\0" + address[1:] if address.startswith("@") else address)
        async with asyncio.timeout(barrier_s):
            await _send(manager, b"READY=1\n")
            await _send(manager, f"MAINPID={pid}\n".encode())
            reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            with contextlib.closing(os.fdopen(reader, "rb", 0)) as answer:
                try:
                    await _send(manager, b"BARRIER=1", writer)
                finally:
                    os.close(writer)
                await _readable(answer.fileno())


async def _send(manager: socket.socket, message: bytes, *fds: int) -> None:
    while True:
        try:
            socket.send_fds(manager, [message], fds)
        except BlockingIOError:
            await _writable(manager.fileno())
        else:
            return


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)


def _warn(text: str) -> None:
    from logging import getLogger

    getLogger("aiocontainer").warning("%s", text)
