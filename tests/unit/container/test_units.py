"""Which unit is whose."""

from __future__ import annotations

import os
import signal

import pytest

from aiocontainer.cgroups.fake import FakeCgroup
from aiocontainer.cgroups.manager import Manager
from aiocontainer.cgroups.systemd import Unit
from aiocontainer.container.fds import cgroup_record
from aiocontainer.container.units import Managers, end_unit, unit_record
from aiocontainer.plan.unit import UnitPlan
from aiocontainer.store import CgroupRecord, UnitRecord, boot_id

PLAN = UnitPlan("aioc-test.scope", "system.slice", user=False)


class FakeUnit(Unit):
    """Notes that it was stopped."""

    def __init__(self) -> None:
        super().__init__(Manager([]), PLAN, started=True)
        self.stopped = 0

    async def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
def cgroup() -> FakeCgroup:
    cgroup = FakeCgroup()
    cgroup.adopt(4)
    return cgroup


async def test_what_is_in_it_is_killed_and_it_is_stopped(cgroup: FakeCgroup) -> None:
    unit = FakeUnit()
    await end_unit(unit, cgroup, cgroup.inode())
    assert (cgroup.signals, unit.stopped) == ([signal.SIGKILL], 1)


async def test_what_is_gone_is_stopped_all_the_same(cgroup: FakeCgroup) -> None:
    unit, inode = FakeUnit(), cgroup.inode()
    cgroup.remove()
    await end_unit(unit, cgroup, inode)
    assert unit.stopped == 1


async def test_what_has_become_somebody_elses_is_left_alone(cgroup: FakeCgroup) -> None:
    unit = FakeUnit()
    await end_unit(unit, cgroup, cgroup.inode() + 1)
    cgroup.remove()
    assert (cgroup.signals, unit.stopped) == ([], 0)


def test_what_is_remembered(cgroup: FakeCgroup) -> None:
    unit = FakeUnit()
    record = cgroup_record(cgroup, unit_record(unit, cgroup))
    assert record.made == {"": 1}
    assert record.unit == UnitRecord(name=PLAN.name, uid=os.geteuid(), inode=cgroup.inode())
    unit.is_ours = False
    assert unit_record(unit, cgroup) is None
    assert unit_record(None, cgroup) is None


@pytest.mark.parametrize(
    ("unit", "boot", "is_found"),
    [
        (UnitRecord(name="x.scope"), boot_id(), True),
        (UnitRecord(name="x.scope"), "an earlier one", False),
        (UnitRecord(name="x.scope", user=True, uid=os.geteuid()), boot_id(), True),
        (UnitRecord(name="x.scope", user=True, uid=os.geteuid() + 1), boot_id(), False),
        (None, boot_id(), False),
    ],
)
async def test_finding_it_again(unit: UnitRecord | None, boot: str, is_found: bool) -> None:
    found = Managers().recorded(CgroupRecord(unit=unit), boot)
    assert (found is not None) == is_found
    if found is not None:
        assert unit is not None
        assert (found.name, found.user, found.is_ours) == ("x.scope", unit.user, True)


async def test_one_manager_for_each_user_and_kind() -> None:
    managers = Managers()
    assert managers.of(user=False) is managers.of(user=False)
    assert managers.of(user=False) is not managers.of(user=True)
    await managers.close()
