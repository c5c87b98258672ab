"""Reading the files of a cgroup: of the right hierarchy, of those above, and never outside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from aiocontainer.cgroups import CgroupFiles
from aiocontainer.errors import CgroupError
from aiocontainer.plan.host import CgroupMode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("compiled")


class Mounts:
    """Hierarchies that are directories."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._fds: dict[str, int] = {}

    def point(self, key: str) -> str:
        return str(self._root / (key or "unified"))

    def fd(self, key: str) -> int:
        if key not in self._fds:
            self._fds[key] = os.open(self.point(key), os.O_RDONLY | os.O_DIRECTORY)
        return self._fds[key]

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.popitem()[1])


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    for key in ("unified", "memory", "cpu,cpuacct"):
        (tmp_path / key / "a/b").mkdir(parents=True)
        (tmp_path / key / "a/b/file").write_text(f"{key} b")
        (tmp_path / key / "a/file").write_text(f"{key} a")
    mounts = Mounts(tmp_path)
    yield mounts
    mounts.close()


def files(mounts: Mounts, mode: CgroupMode, *keys: str) -> CgroupFiles:
    return CgroupFiles(mounts, mode, {key: f"{mounts.point(key)}/a/b" for key in keys})  # type: ignore[arg-type]


def test_v1_looks_where_the_controller_is(mounts: Mounts) -> None:
    found = files(mounts, CgroupMode.V1, "memory", "cpu,cpuacct", "")
    assert found.read("memory", "file") == b"memory b"
    assert found.read("cpuacct", "file") == b"cpu,cpuacct b"
    assert found.read("", "file") == b"unified b"
    assert found.read("pids", "file") is None
    assert found.path("pids") is None


def test_v2_has_everything_in_one_place(mounts: Mounts) -> None:
    found = files(mounts, CgroupMode.V2, "")
    assert found.read("memory", "file") == b"unified b"
    assert found.path("memory") == "/a/b"


def test_those_above(mounts: Mounts) -> None:
    found = files(mounts, CgroupMode.V2, "")
    assert found.levels_above("memory") == 1
    assert found.read("memory", "file", up=1) == b"unified a"


def test_those_below(mounts: Mounts, tmp_path: Path) -> None:
    found = files(mounts, CgroupMode.V2, "")
    assert found.read_below("memory", "file") == []
    for name in ("x", "x/y", "z"):
        (tmp_path / "unified/a/b" / name).mkdir()
    (tmp_path / "unified/a/b/x/y/file").write_text("y")
    (tmp_path / "unified/a/b/z/file").write_text("z")
    assert sorted(found.read_below("memory", "file")) == [b"y", b"z"]


def test_what_is_gone_is_none(mounts: Mounts) -> None:
    found = files(mounts, CgroupMode.V2, "")
    assert not found.has("memory", "memory.events")
    assert found.has("memory", "file")
    nowhere = CgroupFiles(mounts, CgroupMode.V2, {"": f"{mounts.point('')}/gone"})  # type: ignore[arg-type]
    assert nowhere.read("memory", "file") is None
    assert nowhere.read_below("memory", "file") == []


def test_links_are_not_followed(mounts: Mounts, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "unified/a/b/link").symlink_to(tmp_path / "secret")
    with pytest.raises(CgroupError):
        files(mounts, CgroupMode.V2, "").read("memory", "link")
