"""A bus that stays: one connection, made when first needed and again when it is lost."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Final

from ..errors import SystemdError
from .connection import Address, Call, Connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from dbus_fast import Message

__all__ = ["GONE", "Bus", "system_addresses", "user_addresses"]

_MOST_IN_FLIGHT: Final = 64
"""Calls that may wait for their reply at once; the others wait here."""
_ERROR: Final = "org.freedesktop.DBus.Error."

GONE: Final = frozenset({_ERROR + "Disconnected", _ERROR + "NoReply", _ERROR + "Timeout"})
"""Names of errors after which nobody knows whether the call was carried out."""

_AWAY: Final = frozenset({_ERROR + "ServiceUnknown", _ERROR + "NameHasNoOwner"})
"""The bus is there, but the manager is not: it is just executing itself anew."""
_AWAY_PAUSE_S: Final = 0.05

_HINTS: Final = {
    _ERROR
    + "AccessDenied": "an ordinary user's units are made by his own manager, or need a rule of polkit(8)",
    _ERROR + "InteractiveAuthorizationRequired": "polkit(8) would have to ask somebody",
}


def system_addresses(*, privileged: bool) -> tuple[Address, ...]:
    """Where the machine's manager is reached: by the system bus, and by root without one, too."""
    bus = Address("/run/dbus/system_bus_socket")
    return (bus, Address("/run/systemd/private", direct=True)) if privileged else (bus,)


def user_addresses(environment: Mapping[str, str], uid: int) -> tuple[Address, ...]:
    """Where the manager of user *uid* is reached: by DBUS_SESSION_BUS_ADDRESS, else $XDG_RUNTIME_DIR/bus.

    Only sockets with a path, in a directory that nobody else may write to.
    """
    paths = _unix_paths(environment.get("DBUS_SESSION_BUS_ADDRESS", ""))
    directory = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    if not paths and directory.startswith("/"):
        paths = [os.path.join(directory, "bus")]
    return tuple(Address(path, uid=uid, guarded=True) for path in paths)


def _unix_paths(text: str) -> list[str]:
    """Read the addresses that are a "unix:path=".  dbus-specification "Server Addresses"."""
    found = []
    for each in text.split(";"):
        kind, _, options = each.partition(":")
        values = dict(option.split("=", 1) for option in options.split(",") if "=" in option)
        path = re.sub(r"%([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), values.get("path", ""))
        if kind == "unix" and path.startswith("/") and "\0" not in path:
            found.append(path)
    return found


class Bus:
    """Calls methods; at most one connection, of the event loop that it is first used on.

    *on_open* prepares each new connection before others use it, *on_signal* gets every signal, and
    *on_lost* is told when a connection has ended.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        on_open: Callable[[Connection], Awaitable[None]],
        on_signal: Callable[[Message], None],
        on_lost: Callable[[], None],
        timeout_s: float,
    ) -> None:
        """*timeout_s* bounds each call, with connecting, if need be."""
        self._addresses = addresses
        self._on_open = on_open
        self._on_signal = on_signal
        self._on_lost = on_lost
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._in_flight = asyncio.Semaphore(_MOST_IN_FLIGHT)

    async def call(self, call: Call, *, again: bool = True) -> Message:
        """Call, and return the reply; `SystemdError`.

        A call that was certainly not carried out is repeated.  *again* says that it may be carried out
        twice: then one whose connection was lost before the reply came is repeated, too, once.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._in_flight:
                return await self._attempts(call, again=again)
        except TimeoutError:
            problem = f"no answer within {self._timeout_s:g} s"
            raise SystemdError(call.member, _ERROR + "NoReply", problem) from None

    async def _attempts(self, call: Call, *, again: bool) -> Message:
        while True:
            connection = await self._connected()
            try:
                return await connection.call(call)
            except SystemdError as exc:
                if exc.name in _HINTS:
                    raise _hinted(exc) from exc
                if exc.name not in _AWAY and not (again and exc.name in GONE):
                    raise
                again = again and exc.name in _AWAY
            await asyncio.sleep(_AWAY_PAUSE_S)

    async def _connected(self) -> Connection:
        async with self._opening:
            if self._connection is None or self._connection.lost.done():
                self._connection = await self._open()
            return self._connection

    async def _open(self) -> Connection:
        failure = SystemdError("connect", _ERROR + "NoServer", "no address of a bus is known")
        for address in self._addresses:
            try:
                connection = await Connection.open(address, self._on_signal)
            except SystemdError as exc:
                failure = exc
                continue
            try:
                await self._on_open(connection)
            except BaseException:
                connection.close()
                raise
            connection.lost.add_done_callback(lambda _: self._on_lost())
            return connection
        raise failure

    async def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            await connection.lost


def _hinted(error: SystemdError) -> SystemdError:
    message = f"{error.message}; {_HINTS[error.name]}"
    return SystemdError(error.operation, error.name, message, errno=error.errno or 0)
