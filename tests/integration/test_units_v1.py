"""Units on cgroup v1: hierarchies that the manager leaves alone are ours; features.md D7, D22.

The manager is one of the mind, for no machine with v1 has systemd under our tests; but the cgroups that
it makes, in its own hierarchies, are real.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from support.manager import FakeManager, PeerServer
from support.specs import shell, with_linux

from aiocontainer import Runtime, UnitExistsError, runtime
from aiocontainer.cgroups import MANAGED, read_hierarchies
from aiocontainer.cgroups.connection import Address
from aiocontainer.cgroups.manager import Manager
from aiocontainer.container.units import Managers
from aiocontainer.spec import decode_resources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dbus_fast import Message
    from support.leaks import Leaks
    from support.manager import Ends

pytestmark = [
    pytest.mark.needs("root", "cgroup1", "busybox"),
    pytest.mark.may_block("the manager is in here"),
]

UNIT = "aioc-test-v1.scope"
PATH = f"aioc.slice/aioc-test.slice/{UNIT}"


class Cgroups(FakeManager):
    """Makes the cgroups of its units in the hierarchies that are systemd's, and removes them."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[str] = []
        self.bases = [
            f"{h.point}{h.own.rstrip('/')}" for key, h in read_hierarchies().items() if key in MANAGED
        ]

    def end_job(self, kind: str, name: str, result: str) -> None:
        for base in self.bases:
            (self._make if kind == "start" else self._remove)(base, self.units[name].pids)
        super().end_job(kind, name, result)

    def _answer(self, message: Message, fault: str | None, ends: Ends) -> tuple[str, list[Any]]:
        if message.member == "KillUnit":
            for pid in self._unit(message.body[0]).pids:
                os.kill(pid, signal.SIGKILL)
        if message.member == "SetUnitProperties" and os.path.isdir(f"/sys/fs/cgroup/freezer/{PATH}"):
            self._look({name for name, _ in message.body[2]})
        return super()._answer(message, fault, ends)

    def _look(self, names: set[str]) -> None:
        """Note whether the unit stands still while its devices are told of."""
        if "DevicePolicy" in names:
            path = f"/sys/fs/cgroup/freezer/{PATH}/freezer.state"
            with open(path) as file:
                self.states.append(file.read().strip())

    def _make(self, base: str, pids: list[int]) -> None:
        os.makedirs(f"{base}/{PATH}")
        for pid in pids:
            with open(f"{base}/{PATH}/cgroup.procs", "w") as file:
                file.write(str(pid))

    def _remove(self, base: str, _: list[int]) -> None:
        path = f"{base}/{PATH}"
        while path != base:
            remove_soon(path)
            path = os.path.dirname(path)


def remove_soon(path: str) -> None:
    """Remove a cgroup whose processes were killed, and are about to be gone."""
    for _ in range(200):
        try:
            return os.rmdir(path)
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(0.005)
    return os.rmdir(path)


@pytest.fixture
async def manager(tmp_path: Path, snap: Leaks) -> AsyncIterator[Cgroups]:
    manager = Cgroups()
    async with PeerServer(manager, tmp_path / "private"):
        yield manager


@pytest.fixture
async def units(manager: Cgroups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runtime]:
    ours = Manager([Address(str(tmp_path / "private"), direct=True)], call_s=5, job_s=5)
    monkeypatch.setattr(runtime, "has_systemd", lambda: True)
    monkeypatch.setattr(Managers, "of", lambda self, user: ours)
    async with Runtime(root=str(tmp_path / "state"), cgroups="systemd") as made:
        environment: Any = made._ready()
        host = environment.host
        environment._host = replace(host, systemd=252, init_cgroup=host.cgroup_own, user_manager=False)
        yield made
    await ours.close()


def spec(rootfs: str) -> Any:
    limits = decode_resources(b'{"memory": {"limit": 67108864}, "pids": {"limit": 33}}')
    named = "aioc-test.slice:aioc:test-v1"
    return with_linux(shell("sleep 1000", rootfs), cgroups_path=named, resources=limits)


def own(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/cgroup") as file:
        return {line.split(":", 2)[1]: line.rstrip().split(":", 2)[2] for line in file}


async def test_all_hierarchies(units: Runtime, manager: Cgroups, rootfs: str) -> None:
    container = await units.create("aioc-test-v1", spec(rootfs))
    paths = (await container.state()).cgroup_paths
    assert set(paths) == set(read_hierarchies())
    assert all(path.endswith(f"/{PATH}") for path in paths.values())
    assert all(own(container.pid)[key].endswith(f"/{PATH}") for key in paths)
    with open(f"{paths['memory']}/memory.limit_in_bytes") as file:
        assert int(file.read()) == 64 << 20
    with open(f"{paths['pids']}/pids.max") as file:
        assert int(file.read()) == 33
    assert manager.units[UNIT].properties["MemoryLimit"] == 64 << 20
    await container.start()
    process = await container.exec(["sleep", "1000"])
    assert {key: own(process.pid)[key] for key in paths} == {key: own(container.pid)[key] for key in paths}
    await container.pause()
    await container.resume()
    await container.kill(signal.SIGKILL)
    await container.wait()
    await container.delete(force=True)
    assert not manager.units
    assert not any(os.path.exists(path) for path in paths.values())


async def test_devices_change_while_it_stands_still(units: Runtime, manager: Cgroups, rootfs: str) -> None:
    """features.md D59."""
    container = await units.create("aioc-test-v1", spec(rootfs))
    manager.states.clear()
    await container.start()
    rule = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    await container.update({"devices": [{"allow": False, "access": "rwm"}, rule]})
    assert manager.states == ["FROZEN"]
    assert (await container.status()).value == "running"
    with open(f"{(await container.state()).cgroup_paths['devices']}/devices.list") as file:
        assert "c 1:11 r" in file.read()
    await container.update({"pids": {"limit": 20}})
    assert manager.states == ["FROZEN"]
    await container.pause()
    await container.update({"devices": [{"allow": False, "access": "rwm"}]})
    assert manager.states == ["FROZEN"] * 2
    assert (await container.status()).value == "paused"
    await container.delete(force=True)


async def test_a_failed_start_leaves_nothing(units: Runtime, manager: Cgroups, rootfs: str) -> None:
    manager.faults["SetUnitProperties"] = ["refuse:org.freedesktop.DBus.Error.InvalidArgs"]
    with pytest.raises(OSError, match="refused by the test"):
        await units.create("aioc-test-v1", spec(rootfs))
    assert not manager.units


async def test_somebody_elses_unit(units: Runtime, manager: Cgroups, rootfs: str) -> None:
    container = await units.create("aioc-test-v1", spec(rootfs))
    with pytest.raises(UnitExistsError):
        await units.create("aioc-test-other", spec(rootfs))
    assert container.pid
    assert manager.units[UNIT].active == "active"
    await container.delete(force=True)
