"""One connection to a D-Bus bus, or straight to the service manager, which then is the only peer.

dbus-fast makes and reads the messages.  Its own `MessageBus` is not used: it cannot do without Hello,
which a direct peer does not know; it takes connect(2)'s EAGAIN for success; it shows nobody who the
peer is before it trusts him; and it takes messages of any size.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING, Any, Final, cast

from .._aio import in_thread
from .._tuples import NamedTuple
from ..errors import SystemdError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbus_fast import Message

__all__ = ["Address", "Call", "Codec", "Connection", "load_codec"]

_ERROR: Final = "org.freedesktop.DBus.Error."

# All that is said before the first message, at once.  Without an initial response the kernel says who
# we are, so that no user namespace matters: the server answers DATA (old direct peers of systemd: OK),
# and then OK.  dbus-specification "Authentication Protocol", sd_bus_open_system(3).
_HANDSHAKE: Final = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
_ANSWERS: Final = ((b"DATA", b"OK"), (b"OK",))
_LONGEST_LINE: Final = 1024

_FIXED_BYTES: Final = 16
"""Of a message's header: byte order, type, flags, version, body length, serial, length of the fields."""
_LONGEST_MESSAGE: Final = 1 << 20
"""systemd's own largest, all properties of a unit, have a tenth of that; D-Bus would allow 128 MiB."""

_CONNECT_ATTEMPTS: Final = 7
_FIRST_PAUSE_S: Final = 0.1
_JITTER: Final = 0.125

_UCRED: Final = struct.Struct("iII")


class Address(NamedTuple):
    """Where to connect to, and who must be there."""

    path: str
    """Of the socket; with a NUL in front it is abstract."""
    uid: int = 0
    """Whose process has to listen."""
    direct: bool = False
    """There is no bus in between."""
    guarded: bool = False
    """The path came from the environment: its directory must be *uid*'s, and closed to others' writing."""


class Call(NamedTuple):
    """A method call."""

    destination: str
    path: str
    interface: str
    member: str
    signature: str = ""
    body: tuple[Any, ...] = ()


class Codec(NamedTuple):
    """What of dbus-fast is used; its import takes some 70 ms."""

    message: type[Message]
    variant: type[Any]
    decode: Callable[[bytes], Message | None]


@functools.cache
def _codec() -> Codec:
    from dbus_fast import Message, Variant
    from dbus_fast._private.unmarshaller import Unmarshaller

    def decode(data: bytes) -> Message | None:
        return Unmarshaller(io.BytesIO(data)).unmarshall()  # type: ignore[arg-type]  # it only reads

    return Codec(Message, Variant, decode)


async def load_codec() -> Codec:
    """Return what of dbus-fast is used; reads it in by a thread, the first time."""
    return _codec() if _codec.cache_info().currsize else await in_thread(_codec)


class Connection(asyncio.Protocol):
    """Open from `open` until `lost`: then every call that waits has failed, and so does every new one."""

    def __init__(self, address: Address, codec: Codec, on_signal: Callable[[Message], None]) -> None:
        self._codec = codec
        self._on_signal = on_signal
        self._direct = address.direct
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection has ended."""
        self._answered = 0
        self._received = bytearray()
        self._serial = 0
        self._waiting: dict[int, tuple[str, asyncio.Future[Message]]] = {}
        self._transport: asyncio.Transport | None = None
        self._problem = "the connection was closed"

    @classmethod
    async def open(cls, address: Address, on_signal: Callable[[Message], None]) -> Connection:
        """Connect and introduce ourselves; `SystemdError`.  Signals go to *on_signal*, on the loop."""
        codec = await load_codec()
        sock = await _connect(address)
        try:
            _check_peer(sock, address)
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_unix_connection(
                lambda: cls(address, codec, on_signal), sock=sock
            )
        except BaseException:
            sock.close()
            raise
        try:
            await connection._ready  # noqa: SLF001 - of the same class
            if not address.direct:
                await connection.call(_HELLO)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def direct(self) -> bool:
        """Whether the peer is the service manager itself."""
        return self._direct

    def call(self, call: Call) -> asyncio.Future[Message]:
        """Send a call now; the reply comes as the result, or as `SystemdError`.  Can be cancelled."""
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        if self._transport is None or self.lost.done():
            reply.set_exception(_disconnected(call.member, self._problem))
            return reply
        self._serial += 1
        message = self._codec.message(
            destination=None if self._direct else call.destination,
            path=call.path,
            interface=call.interface,
            member=call.member,
            signature=call.signature,
            body=list(call.body),
            serial=self._serial,
        )
        self._waiting[self._serial] = (call.member, reply)
        reply.add_done_callback(functools.partial(self._forget, self._serial))
        self._transport.write(bytes(message._marshall(False)))  # noqa: SLF001 - dbus-fast has no other door
        return reply

    def close(self) -> None:
        """End it; `lost` is done soon."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say everything that comes before the first message."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._transport.write(_HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        """Take apart what has arrived."""
        self._received += data
        try:
            while self._take():
                continue
        except _ProtocolError as exc:
            self._end(str(exc))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everybody who waits."""
        problem = f"the connection was lost: {exc}" if exc is not None else self._problem
        if not self._ready.done():
            self._ready.set_exception(SystemdError("connect", _ERROR + "AuthFailed", problem))
        if not self.lost.done():
            self.lost.set_result(None)
        waiting, self._waiting = self._waiting, {}
        for member, reply in waiting.values():
            if not reply.done():
                reply.set_exception(_disconnected(member, problem))

    # ------------------------------------------------------------------------------------------------

    def _take(self) -> bool:
        """Consume one line or message, if it is whole."""
        if self._answered < len(_ANSWERS):
            return self._take_line()
        if len(self._received) < _FIXED_BYTES:
            return False
        length = _message_bytes(self._received)
        if len(self._received) < length:
            return False
        data = bytes(self._received[:length])
        del self._received[:length]
        self._take_message(data)
        return True

    def _take_line(self) -> bool:
        line, end, rest = self._received.partition(b"\r\n")
        if not end:
            if len(line) > _LONGEST_LINE:
                raise _ProtocolError("the peer does not speak D-Bus")
            return False
        if bytes(line).split(b" ")[0] not in _ANSWERS[self._answered]:
            self._problem = f"not let in: {line[:80].decode(errors='backslashreplace')}"
            raise _ProtocolError(self._problem)
        self._received = rest
        self._answered += 1
        if self._answered == len(_ANSWERS) and not self._ready.done():
            self._ready.set_result(None)
        return True

    def _take_message(self, data: bytes) -> None:
        try:
            message = self._codec.decode(data)
        except Exception as exc:  # dbus-fast raises what it happens to run into
            raise _ProtocolError(f"a malformed message: {exc}") from exc
        if message is None:
            raise _ProtocolError("a malformed message")
        kind = message.message_type.name
        if kind == "SIGNAL":
            self._on_signal(message)
        elif kind in ("METHOD_RETURN", "ERROR"):
            member, reply = self._waiting.get(message.reply_serial, ("", None))
            if reply is not None and not reply.done():
                _settle(member, reply, message)

    def _forget(self, serial: int, _: asyncio.Future[Message]) -> None:
        self._waiting.pop(serial, None)

    def _end(self, problem: str) -> None:
        self._problem = problem
        self.close()


_HELLO: Final = Call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")


class _ProtocolError(Exception):
    """The peer does not keep to D-Bus."""


def _disconnected(operation: str, problem: str) -> SystemdError:
    """Return the error of a call that got no answer because the connection ended."""
    return SystemdError(operation, _ERROR + "Disconnected", problem)


def _settle(member: str, reply: asyncio.Future[Message], message: Message) -> None:
    if message.message_type.name == "METHOD_RETURN":
        reply.set_result(message)
        return
    text = message.body[0] if message.body and isinstance(message.body[0], str) else ""
    reply.set_exception(SystemdError(member, str(message.error_name), text))


def _message_bytes(start: bytearray) -> int:
    """Return how long the message is that begins so.  dbus-specification "Message Format"."""
    order = {ord("l"): "<", ord("B"): ">"}.get(start[0])
    if order is None:
        raise _ProtocolError("a message of unknown byte order")
    body, _, fields = struct.unpack_from(f"{order}III", start, 4)
    length: int = _FIXED_BYTES + (fields + 7) // 8 * 8 + body
    if length > _LONGEST_MESSAGE:
        raise _ProtocolError(f"a message of {length} bytes")
    return length


async def _connect(address: Address) -> socket.socket:
    """Connect a socket, more than once where too many want to: unix(7) EAGAIN."""
    if address.guarded:
        _check_owner(address)
    pause_s = _FIRST_PAUSE_S
    for attempt in range(_CONNECT_ATTEMPTS):
        try:
            return _connected(address.path)
        except BlockingIOError as exc:
            if attempt == _CONNECT_ATTEMPTS - 1:
                raise _unreachable(address, exc) from exc
        except OSError as exc:
            raise _unreachable(address, exc) from exc
        spread = 2 * int.from_bytes(os.urandom(2), "big") / 0xFFFF - 1
        await asyncio.sleep(pause_s * (1 + _JITTER * spread))
        pause_s *= 2
    raise AssertionError("unreachable")


def _connected(path: str) -> socket.socket:
    """Return a socket that is connected, or not at all: on AF_UNIX that needs no waiting."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _unreachable(address: Address, exc: OSError) -> SystemdError:
    name = "AccessDenied" if exc.errno in (errno.EACCES, errno.EPERM) else "NoServer"
    problem = f"{address.path}: {exc.strerror}"
    return SystemdError("connect", _ERROR + name, problem, errno=exc.errno or 0)


def _check_owner(address: Address) -> None:
    """Refuse a socket that somebody else could have put there."""
    try:
        directory = os.stat(os.path.dirname(address.path) or "/")
        found = os.stat(address.path)
    except OSError as exc:
        raise _unreachable(address, exc) from exc
    open_to_others = directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if directory.st_uid != address.uid or found.st_uid != address.uid or open_to_others:
        problem = f"{address.path} does not belong to user {address.uid} alone"
        raise SystemdError("connect", _ERROR + "AccessDenied", problem, errno=errno.EACCES)


def _check_peer(sock: socket.socket, address: Address) -> None:
    """Refuse a peer who is not who he must be.  unix(7) SO_PEERCRED: who called listen(2)."""
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid != address.uid:
        problem = f"{address.path} is served by user {uid}, not by {address.uid}"
        raise SystemdError("connect", _ERROR + "AccessDenied", problem, errno=errno.EACCES)
