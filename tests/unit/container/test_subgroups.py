"""Which cgroup a further process enters, without a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiocontainer.cgroups import Mounts
from aiocontainer.cgroups.fake import FakeCgroup
from aiocontainer.cli.arguments import UsageError
from aiocontainer.cli.exec import _cgroups
from aiocontainer.container import subgroups
from aiocontainer.container.subgroups import entered, home_of, home_paths
from aiocontainer.errors import SpecError
from aiocontainer.plan.host import CgroupMode

if TYPE_CHECKING:
    from collections.abc import Mapping


class Opened(FakeCgroup):
    """Knows where it was opened."""

    def __init__(self, mode: CgroupMode, paths: Mapping[str, str]) -> None:
        super().__init__()
        self.mode = mode
        self.opened: Mapping[str, str] = paths

    @property
    def paths(self) -> Mapping[str, str]:
        return self.opened

    def exists(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subgroups, "open_cgroup", Opened)
    monkeypatch.setattr(subgroups, "_passes_on", lambda cgroup: True)
    monkeypatch.setattr(subgroups, "where_is", lambda pid, paths: {"": f"/c/{pid}" if pid < 9 else "/other"})


V1 = Opened(CgroupMode.V1, {"cpu,cpuacct": "/a/c", "memory": "/b/c", "name=systemd": "/s/c"})
V2 = Opened(CgroupMode.V2, {"": "/c"})


@pytest.mark.parametrize(
    ("cgroup", "asked", "paths"),
    [
        (V1, {}, V1.opened),
        (V1, {"": "x"}, {"cpu,cpuacct": "/a/c/x", "memory": "/b/c/x", "name=systemd": "/s/c/x"}),
        (V1, {"memory": "/x/./y/"}, {**V1.opened, "memory": "/b/c/x/y"}),
        (
            V1,
            {"cpuacct": "x", "systemd": "y"},
            {**V1.opened, "cpu,cpuacct": "/a/c/x", "name=systemd": "/s/c/y"},
        ),
        (V2, {"": "x"}, {"": "/c/x"}),
        (V2, {"": "."}, V2.opened),
    ],
)
def test_asked_for(cgroup: Opened, asked: dict[str, str], paths: dict[str, str]) -> None:
    with entered(cgroup, asked, 5) as where:
        assert dict(where.paths) == paths


@pytest.mark.parametrize(
    ("cgroup", "asked", "origin"),
    [
        (V1, {"": "../x"}, "cgroup_paths['']"),
        (V1, {"memory": "a/../../x"}, "cgroup_paths['memory']"),
        (V1, {"pids": "x"}, "cgroup_paths['pids']"),
        (V2, {"memory": "x"}, "cgroup_paths['memory']"),
        (Opened(CgroupMode.NONE, {}), {"": "x"}, "cgroup_paths"),
    ],
)
def test_refused(cgroup: Opened, asked: dict[str, str], origin: str) -> None:
    with pytest.raises(SpecError) as caught, entered(cgroup, asked, 5):
        raise AssertionError
    assert caught.value.origin == origin


def test_where_init_is_now_if_that_is_below() -> None:
    with entered(V2, {}, 5) as where:
        assert dict(where.paths) == {"": "/c/5"}
    with entered(V2, {}, 99) as where:
        assert where is V2


def test_where_its_processes_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subgroups, "open_cgroup", lambda mode, paths, mounts: Opened(mode, paths))
    with Mounts() as mounts:
        assert home_of(V2, "", mounts) is V2
        home = home_of(V2, "inner", mounts)
    assert dict(home.paths) == home_paths(V2.paths, "inner") == {"": "/c/inner"}
    assert home_paths(V1.paths, "") == dict(V1.paths)


def test_words_of_the_command_line() -> None:
    assert _cgroups([]) == {}
    assert _cgroups(["x"]) == {"": "x"}
    assert _cgroups(["memory,pids:/x", "cpu:y"]) == {"memory": "/x", "pids": "/x", "cpu": "y"}
    with pytest.raises(UsageError):
        _cgroups([":x"])
