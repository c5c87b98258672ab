"""info: the machine, for people and for programs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from aiocontainer.cli import execute
from aiocontainer.container.machine import describe
from aiocontainer.plan.host import CgroupMode, Host, Resctrl

if TYPE_CHECKING:
    import pytest

HOST = Host(
    euid=1000,
    egid=1000,
    kernel=(6, 1),
    capabilities=1 << 21,
    namespaces=frozenset({"pid", "mount"}),
    missing_calls=("openat2",),
    cgroup_mode=CgroupMode.V2,
    cgroup_hierarchies={"": "/sys/fs/cgroup"},
    cgroup_controllers=frozenset({"pids", "cpu"}),
    systemd=-1,
    resctrl=Resctrl(root="/sys/fs/resctrl", resources=frozenset({"MB", "L3"})),
    subuid=((100000, 65536), (300000, 1)),
)


def test_what_is_told_of_a_machine() -> None:
    found = describe(HOST)
    assert found["capabilities"] == ["CAP_SYS_ADMIN"]
    assert found["namespaces"] == ["mount", "pid"]
    assert found["missing_system_calls"] == ["openat2"]
    assert (found["cgroups"], found["cgroup_mounts"]) == ("v2", {"unified": "/sys/fs/cgroup"})
    assert found["cgroup_controllers"] == ["cpu", "pids"]
    assert (found["systemd"], found["resctrl"]) == ("unknown", ["L3", "MB"])
    assert (found["subordinate_uids"], found["subordinate_gids"]) == (65537, 0)


def test_controllers_of_v1() -> None:
    mounts = {"": "/u", "cpu,cpuacct": "/c", "name=systemd": "/s"}
    found = describe(replace(HOST, cgroup_hierarchies=mounts, cgroup_controllers=frozenset({"hugetlb"})))
    assert found["cgroup_controllers"] == ["cpu", "cpuacct", "hugetlb"]


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["info", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kernel"] == os.uname().release
    assert document["user"] == os.geteuid()
    assert execute(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("aiocontainer version ")
    assert [line.partition(":")[0] for line in lines[2:]] == list(document)
