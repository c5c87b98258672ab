"""Standard streams of a process: what the caller asks for, as descriptors and asyncio streams.

The words are those of `asyncio.subprocess`: None inherits, `PIPE`, `DEVNULL`, `STDOUT`, an int, or
anything with ``fileno()``.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from .._aio import OwnedFd
from ..errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

__all__ = ["Redirect", "Redirects", "Streams"]

Redirect: TypeAlias = int | IO[bytes] | IO[str] | None
"""What a caller says of one stream."""

_NAMES = ("stdin", "stdout", "stderr")

_LIMIT = 64 * 1024
"""Bytes that a reader holds before the pipe, and with it the payload, waits: backpressure."""


class Redirects:
    """The three streams as asked for, checked before anything is opened."""

    __slots__ = ("words",)

    def __init__(self, stdin: Redirect = None, stdout: Redirect = None, stderr: Redirect = None) -> None:
        if stdin == STDOUT or stdout == STDOUT:
            raise SpecError("STDOUT is for stderr alone", origin="stdin" if stdin == STDOUT else "stdout")
        self.words: tuple[int | None, ...] = tuple(
            _number(word, name) for word, name in zip((stdin, stdout, stderr), _NAMES, strict=True)
        )

    @property
    def pipes(self) -> bool:
        """Whether a stream is a pipe made by us."""
        return PIPE in self.words

    def open(self) -> tuple[dict[int, OwnedFd], dict[int, OwnedFd]]:
        """Open what is to be opened: (the payload's ends by number, our ends of the pipes by number).

        The caller owns all of them.  A stream of the caller that is closed becomes /dev/null, so
        that no number below 3 is ever free for something else.
        """
        payload: dict[int, OwnedFd] = {}
        ours: dict[int, OwnedFd] = {}
        try:
            for number, word in enumerate(self.words):
                if word == PIPE:
                    reader, writer = map(OwnedFd, os.pipe2(os.O_CLOEXEC))
                    payload[number], ours[number] = (writer, reader) if number else (reader, writer)
                else:
                    payload[number] = OwnedFd(_open(number, word, payload))
        except BaseException:
            for fd in (*payload.values(), *ours.values()):
                fd.close()
            raise
        return payload, ours


class Streams:
    """Our ends of a process's pipes as asyncio streams; those that are no pipe are None."""

    def __init__(
        self,
        stdin: asyncio.StreamWriter | None = None,
        stdout: asyncio.StreamReader | None = None,
        stderr: asyncio.StreamReader | None = None,
        transports: tuple[asyncio.BaseTransport, ...] = (),
    ) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._transports = transports

    @classmethod
    async def connect(cls, ours: Mapping[int, OwnedFd]) -> Streams:
        """Make streams of the pipe ends and take them over; what failed to connect is closed."""
        loop = asyncio.get_running_loop()
        transports: list[asyncio.BaseTransport] = []
        readers: dict[int, asyncio.StreamReader] = {}
        stdin = None
        try:
            for number, fd in ours.items():
                if number == 0:
                    stdin = await _writer(loop, fd)
                    transports.append(stdin.transport)
                else:
                    readers[number], transport = await _reader(loop, fd)
                    transports.append(transport)
        except BaseException:
            for transport in transports:
                transport.close()
            raise
        return cls(stdin, readers.get(1), readers.get(2), tuple(transports))

    def close(self) -> None:
        """Close our ends, with what was not read yet."""
        for transport in self._transports:
            transport.close()

    async def communicate(
        self,
        input: bytes | None = None,
        keep_bytes: int | None = None,
        *,
        ended: Callable[[], Awaitable[object]] | None = None,
        drain_s: float | None = None,
    ) -> tuple[bytes | None, bytes | None]:
        """Send *input*, close stdin, and read both outputs to their ends at the same time.

        With *ended*, which waits for the process, they are read for no longer than *drain_s* after that.
        """
        readers = (self.stdout, self.stderr)
        outputs = [None if reader is None else bytearray() for reader in readers]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_drain(reader, kept, keep_bytes))
                for reader, kept in zip(readers, outputs, strict=True)
                if reader is not None and kept is not None
            ]
            if self.stdin is not None:
                tasks.append(group.create_task(_feed(self.stdin, input or b"")))
            if ended is not None and tasks:
                group.create_task(_cut(tasks, ended, drain_s))
        out, err = (None if kept is None else bytes(kept) for kept in outputs)
        return out, err


def _number(word: Redirect, name: str) -> int | None:
    if word is None or isinstance(word, int):
        return word
    try:
        return word.fileno()
    except (AttributeError, ValueError, OSError) as exc:
        raise SpecError(f"{word!r} is no stream with a descriptor: {exc}", origin=name) from exc


def _open(number: int, word: int | None, payload: Mapping[int, OwnedFd]) -> int:
    """Return a new descriptor for one stream that is no pipe."""
    if word == STDOUT:
        return os.dup(payload[1].fileno())
    if word == DEVNULL or (word is None and not _is_stream(number)):
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        return os.dup(number if word is None else word)
    except OSError as exc:
        raise SpecError(f"descriptor {word}: {exc.strerror}", origin=_NAMES[number]) from exc


def _is_stream(number: int) -> bool:
    """Whether that standard stream is open.

    Where it is not, the first descriptor that the application opens for itself gets the number: one
    that is close-on-exec, as no standard stream is.
    """
    try:
        return not fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    except OSError:
        return False


class _Lent:
    """A pipe's end for uvloop, which closes the number and then the file: by then it may be another's."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number

    def close(self) -> None:
        """Leave it to uvloop."""


def _end(loop: asyncio.AbstractEventLoop, fd: OwnedFd) -> Any:
    """Return what the loop takes for the file of a pipe, and closes."""
    return _Lent(fd.detach()) if type(loop).__module__.startswith("uvloop") else fd


async def _reader(
    loop: asyncio.AbstractEventLoop, fd: OwnedFd
) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader(limit=_LIMIT, loop=loop)
    pipe = _end(loop, fd)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), pipe)
    return reader, transport


async def _writer(loop: asyncio.AbstractEventLoop, fd: OwnedFd) -> asyncio.StreamWriter:
    pipe = _end(loop, fd)
    transport, protocol = await loop.connect_write_pipe(lambda: _WriteProtocol(loop), pipe)
    return asyncio.StreamWriter(transport, protocol, None, loop)


class _WriteProtocol(asyncio.streams.FlowControlMixin):
    """Backpressure for `StreamWriter.drain`, and an end for `StreamWriter.wait_closed`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._closed: asyncio.Future[None] = loop.create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self._closed.done():
            self._closed.set_result(None)

    def _get_close_waiter(self, stream: asyncio.StreamWriter) -> asyncio.Future[None]:  # noqa: ARG002
        return self._closed


async def _feed(stdin: asyncio.StreamWriter, data: bytes) -> None:
    try:
        stdin.write(data)
        await stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the payload does not want it, which is its own affair
    finally:
        stdin.close()


async def _drain(stream: asyncio.StreamReader, kept: bytearray, keep_bytes: int | None) -> None:
    """Read to the end into *kept*; all of it, or no more than its last *keep_bytes*."""
    while chunk := await stream.read(_LIMIT):
        kept += chunk
        if keep_bytes is not None and len(kept) > keep_bytes:
            del kept[: len(kept) - keep_bytes]


async def _cut(
    tasks: Sequence[asyncio.Task[None]], ended: Callable[[], Awaitable[object]], drain_s: float | None
) -> None:
    """Stop *tasks* when the process has ended and they have had their time."""
    await ended()
    await asyncio.wait(tasks, timeout=drain_s)
    for task in tasks:
        task.cancel()
