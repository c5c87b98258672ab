"""systemd's manager: its methods as far as we need them, and the ends of its jobs.

org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import asyncio
import re
import signal
from typing import TYPE_CHECKING, Any, Final

from .._tuples import NamedTuple
from ..errors import SystemdError, UnsupportedError
from ..gvariant import Variant, convert
from .bus import GONE, Bus
from .connection import Call, load_codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dbus_fast import Message

    from ..plan.options import JobMode
    from ..plan.unit import UnitProperty
    from .connection import Address, Connection

__all__ = ["CALL_S", "JOB_S", "NO_SUCH_UNIT", "UNIT_EXISTS", "Job", "Manager", "UnitState"]

CALL_S: Final = 30.0
"""How long a call may take.  The manager does nothing else while it reloads."""
JOB_S: Final = 30.0
"""How long a job may take to end."""

_DAEMON: Final = "org.freedesktop.DBus"
_DAEMON_PATH: Final = "/org/freedesktop/DBus"
_SYSTEMD: Final = "org.freedesktop.systemd1"
_PATH: Final = "/org/freedesktop/systemd1"
_MANAGER: Final = "org.freedesktop.systemd1.Manager"
_UNIT: Final = "org.freedesktop.systemd1.Unit"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"

NO_SUCH_UNIT: Final = "org.freedesktop.systemd1.NoSuchUnit"
UNIT_EXISTS: Final = "org.freedesktop.systemd1.UnitExists"
_NO_UNIT_FOR_PID: Final = "org.freedesktop.systemd1.NoUnitForPID"
_UNKNOWN_PROPERTY: Final = frozenset(
    {"org.freedesktop.DBus.Error.PropertyReadOnly", "org.freedesktop.DBus.Error.UnknownProperty"}
)
"""systemd says the first for both: "Cannot set property %s, or unknown property."."""

_RULES: Final = (
    f"type='signal',sender='{_SYSTEMD}',path='{_PATH}',interface='{_MANAGER}',member='JobRemoved'",
    f"type='signal',sender='{_DAEMON}',interface='{_DAEMON}',member='NameOwnerChanged',arg0='{_SYSTEMD}'",
)

_LOOK_S: Final = 5.0
"""How often a job is looked at that says nothing: signals can be lost with a manager that restarts."""


class UnitState(NamedTuple):
    """What a unit is doing."""

    active: str
    """"active", "inactive", "failed", "activating", "deactivating", "reloading"."""
    job: int
    """Number of the job that it waits for; 0: none."""


class Job:
    """Hears of the ends of jobs of one unit, from before the call that makes the one that matters."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.path = ""
        """Of the job that matters, once it is known."""
        self.disturbed: bool = False
        """Something may have ended unheard."""
        self._ended: dict[str, str] = {}
        self._news = asyncio.Event()

    def ended(self, path: str, result: str) -> None:
        """Take note of JobRemoved."""
        self._ended[path] = result
        self._news.set()

    def disturb(self) -> None:
        """Have the unit looked at: the connection or the manager was lost."""
        self.disturbed = True
        self._news.set()

    @property
    def result(self) -> str:
        """How it ended; "" while it has not."""
        return self._ended.get(self.path, "")

    async def news(self, timeout_s: float) -> None:
        """Wait until something happens, or *timeout_s* are over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            self.disturbed = True
        self._news.clear()


class Manager:
    """The service manager of the machine or of a user; safe to share between containers of one loop."""

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        call_s: float = CALL_S,
        job_s: float = JOB_S,
        job_mode: JobMode = "fail",
    ) -> None:
        self.job_s = job_s
        self._job_mode: JobMode = job_mode
        self._bus = Bus(
            addresses,
            on_open=self._introduce,
            on_signal=self._hear,
            on_lost=self._disturb,
            timeout_s=call_s,
        )
        self._owner = ""
        """Unique name of the manager on its bus."""
        self._jobs: dict[str, list[Job]] = {}
        self._missing: set[str] = set()
        """Properties that this manager has turned out not to know."""

    async def close(self) -> None:
        """Close the connection; the next call opens another one."""
        await self._bus.close()

    # Methods ----------------------------------------------------------------------------------------

    async def start_transient(self, unit: str, properties: Sequence[UnitProperty]) -> str:
        """Queue the start of a new unit, and return the path of its job."""
        known = [each for each in properties if each.name not in self._missing]
        while True:
            body: tuple[Any, ...] = (unit, self._job_mode, await self._values(known), [])
            try:
                reply = await self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", body, unit, again=False)
            except SystemdError as exc:
                named = _blamed(exc, known)
                if exc.name not in _UNKNOWN_PROPERTY or not named:
                    raise
                self._miss(exc, named)
                known = [each for each in known if each not in named]
            else:
                return str(reply.body[0])

    async def set_properties(self, unit: str, properties: Sequence[UnitProperty]) -> None:
        """Set properties of a unit that is there, until it ends: all, but for those it does not know."""
        known = [each for each in properties if each.name not in self._missing]
        if not known:
            return
        try:
            body = (unit, True, await self._values(known))
            await self._call("SetUnitProperties", "sba(sv)", body, unit)
        except SystemdError as exc:
            named = _blamed(exc, known)
            if exc.name not in _UNKNOWN_PROPERTY:
                raise
            if named:
                self._miss(exc, named)
                await self.set_properties(unit, [each for each in known if each not in named])
            else:  # it does not say which: the half that has it is found by trying
                middle = len(known) // 2
                await self.set_properties(unit, known[:middle])
                await self.set_properties(unit, known[middle:])

    async def stop_unit(self, unit: str) -> str:
        """Queue the stop of a unit, and return the path of its job."""
        reply = await self._call("StopUnit", "ss", (unit, "replace"), unit)
        return str(reply.body[0])

    async def kill(self, unit: str) -> None:
        """Send SIGKILL to all that is in a unit."""
        await self._call("KillUnit", "ssi", (unit, "all", signal.SIGKILL), unit)

    async def reset_failed(self, unit: str) -> None:
        """Let a unit that failed be forgotten."""
        await self._call("ResetFailedUnit", "s", (unit,), unit)

    async def attach(self, unit: str, subgroup: str, pids: Sequence[int]) -> None:
        """Move processes into a unit's cgroup, or one below it; also where we may not write ourselves."""
        await self._call("AttachProcessesToUnit", "ssau", (unit, subgroup, list(pids)), unit)

    async def state(self, unit: str) -> UnitState | None:
        """Look at a unit; None where there is none."""
        try:
            path = (await self._call("GetUnit", "s", (unit,), unit)).body[0]
            # In this order: what it is after its job was seen to be gone is what the job has led to.
            job = await self._property(path, _UNIT, "Job")
            active = await self._property(path, _UNIT, "ActiveState")
        except SystemdError as exc:
            if exc.name in (NO_SUCH_UNIT, "org.freedesktop.DBus.Error.UnknownObject"):
                return None
            raise
        return UnitState(str(active), int(job[0]))

    async def properties(self, unit: str) -> dict[str, Variant]:
        """Read all properties of a unit, of whatever interface."""
        path = (await self._call("GetUnit", "s", (unit,), unit)).body[0]
        call = Call(_SYSTEMD, path, _PROPERTIES, "GetAll", "s", ("",))
        found = (await self._bus.call(call)).body[0]
        return {name: convert(value, Variant) for name, value in found.items()}

    async def has_process(self, unit: str, pid: int) -> bool:
        """Tell whether a process is in a unit."""
        try:
            path = (await self._call("GetUnit", "s", (unit,), unit)).body[0]
            reply = await self._call("GetUnitByPID", "u", (pid,), unit)
        except SystemdError as exc:
            if exc.name in (NO_SUCH_UNIT, _NO_UNIT_FOR_PID):
                return False
            raise
        return bool(reply.body[0] == path)

    async def version(self) -> int:
        """Return its version: 257, or -1 where it is not one that begins with a number."""
        match = re.match(r"v?(\d+)", str(await self._property(_PATH, _MANAGER, "Version")), re.ASCII)
        return int(match[1]) if match is not None else -1

    async def control_group(self) -> str:
        """Return the cgroup below which it makes all others, "" for the root."""
        return str(await self._property(_PATH, _MANAGER, "ControlGroup")).rstrip("/")

    # Jobs -------------------------------------------------------------------------------------------

    def listen(self, unit: str) -> Job:
        """Begin to hear of jobs of a unit; to be ended by `forget`."""
        job = Job(unit)
        self._jobs.setdefault(unit, []).append(job)
        return job

    def forget(self, job: Job) -> None:
        """Hear no more."""
        jobs = self._jobs[job.unit]
        jobs.remove(job)
        if not jobs:
            del self._jobs[job.unit]

    async def outcome(self, job: Job, of_state: Callable[[UnitState | None], str]) -> str:
        """Wait for a job to end, and return how; "timeout" where it has not in time.

        *of_state* says it where the signal was lost, from the state of a unit that has no job any more.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.job_s
        while not job.result:
            left_s = deadline - loop.time()
            if left_s <= 0:
                return "timeout"
            await job.news(min(left_s, _LOOK_S))
            if job.disturbed and not job.result:
                job.disturbed = False
                state = await self.state(job.unit)
                if state is None or not state.job:
                    return of_state(state)
        return job.result

    # ------------------------------------------------------------------------------------------------

    async def _call(
        self, member: str, signature: str, body: tuple[Any, ...], unit: str, *, again: bool = True
    ) -> Message:
        call = Call(_SYSTEMD, _PATH, _MANAGER, member, signature, body)
        try:
            return await self._bus.call(call, again=again)
        except SystemdError as exc:
            exc.unit = unit
            raise

    async def _property(self, path: str, interface: str, name: str) -> Any:
        call = Call(_SYSTEMD, path, _PROPERTIES, "Get", "ss", (interface, name))
        return (await self._bus.call(call)).body[0].value

    async def _values(self, properties: Iterable[UnitProperty]) -> list[list[object]]:
        variant, values = (await load_codec()).variant, []
        for each in properties:
            try:
                value = convert(Variant(each.signature, each.value), variant)
            except Exception as exc:  # dbus-fast's own
                raise SystemdError(
                    "set", "", f"{each.name} is no {each.signature!r}: {exc}", property=each.name
                ) from exc
            values.append([each.name, value])
        return values

    def _miss(self, error: SystemdError, unknown: Iterable[UnitProperty]) -> None:
        """Do without what an older systemd does not know, if it was not asked for by this very name.

        What comes from limits is written to the cgroup as well; what was asked for as a property is
        only there.
        """
        for each in unknown:
            if each.by_name:
                raise UnsupportedError(
                    f"property {each.name} of {error.unit}", needs="a newer systemd", origin=each.origin
                ) from error
            _warn("this systemd does not know the property %s: done without", each.name)
            self._missing.add(each.name)

    async def _introduce(self, connection: Connection) -> None:
        """Ask for signals, before anything that they could tell of."""
        if not connection.direct:  # where there is no bus, everything is sent to everybody
            for rule in _RULES:
                await connection.call(Call(_DAEMON, _DAEMON_PATH, _DAEMON, "AddMatch", "s", (rule,)))
            owner = Call(_DAEMON, _DAEMON_PATH, _DAEMON, "GetNameOwner", "s", (_SYSTEMD,))
            try:
                self._owner = str((await connection.call(owner)).body[0])
            except SystemdError as exc:
                if exc.name != "org.freedesktop.DBus.Error.NameHasNoOwner":
                    raise
                self._owner = ""  # until NameOwnerChanged
            await self._subscribe(connection)

    async def _subscribe(self, connection: Connection) -> None:
        try:
            await connection.call(Call(_SYSTEMD, _PATH, _MANAGER, "Subscribe"))
        except SystemdError as exc:
            # Jobs that one has made oneself are told of all the same.
            if exc.name in GONE:
                raise

    def _hear(self, message: Message) -> None:
        if message.member == "NameOwnerChanged" and message.sender == _DAEMON:
            name, _, owner = message.body
            if name == _SYSTEMD:
                self._owner = owner
                self._disturb()
        elif message.member == "JobRemoved" and message.interface == _MANAGER and message.path == _PATH:
            if message.sender not in (None, "", self._owner) or message.signature != "uoss":
                return
            _, path, unit, result = message.body
            for job in self._jobs.get(unit, ()):
                job.ended(path, result)

    def _disturb(self) -> None:
        for jobs in self._jobs.values():
            for job in jobs:
                job.disturb()


def _blamed(error: SystemdError, properties: Sequence[UnitProperty]) -> Sequence[UnitProperty]:
    """Return the properties that an error speaks of, and have it say so; where there is one, it is that."""
    words = set(re.findall(r"[A-Za-z]+", error.message))
    named = [each for each in properties if each.name in words] if len(properties) > 1 else properties
    if len(named) == 1:
        error.property = named[0].name
    return named


def _warn(text: str, *arguments: object) -> None:
    from logging import getLogger  # most programs never get here

    getLogger("aiocontainer").warning(text, *arguments)
