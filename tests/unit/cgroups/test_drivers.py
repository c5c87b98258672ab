"""The drivers that need no kernel: none, the fake, and which one is chosen."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from aiocontainer.cgroups import CgroupBusyError, open_cgroup
from aiocontainer.cgroups.fake import FakeCgroup
from aiocontainer.errors import CgroupError, ExistsError, UnsupportedError
from aiocontainer.plan.devices import DeviceRule
from aiocontainer.plan.host import CgroupMode
from aiocontainer.plan.plan import CgroupWrite

if TYPE_CHECKING:
    from aiocontainer.cgroups import Cgroup

RULES = (DeviceRule(allow=False),)
LIMIT = CgroupWrite("$.linux.resources.pids.limit", "pids", "pids.max", "7")


@pytest.mark.parametrize(("mode", "paths"), [(CgroupMode.NONE, {"": "/x"}), (CgroupMode.V2, {})])
def test_no_cgroup(mode: CgroupMode, paths: dict[str, str]) -> None:
    """S158: nothing asked for is nothing done, anything asked for is refused."""
    cgroup = open_cgroup(mode, paths)
    assert cgroup.mode is CgroupMode.NONE
    for call in (cgroup.survey, cgroup.create, cgroup.kill, cgroup.thaw, cgroup.remove, cgroup.close):
        call()
    cgroup.set_devices(())
    assert (cgroup.exists(), cgroup.is_frozen(), cgroup.tasks_fds()) == (False, False, [])
    assert (cgroup.paths, cgroup.made) == ({}, {})
    cgroup.set_limits([CgroupWrite("$", "pids", "pids.max", "max", optional=True)])
    assert cgroup.oom_kills() == 0
    for refused in (
        lambda: cgroup.set_limits([LIMIT]),
        lambda: cgroup.delegate(1),
        lambda: cgroup.set_devices(RULES),
        cgroup.dirfd,
        lambda: cgroup.open_tasks("pids"),
        cgroup.pids,
        cgroup.stats,
        cgroup.freeze,
    ):
        with pytest.raises(UnsupportedError, match="needs a cgroup"):
            refused()


def test_the_fake_behaves() -> None:
    world: dict[str, FakeCgroup] = {}
    fake = FakeCgroup(world=world)
    cgroup: Cgroup = fake
    assert not cgroup.exists()
    with pytest.raises(CgroupError):
        cgroup.freeze()
    cgroup.create()
    assert cgroup.exists()
    assert (cgroup.paths, cgroup.made) == ({"": fake.path}, {"": 1})
    cgroup.set_devices(RULES)
    assert fake.devices == RULES
    cgroup.set_limits([LIMIT])
    fake.refused.add("memory.max")
    with pytest.raises(CgroupError):
        cgroup.set_limits([replace(LIMIT, value="8"), replace(LIMIT, file="memory.max")])
    assert fake.files == {"pids.max": "7"}
    cgroup.delegate(5)
    fake.killed = 2
    assert (fake.owner, cgroup.oom_kills()) == (5, 2)
    for fd in cgroup.tasks_fds():
        os.close(fd)
    assert cgroup.dirfd() == -1
    fake.members += [7, 8]
    with pytest.raises(ExistsError):
        FakeCgroup(world=world).create()
    assert cgroup.pids() == [7, 8]
    cgroup.kill(signal.SIGTERM)
    cgroup.freeze()
    assert cgroup.is_frozen()
    fake.stubborn = True
    with pytest.raises(CgroupBusyError, match="processes: 7, 8"):
        cgroup.remove()
    assert not cgroup.is_frozen()
    fake.stubborn = False
    cgroup.remove()
    assert fake.signals == [signal.SIGTERM, signal.SIGKILL, signal.SIGKILL]
    assert world == {}
    cgroup.close()


def test_a_fake_that_was_there_before() -> None:
    first = FakeCgroup()
    first.create()
    second = FakeCgroup(world=first.world)
    second.create()
    assert second.made == {"": 0}
    second.remove()
    assert second.exists()
    first.frozen = second.frozen = True
    with pytest.raises(ExistsError):
        FakeCgroup(world=first.world).create()
    second.thaw()
    assert not second.is_frozen()
