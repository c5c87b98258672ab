"""The systemd driver against a manager that fails on request; security.md S6, features.md D39-D58."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING, get_args

import pytest
from dbus_fast import Variant
from support.manager import BusServer, FakeManager, FakeUnit, PeerServer

from aiocontainer import SystemdError, UnitExistsError, UnsupportedError, gvariant
from aiocontainer.cgroups import connection
from aiocontainer.cgroups.bus import system_addresses, user_addresses
from aiocontainer.cgroups.connection import Address
from aiocontainer.cgroups.manager import Manager
from aiocontainer.cgroups.systemd import Unit
from aiocontainer.plan.options import JobMode
from aiocontainer.plan.unit import UnitPlan, UnitProperty

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAME = "aioc-test-1.scope"
PID = 4242
PLAN = UnitPlan(
    name=NAME,
    slice="system.slice",
    user=False,
    properties=(
        UnitProperty("Description", "s", "a test"),
        UnitProperty("Delegate", "b", True),
        UnitProperty("IOAccounting", "b", True),
        UnitProperty("TimeoutStopUSec", "t", 5, "$.annotations['org.systemd.property.TimeoutStopUSec']"),
    ),
    resources=(
        UnitProperty("MemoryMax", "t", 1 << 20, "$.linux.resources.memory.limit"),
        UnitProperty("AllowedCPUs", "ay", b"\x03", "$.linux.resources.cpu.cpus"),
        UnitProperty("IODeviceWeight", "a(st)", [("/dev/sda", 7)], "$.linux.resources.blockIO"),
    ),
)
SLICE = UnitPlan("aioc-test.slice", "system.slice", False, (UnitProperty("Wants", "as", ["x.slice"]),))


@contextlib.asynccontextmanager
async def served(
    path: Path, manager: FakeManager, *, kind: str = "peer", greeting: str = "", call_s: float = 2.0
) -> AsyncIterator[Manager]:
    """A manager of ours, connected to that of the mind."""
    place = path / "socket"
    server: BusServer | PeerServer = BusServer(manager, place)
    if kind != "daemon":
        server = PeerServer(manager, place, bus=kind == "bus", greeting=greeting)
    async with server:
        ours = Manager([Address(str(place), direct=kind == "peer")], call_s=call_s, job_s=call_s)
        try:
            yield ours
        finally:
            await ours.close()


async def made(manager: FakeManager) -> None:
    """Wait until the unit is there, if not yet ready."""
    while NAME not in manager.units:  # noqa: ASYNC110 - nobody tells us
        await asyncio.sleep(0.005)


NO_DAEMON = not os.path.exists("/usr/bin/dbus-daemon")
KINDS = [
    "peer",
    "bus",
    pytest.param(
        "daemon",
        marks=[
            pytest.mark.skipif(NO_DAEMON, reason="needs dbus-daemon"),
            pytest.mark.may_block("starting it holds the loop until its execve(2)"),
        ],
    ),
]


@pytest.mark.parametrize("loop_kind", ["asyncio", pytest.param("uvloop", marks=pytest.mark.needs("uvloop"))])
@pytest.mark.parametrize("kind", KINDS)
async def test_life_of_a_unit(tmp_path: Path, kind: str, loop_kind: str) -> None:
    manager = FakeManager()
    async with served(tmp_path, manager, kind=kind) as ours:
        unit = Unit(ours, PLAN)
        assert not unit.is_ours
        await unit.start(PID)
        assert manager.modes == ["fail"]
        there = manager.units[NAME]
        assert there.active == "active"
        _, body = next(call for call in manager.calls if call[0] == "StartTransientUnit")
        names = [name for name, _ in body[2]]
        assert names == ["Description", "Delegate", "PIDs", "IOAccounting", "TimeoutStopUSec"]
        assert there.properties["PIDs"] == [PID]
        assert there.properties["MemoryMax"] == 1 << 20
        assert there.properties["AllowedCPUs"] == b"\x03"
        assert there.properties["IODeviceWeight"] == [("/dev/sda", 7)]
        await unit.update([UnitProperty("MemoryMax", "t", 2 << 20)])
        assert there.properties["MemoryMax"] == 2 << 20
        await unit.attach("/sub", [PID + 1])
        assert there.pids == [PID, PID + 1]
        assert await ours.version() == 257
        await unit.stop()
        assert not manager.units
        await unit.stop()  # gone already


@pytest.mark.parametrize("mode", get_args(JobMode))
async def test_whether_a_job_may_be_cancelled_is_said(tmp_path: Path, mode: JobMode) -> None:
    manager = FakeManager()
    async with PeerServer(manager, tmp_path / "socket"):
        ours = Manager([Address(str(tmp_path / "socket"), direct=True)], job_mode=mode)
        unit = Unit(ours, PLAN)
        await unit.start(PID)
        await unit.stop()
        await ours.close()
    assert manager.modes == [mode]


NAMED = "$.annotations['org.systemd.property.X']"
ASKED = UnitPlan(
    name=NAME,
    slice="system.slice",
    user=False,
    properties=(
        UnitProperty("Description", "s", "a test"),
        UnitProperty("TimeoutStopUSec", "t", 0, NAMED),
        UnitProperty("CollectMode", "s", "inactive-or-failed", NAMED),
        UnitProperty("After", "as", ["a.service", "b.service"], NAMED),
        UnitProperty("AllowedCPUs", "ay", b"\x03", NAMED),
        UnitProperty("IODeviceWeight", "a(st)", [("/dev/sda", 7)], NAMED),
        UnitProperty("Conditions", "a(sbbs)", [("ConditionPathExists", False, True, "/x")], NAMED),
        UnitProperty("AddRef", "b", False, "systemd_properties.AddRef"),
        UnitProperty("TasksMax", "t", 9, NAMED),
    ),
    resources=(UnitProperty("TasksMax", "t", 5, "$.linux.resources.pids.limit"),),
)


async def test_what_it_was_asked_for_is_read_back(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.altered = {
        "Description": Variant("s", "nobody has asked for it by name"),
        "TimeoutStopUSec": Variant("t", 2**64 - 1),
        "CollectMode": None,
        "After": Variant("as", ["b.service", "system.slice", "a.service"]),
        "AllowedCPUs": Variant("ay", b"\x03\0\0\0\0\0\0\0"),
        "IODeviceWeight": Variant("a(st)", [["/dev/sda", 8], ["/dev/sdb", 7]]),
        "Conditions": Variant("a(sbbsi)", [["ConditionPathExists", False, True, "/x", 1]]),
        "AddRef": None,
    }
    async with served(tmp_path, manager) as ours:
        unit = Unit(ours, ASKED)
        await unit.start(PID)
        found = {each.name: each for each in await unit.differences()}
        assert found.keys() == {"TimeoutStopUSec", "CollectMode", "IODeviceWeight"}
        times = found["TimeoutStopUSec"]
        assert (times.asked, times.got) == (gvariant.Variant("t", 0), gvariant.Variant("t", 2**64 - 1))
        assert str(times) == (
            f"{NAMED}: TimeoutStopUSec was to be uint64 0, and the service manager has uint64 {2**64 - 1}"
        )
        assert found["CollectMode"].got is None
        assert str(found["CollectMode"]).endswith("tells of no such property")
        assert "('/dev/sda', uint64 8)" in str(found["IODeviceWeight"])
        assert manager.count("GetAll") == 1

        await unit.stop()
        manager.altered = {}
        unit = Unit(ours, PLAN)
        await unit.start(PID)
        assert await unit.differences() == ()
        unit = Unit(ours, SLICE)
        await unit.start(PID)
        assert await unit.differences() == ()
        assert manager.count("GetAll") == 2, "asked although nothing was to be compared"
        await unit.stop()


async def test_another_type_is_another_value(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.altered = {"TimeoutStopUSec": Variant("s", "5")}
    async with served(tmp_path, manager) as ours:
        unit = Unit(ours, PLAN)
        await unit.start(PID)
        (difference,) = await unit.differences()
        assert difference.got == gvariant.Variant("s", "5")
        manager.faults["GetAll"] = ["refuse:org.freedesktop.DBus.Error.AccessDenied"]
        with pytest.raises(SystemdError):
            await unit.differences()


@pytest.mark.may_block("hundreds of messages come at once, and both sides are here")
async def test_many_units_share_one_connection(tmp_path: Path) -> None:
    manager = FakeManager()
    async with PeerServer(manager, tmp_path / "socket", bus=True) as server:
        ours = Manager([Address(str(tmp_path / "socket"))])
        plans = [UnitPlan(f"aioc-test-{i}.scope", "system.slice", False) for i in range(200)]
        units = [Unit(ours, plan) for plan in plans]
        await asyncio.gather(*(unit.start(PID + i) for i, unit in enumerate(units)))
        assert len(manager.units) == 200
        await asyncio.gather(*(unit.stop() for unit in units))
        assert not manager.units
        assert server.connections == 1
        assert manager.count("Subscribe") == 1
        await ours.close()


# Connecting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("greeting", "name"),
    [("reject", "AuthFailed"), ("garbage", "AuthFailed"), ("hang", "NoReply")],
)
async def test_not_let_in(tmp_path: Path, greeting: str, name: str) -> None:
    manager = FakeManager()
    async with served(tmp_path, manager, greeting=greeting, call_s=0.2) as ours:
        with pytest.raises(SystemdError) as caught:
            await Unit(ours, PLAN).start(PID)
        assert caught.value.name == f"org.freedesktop.DBus.Error.{name}"
    assert not manager.calls


async def test_an_old_direct_peer_answers_otherwise(tmp_path: Path) -> None:
    async with served(tmp_path, FakeManager(), greeting="old") as ours:
        assert await ours.version() == 257


@pytest.mark.parametrize(("version", "number"), [("v252.33", 252), ("257", 257), ("git-deadbeef", -1)])
async def test_version(tmp_path: Path, version: str, number: int) -> None:
    manager = FakeManager()
    manager.version = version
    async with served(tmp_path, manager) as ours:
        assert await ours.version() == number


async def test_nobody_there(tmp_path: Path) -> None:
    ours = Manager([Address(str(tmp_path / "none")), Address(str(tmp_path / "neither"))])
    with pytest.raises(SystemdError) as caught:
        await ours.version()
    assert caught.value.name == "org.freedesktop.DBus.Error.NoServer"
    assert caught.value.errno == 2
    (tmp_path / "refused").touch()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    with pytest.raises(SystemdError, match="Connection refused"):
        await Manager([Address(str(tmp_path / "dead"))]).version()


async def test_the_second_address_serves_where_the_first_does_not(tmp_path: Path) -> None:
    async with PeerServer(FakeManager(), tmp_path / "private"):
        addresses = [Address(str(tmp_path / "none")), Address(str(tmp_path / "private"), direct=True)]
        ours = Manager(addresses)
        assert await ours.version() == 257
        await ours.close()


async def test_a_full_backlog_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_FIRST_PAUSE_S", 0.01)
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(path)
        listener.listen(0)
        while True:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.setblocking(False)
            try:
                sock.connect(path)
            except BlockingIOError:
                break
        with pytest.raises(SystemdError) as caught:
            await Manager([Address(path)]).version()
        assert isinstance(caught.value.__cause__, BlockingIOError)


async def test_a_peer_of_another_user_is_refused(tmp_path: Path) -> None:
    manager = FakeManager()
    async with PeerServer(manager, tmp_path / "socket"):
        with pytest.raises(SystemdError, match=f"is served by user {os.geteuid()}"):
            await Manager([Address(str(tmp_path / "socket"), uid=os.geteuid() + 1, direct=True)]).version()
    assert not manager.calls


async def test_a_socket_that_others_could_have_made_is_refused(tmp_path: Path) -> None:
    manager = FakeManager()
    address = Address(str(tmp_path / "socket"), uid=os.geteuid(), direct=True, guarded=True)
    async with PeerServer(manager, tmp_path / "socket"):
        ours = Manager([address])
        assert await ours.version() == 257
        await ours.close()
        tmp_path.chmod(0o777)
        with pytest.raises(SystemdError, match="alone"):
            await Manager([address]).version()


def test_addresses() -> None:
    assert [each.path for each in system_addresses(privileged=True)] == [
        "/run/dbus/system_bus_socket",
        "/run/systemd/private",
    ]
    assert len(system_addresses(privileged=False)) == 1

    def paths(**environment: str) -> list[str]:
        return [each.path for each in user_addresses(environment, 1000)]

    assert paths() == ["/run/user/1000/bus"]
    assert paths(XDG_RUNTIME_DIR="/x") == ["/x/bus"]
    assert paths(XDG_RUNTIME_DIR="x") == []
    assert paths(DBUS_SESSION_BUS_ADDRESS="unix:path=/a%20b,guid=1;tcp:host=x;unix:abstract=/c") == ["/a b"]
    assert all(each.guarded and each.uid == 1000 for each in user_addresses({}, 1000))


# Starting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", ["failed", "canceled", "timeout", "dependency", "skipped"])
async def test_a_job_that_ends_badly(tmp_path: Path, result: str) -> None:
    manager = FakeManager()
    manager.faults["StartTransientUnit"] = [f"job:{result}"]
    async with served(tmp_path, manager) as ours:
        unit = Unit(ours, PLAN)
        with pytest.raises(SystemdError) as caught:
            await unit.start(PID)
        assert (caught.value.unit, caught.value.result) == (NAME, result)
        assert not unit.is_ours
    assert not manager.units


async def test_a_job_that_never_ends_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.faults["StartTransientUnit"] = ["silent"]
    async with served(tmp_path, manager, call_s=0.3) as ours:
        with pytest.raises(SystemdError) as caught:
            await Unit(ours, PLAN).start(PID)
        assert caught.value.result == "timeout"
    assert not manager.units


@pytest.mark.parametrize("kind", KINDS)
async def test_the_end_of_the_job_may_come_before_the_answer(tmp_path: Path, kind: str) -> None:
    manager = FakeManager()
    manager.faults["StartTransientUnit"] = ["early"]
    manager.faults["StopUnit"] = ["early"]
    async with served(tmp_path, manager, kind=kind) as ours:
        unit = Unit(ours, PLAN)
        await unit.start(PID)
        await unit.stop()
    assert not manager.units


async def test_ends_of_other_jobs_are_not_ours(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.job_s = 0.1
    async with served(tmp_path, manager) as ours:
        unit = Unit(ours, PLAN)
        going = asyncio.ensure_future(unit.start(PID))
        await made(manager)
        manager.emit("JobRemoved", "uoss", [9, "/org/freedesktop/systemd1/job/9", NAME, "failed"])
        manager.emit("JobRemoved", "uoss", [1, "/org/freedesktop/systemd1/job/1", "other.scope", "failed"])
        manager.emit("JobRemoved", "s", ["nonsense"])
        await going
        assert manager.units[NAME].active == "active"


async def test_a_lost_signal_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocontainer.cgroups.manager._LOOK_S", 0.05)
    manager = FakeManager()
    manager.faults["StartTransientUnit"] = ["silent"]
    async with served(tmp_path, manager) as ours:
        going = asyncio.ensure_future(Unit(ours, PLAN).start(PID))
        await made(manager)
        manager.units[NAME].job, manager.units[NAME].active = 0, "active"
        await going


@pytest.mark.parametrize("kind", ["peer", "bus"])
@pytest.mark.parametrize("fault", ["drop", "late", "leave"])
async def test_a_lost_connection_loses_no_unit(tmp_path: Path, kind: str, fault: str) -> None:
    manager = FakeManager()
    manager.faults = {"StartTransientUnit": [fault], "SetUnitProperties": [fault], "StopUnit": [fault]}
    async with served(tmp_path, manager, kind=kind) as ours:
        unit = Unit(ours, PLAN)
        await unit.start(PID)
        assert manager.units[NAME].active == "active"
        assert manager.units[NAME].properties["MemoryMax"] == 1 << 20
        await unit.stop()
    assert not manager.units


async def test_a_manager_that_executes_itself_anew(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.job_s = 0.15
    async with BusServer(manager, tmp_path / "socket") as bus:
        ours = Manager([Address(str(tmp_path / "socket"))], call_s=3, job_s=3)
        unit = Unit(ours, PLAN)
        going = asyncio.ensure_future(unit.start(PID))
        await made(manager)
        manager.reexecute()
        await asyncio.sleep(0.2)  # the job ends while nobody can be told
        await bus.join()
        await going
        manager.reexecute()
        stopping = asyncio.ensure_future(unit.stop())
        await asyncio.sleep(0.1)
        await bus.join()
        await stopping
        await ours.close()
    assert not manager.units


async def test_no_answer(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.faults = {"StartTransientUnit": ["hang"], "GetUnit": ["hang"]}
    async with served(tmp_path, manager, call_s=0.2) as ours:
        with pytest.raises(SystemdError) as caught:
            await Unit(ours, PLAN).start(PID)
        assert caught.value.name == "org.freedesktop.DBus.Error.NoReply"
        assert caught.value.unit == NAME


async def test_refused(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.faults = {"StartTransientUnit": ["refuse:org.freedesktop.DBus.Error.AccessDenied"]}
    async with served(tmp_path, manager) as ours:
        with pytest.raises(SystemdError, match="polkit"):
            await Unit(ours, PLAN).start(PID)
    assert manager.count("StopUnit") == 0


# Units that are there already -----------------------------------------------------------------------


async def test_a_unit_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.units[NAME] = FakeUnit({}, "active", pids=[1])
    async with served(tmp_path, manager) as ours:
        unit = Unit(ours, PLAN)
        with pytest.raises(UnitExistsError) as caught:
            await unit.start(PID)
        assert (caught.value.unit, caught.value.state) == (NAME, "active")
        await unit.stop()
    assert manager.units[NAME].active == "active"
    assert not manager.units[NAME].properties
    assert manager.count("StopUnit") == 0


async def test_a_unit_of_somebody_else_is_left_alone_when_the_answer_is_lost(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.units[NAME] = FakeUnit({}, "active", pids=[1])
    manager.faults["StartTransientUnit"] = ["late"]
    async with served(tmp_path, manager) as ours:
        with pytest.raises(UnitExistsError):
            await Unit(ours, PLAN).start(PID)
    assert manager.count("StopUnit") == 0


async def test_a_unit_that_failed_gives_its_name_back(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.units[NAME] = FakeUnit({}, "failed")
    async with served(tmp_path, manager) as ours:
        await Unit(ours, PLAN).start(PID)
    assert manager.units[NAME].properties["PIDs"] == [PID]
    assert manager.count("ResetFailedUnit") == 1


async def test_a_slice_that_is_there_will_do(tmp_path: Path) -> None:
    manager = FakeManager()
    async with served(tmp_path, manager) as ours:
        first, second = Unit(ours, SLICE), Unit(ours, SLICE)
        await first.start(PID)
        assert "PIDs" not in manager.units[SLICE.name].properties
        await second.start(PID)
        await second.stop()
        assert manager.units[SLICE.name].active == "active"
        await first.stop()
    assert not manager.units


# Older managers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tells", [True, False])
async def test_what_an_old_systemd_does_not_know_is_done_without(
    tmp_path: Path, tells: bool, caplog: pytest.LogCaptureFixture
) -> None:
    manager = FakeManager()
    manager.unknown, manager.tells = {"AllowedCPUs"}, tells
    with caplog.at_level(logging.WARNING):
        async with served(tmp_path, manager) as ours:
            await Unit(ours, PLAN).start(PID)
            properties = manager.units[NAME].properties
            assert properties["MemoryMax"] == 1 << 20
            assert "IODeviceWeight" in properties
            assert "AllowedCPUs" not in properties
            before = manager.count("SetUnitProperties")
            await Unit(ours, UnitPlan("aioc-test-2.scope", "", False, resources=PLAN.resources)).start(PID)
            assert manager.count("SetUnitProperties") == before + 1  # remembered
    assert sum("AllowedCPUs" in record.message for record in caplog.records) == 1


async def test_an_unknown_property_at_the_start(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.unknown = {"IOAccounting"}
    async with served(tmp_path, manager) as ours:
        await Unit(ours, PLAN).start(PID)
        assert "Delegate" in manager.units[NAME].properties


async def test_a_property_that_was_asked_for_is_not_left_out(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.unknown = {"TimeoutStopUSec"}
    async with served(tmp_path, manager) as ours:
        with pytest.raises(UnsupportedError) as caught:
            await Unit(ours, PLAN).start(PID)
        assert caught.value.origin == "$.annotations['org.systemd.property.TimeoutStopUSec']"
    assert not manager.units


async def test_a_value_that_systemd_refuses(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.refused = {"Delegate": "Invalid value for Delegate="}
    async with served(tmp_path, manager) as ours:
        with pytest.raises(SystemdError, match="Invalid value") as caught:
            await Unit(ours, PLAN).start(PID)
        assert (caught.value.property, caught.value.unit) == ("Delegate", NAME)
    assert not manager.units


async def test_a_value_that_does_not_fit_its_type(tmp_path: Path) -> None:
    manager = FakeManager()
    async with served(tmp_path, manager) as ours:
        unit = Unit(ours, UnitPlan(NAME, "", False, (UnitProperty("CPUWeight", "t", "many"),)))
        with pytest.raises(SystemdError) as caught:
            await unit.start(PID)
        assert caught.value.property == "CPUWeight"
    assert not manager.units


# Stopping -------------------------------------------------------------------------------------------


async def test_a_stop_that_does_not_end(tmp_path: Path) -> None:
    manager = FakeManager()
    manager.faults["StopUnit"] = ["silent"]
    async with served(tmp_path, manager, call_s=0.3) as ours:
        unit = Unit(ours, PLAN)
        await unit.start(PID)
        with pytest.raises(SystemdError) as caught:
            await unit.stop()
        assert (caught.value.operation, caught.value.result) == ("stop", "timeout")


async def test_a_stop_that_was_replaced_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = FakeManager()
    manager.faults["StopUnit"] = ["job:canceled"]
    async with served(tmp_path, manager) as ours:
        unit = Unit(ours, PLAN)
        await unit.start(PID)
        await unit.stop()
    assert "canceled" in caplog.text


# Cancellation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", range(12))
async def test_cancelled_at_any_moment_nothing_is_left(tmp_path: Path, after: int) -> None:
    manager = FakeManager()
    manager.job_s = 0.01
    async with served(tmp_path, manager, kind="bus") as ours:
        assert await ours.version() == 257
        unit = Unit(ours, PLAN)
        going = asyncio.ensure_future(unit.start(PID))
        for _ in range(after):
            await asyncio.sleep(0.002)
        going.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await going
            await unit.stop()
        await manager.settle()
        assert not manager.units
        assert await ours.version() == 257  # it is still of use
