"""A service manager of the mind behind a real D-Bus: by a dbus-daemon of its own, or as the direct peer.

Nothing of the machine is touched: its units are a dict.  Tests say what goes wrong, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from dbus_fast import Message, MessageType, Variant
from dbus_fast._private.unmarshaller import Unmarshaller
from dbus_fast.aio import MessageBus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["BusServer", "Ends", "FakeManager", "FakeUnit", "PeerServer"]

SYSTEMD = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = f"{SYSTEMD}.Manager"


Ends: TypeAlias = list[tuple[str, str, str]]
"""Jobs that will end: "start" or "stop", the unit, the result."""


@dataclass
class FakeUnit:
    properties: dict[str, Any]
    active: str = "inactive"
    job: int = 0
    pids: list[int] = field(default_factory=list)
    told: dict[str, Variant] = field(default_factory=dict)
    """What it says of its properties."""


class DBusError(Exception):
    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name if "." in name.removeprefix("org.") else f"{SYSTEMD}.{name}"
        self.text = text


class FakeManager:
    """Answers calls.  *faults*: method to what to do at its next calls, in order.

    "hang": never answer; "drop": end the connection instead of answering; "late": carry it out, then
    end the connection without an answer; "leave": answer, then end the connection; "refuse:NAME":
    answer with that error; "silent": never end the job; "early": tell of the job's end before the
    answer; "job:RESULT": end the job so; None: nothing.
    """

    def __init__(self) -> None:
        self.units: dict[str, FakeUnit] = {}
        self.faults: dict[str, list[str | None]] = {}
        self.calls: list[tuple[str, list[Any]]] = []
        self.unknown: set[str] = set()
        """Properties that are not there."""
        self.refused: dict[str, str] = {}
        """Properties whose values are wrong, and what is said of them."""
        self.modes: list[str] = []
        """How units were started."""
        self.altered: dict[str, Variant | None] = {}
        """What it makes of properties; None: it drops them."""
        self.tells = True
        """Refusals name the property."""
        self.job_s = 0.0
        self.version = "257.9-1"
        self.peers: list[Callable[[Message], None]] = []
        self.hang_up: list[Callable[[], None]] = []
        self.jobs = 0
        self._later: set[asyncio.Task[None]] = set()

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.calls)

    # The transport ----------------------------------------------------------------------------------

    def handle(self, message: Message, send: Callable[[Message], None], drop: Callable[[], None]) -> None:
        """Answer one call, or do what is to go wrong."""
        faults = self.faults.get(message.member or "", [])
        fault = faults.pop(0) if faults else None
        self.calls.append((message.member or "", message.body))
        if fault == "hang":
            return
        if fault == "drop":
            drop()
            return
        ends: Ends = []
        try:
            if fault is not None and fault.startswith("refuse:"):
                raise DBusError(fault.removeprefix("refuse:"), "refused by the test")
            signature, body = self._answer(message, fault, ends)
            reply = Message.new_method_return(message, signature, body)
        except DBusError as exc:
            reply = Message.new_error(message, exc.name, exc.text)
        if fault == "early":
            for end in ends:
                self.end_job(*end)
            ends = []
        if fault == "late":
            drop()
        else:
            send(reply)
        if fault == "leave":
            drop()
        for end in ends:
            if fault != "silent":
                self._soon(end)

    def _soon(self, end: tuple[str, str, str]) -> None:
        async def later() -> None:
            await asyncio.sleep(self.job_s)
            self.end_job(*end)

        task = asyncio.ensure_future(later())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def end_job(self, kind: str, name: str, result: str) -> None:
        """End the job of a unit, and tell everybody."""
        unit = self.units[name]
        job, unit.job = unit.job, 0
        if kind == "start":
            unit.active = "active" if result == "done" else "failed"
        elif result == "done":
            del self.units[name]
        self.emit("JobRemoved", "uoss", [job, f"{PATH}/job/{job}", name, result])

    def emit(self, member: str, signature: str, body: list[Any]) -> None:
        for send in self.peers:
            send(Message.new_signal(PATH, MANAGER, member, signature, body))

    def reexecute(self) -> None:
        """Be away from the bus for a moment."""
        for hang_up in self.hang_up:
            hang_up()

    async def settle(self) -> None:
        """Let jobs end that are under way."""
        while self._later:
            await asyncio.wait(self._later)

    # What systemd does ------------------------------------------------------------------------------

    def _answer(self, message: Message, fault: str | None, ends: Ends) -> tuple[str, list[Any]]:
        result = fault.removeprefix("job:") if fault is not None and fault.startswith("job:") else "done"
        body = message.body
        match message.member:
            case "Subscribe":
                return "", []
            case "StartTransientUnit":
                return "o", [self._start(body, ends, result)]
            case "StopUnit":
                return "o", [self._stop(body[0], ends, result)]
            case "SetUnitProperties":
                self._check(body[2])
                self._unit(body[0]).properties |= {name: value.value for name, value in body[2]}
                self._unit(body[0]).told |= {name: value for name, value in body[2]}  # noqa: C416 - lists
                return "", []
            case "ResetFailedUnit":
                if self._unit(body[0]).active == "failed":
                    del self.units[body[0]]
                return "", []
            case "KillUnit":
                self._unit(body[0]).pids.clear()
                return "", []
            case "AttachProcessesToUnit":
                self._unit(body[0]).pids += body[2]
                return "", []
            case "GetUnit":
                self._unit(body[0])
                return "o", [f"{PATH}/unit/{body[0].encode().hex()}"]
            case "GetUnitByPID":
                for name, unit in self.units.items():
                    if body[0] in unit.pids and unit.active == "active":
                        return "o", [f"{PATH}/unit/{name.encode().hex()}"]
                raise DBusError("NoUnitForPID", "no unit")
            case "Get":
                return "v", [self._get(message.path or "", body[1])]
            case "GetAll":
                told = self._unit(_unit_of(message.path or "")).told | self.altered
                return "a{sv}", [{name: value for name, value in told.items() if value is not None}]
        raise DBusError("org.freedesktop.DBus.Error.UnknownMethod", f"{message.member}")

    def _unit(self, name: str) -> FakeUnit:
        if name not in self.units:
            raise DBusError("NoSuchUnit", f"Unit {name} not loaded.")
        return self.units[name]

    def _check(self, properties: list[list[Any]]) -> None:
        for name, _ in properties:
            if name in self.refused:
                raise DBusError("org.freedesktop.DBus.Error.InvalidArgs", self.refused[name])
            if name in self.unknown:
                text = f"Cannot set property {name}, or unknown property." if self.tells else "No."
                raise DBusError("org.freedesktop.DBus.Error.PropertyReadOnly", text)

    def _start(self, body: list[Any], ends: Ends, result: str) -> str:
        name, mode, properties, _ = body
        self.modes.append(mode)
        self._check(properties)
        if name in self.units:
            raise DBusError("UnitExists", f"Unit {name} was already loaded or has a fragment file.")
        self.jobs += 1
        values = {key: value.value for key, value in properties}
        pids = list(values.get("PIDs", []))
        self.units[name] = FakeUnit(values, "activating", self.jobs, pids, dict(properties))
        ends.append(("start", name, result))
        return f"{PATH}/job/{self.jobs}"

    def _stop(self, name: str, ends: Ends, result: str) -> str:
        unit = self._unit(name)
        self.jobs += 1
        unit.job, unit.active = self.jobs, "deactivating"
        ends.append(("stop", name, result))
        return f"{PATH}/job/{self.jobs}"

    def _get(self, path: str, name: str) -> Variant:
        if path == PATH:
            return Variant("s", {"Version": self.version, "ControlGroup": ""}[name])
        unit = self._unit(_unit_of(path))
        values = {
            "ActiveState": Variant("s", unit.active),
            "Job": Variant("(uo)", [unit.job, f"{PATH}/job/{unit.job}" if unit.job else "/"]),
        }
        return values[name]


def _unit_of(path: str) -> str:
    return bytes.fromhex(path.rpartition("/")[2]).decode()


class PeerServer:
    """Listens at *path* as ``/run/systemd/private`` does; with *bus* it plays the bus as well.

    *greeting*: what goes wrong before the first message: "reject", "hang", "garbage", "old" (answers as
    systemd before 240 did), or nothing.
    """

    def __init__(self, manager: FakeManager, path: Path, *, bus: bool = False, greeting: str = "") -> None:
        self.manager = manager
        self.path = path
        self.bus = bus
        self.greeting = greeting
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        self.manager.hang_up.append(self.drop_all)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.drop_all()
        await self.manager.settle()
        await asyncio.sleep(0.01)

    def drop_all(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        serial = 0

        def send(message: Message) -> None:
            nonlocal serial
            serial += 1
            message.serial = serial
            if self.bus:
                message.sender = ":1.1"
            if not writer.is_closing():
                writer.write(bytes(message._marshall(False)))

        try:
            if await self._greet(reader, writer):
                self.manager.peers.append(send)
                while True:
                    self._dispatch(await _receive(reader), send, writer.transport.abort)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            with contextlib.suppress(ValueError):
                self.manager.peers.remove(send)
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        assert await reader.readexactly(1) == b"\0"
        lines = [await reader.readline() for _ in range(3)]
        assert lines == [b"AUTH EXTERNAL\r\n", b"DATA\r\n", b"BEGIN\r\n"]
        if self.greeting == "hang":
            await reader.read()
            return False
        answer = {
            "reject": b"REJECTED EXTERNAL\r\n",
            "garbage": b"\xff" * 4096,
            "old": b"OK 0123456789abcdef\r\nOK 0123456789abcdef\r\n",
        }
        writer.write(answer.get(self.greeting, b"DATA\r\nOK 0123456789abcdef\r\n"))
        return self.greeting in ("", "old")

    def _dispatch(self, message: Message, send: Callable[[Message], None], drop: Callable[[], None]) -> None:
        if message.destination != "org.freedesktop.DBus":
            assert self.bus == (message.destination == SYSTEMD)
            self.manager.handle(message, send, drop)
            return
        bodies = {"Hello": ("s", [":1.7"]), "GetNameOwner": ("s", [":1.1"]), "AddMatch": ("", [])}
        send(Message.new_method_return(message, *bodies[message.member or ""]))


async def _receive(reader: asyncio.StreamReader) -> Message:
    start = await reader.readexactly(16)
    fields = int.from_bytes(start[12:16], "little")
    rest = await reader.readexactly((fields + 7) // 8 * 8 + int.from_bytes(start[4:8], "little"))
    message = Unmarshaller(io.BytesIO(start + rest)).unmarshall()
    assert message is not None
    return message


CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""


class BusServer:
    """A dbus-daemon of our own, and the manager as one of its clients."""

    def __init__(self, manager: FakeManager, path: Path) -> None:
        self.manager = manager
        self.path = path
        self._daemon: asyncio.subprocess.Process | None = None
        self._client: MessageBus | None = None

    async def __aenter__(self) -> Self:
        config = self.path.with_suffix(".conf")
        config.write_text(CONFIG.format(path=self.path))
        daemon = self._daemon = await asyncio.create_subprocess_exec(
            *("dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # it may not raise its limits
        )
        try:
            assert daemon.stdout is not None
            assert await daemon.stdout.readline()  # it listens
            await self.join()
        except BaseException:
            await self._end()
            raise
        self.manager.hang_up.append(self._leave)
        return self

    async def join(self) -> None:
        """Take the manager's name on the bus."""
        client = self._client = await MessageBus(f"unix:path={self.path}").connect()

        def send(message: Message) -> None:
            client.send(message)

        def handle(message: Message) -> bool:
            if message.message_type is not MessageType.METHOD_CALL:
                return False
            self.manager.handle(message, send, client.disconnect)
            return True

        client.add_message_handler(handle)
        self.manager.peers = [send]
        await client.request_name(SYSTEMD)

    def _leave(self) -> None:
        assert self._client is not None
        self.manager.peers = []
        self._client.disconnect()

    async def __aexit__(self, *_: object) -> None:
        await self.manager.settle()
        self._leave()
        await self._end()

    async def _end(self) -> None:
        assert self._daemon is not None
        self._daemon.terminate()
        await self._daemon.communicate()
