"""Directories on an ordinary file system, without privilege: what does not need a real cgroup."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from stand import Stand

from aiocontainer.cgroups import directory as module
from aiocontainer.cgroups.directory import Directory, below
from aiocontainer.errors import CgroupError, ExistsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Stand]:
    before = len(os.listdir("/proc/self/fd"))
    with Stand(str(tmp_path)) as stand:
        yield stand
    assert len(os.listdir("/proc/self/fd")) == before


def directory(mounts: Stand, path: str, made: int = 1) -> Directory:
    return Directory(mounts, "", f"{mounts.point('')}/{path}", made)


@pytest.mark.parametrize(
    "path", ["", "/", "/x", "/sys/fs/cgroupx/a", "/sys/fs/cgroup", "/sys/fs/cgroup/", "/sys/fs/cgroup/../a"]
)
def test_paths_that_are_not_below(path: str) -> None:
    stand = Stand("/sys/fs/cgroup")
    with pytest.raises(CgroupError) as caught:
        Directory(stand, "", path)
    assert caught.value.errno == errno.EINVAL


def test_survey_counts_what_is_missing(mounts: Stand, tmp_path: Path) -> None:
    for path, existing, made in (("a", "", 1), ("a/b/c", "", 3), ("a/b/c", "a", 2), ("a/b/c", "a/b/c", 0)):
        os.makedirs(tmp_path / existing, exist_ok=True)
        each = directory(mounts, path)
        each.survey()
        assert each.made == made


def test_a_link_on_the_way_is_refused(mounts: Stand, tmp_path: Path) -> None:
    """Invariant 38: never follow a link, not even to where it would be allowed."""
    os.mkdir(tmp_path / "real")
    os.symlink("real", tmp_path / "link")
    for path in ("link/x", "link"):
        each = directory(mounts, path)
        with pytest.raises(CgroupError):
            each.pids()
        if "/" in path:
            with pytest.raises(CgroupError):
                each.exists()
        with pytest.raises(CgroupError, match="Not a directory"):
            each.claim()
    with pytest.raises(CgroupError, match="Not a directory"):
        directory(mounts, "link/x").make()
    assert os.listdir(tmp_path / "real") == []


def test_claims_exclude_each_other_until_closed(mounts: Stand) -> None:
    one, two = directory(mounts, "a/b"), directory(mounts, "a/b")
    one.make()
    two.make()
    assert (one.made, two.made) == (2, 0)
    one.claim()
    one.claim()
    with pytest.raises(ExistsError):
        two.claim()
    copy = os.dup(one.descriptor())  # one that travelled
    one.close()
    two.claim()
    os.close(copy)
    two.close()


def test_a_claim_on_nothing(mounts: Stand) -> None:
    with pytest.raises(CgroupError) as caught:
        directory(mounts, "a").claim()
    assert caught.value.errno == errno.ENOENT


def test_files_are_read_whole_and_written_at_once(mounts: Stand, tmp_path: Path) -> None:
    os.mkdir(tmp_path / "a")
    each = directory(mounts, "a")
    (tmp_path / "a" / "big").write_bytes(b"x" * 300_000)
    assert each.read("big") == b"x" * 300_000
    (tmp_path / "a" / "pids.max").touch()
    each.write_each("pids.max", ["1", "22"])
    assert each.read("pids.max") == b"122"
    with pytest.raises(CgroupError) as caught:
        each.write("absent", "7")
    assert (caught.value.path, caught.value.errno) == (f"{tmp_path}/a/absent", errno.ENOENT)
    with pytest.raises(CgroupError):
        each.read("absent")


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EINVAL, errno.ENODEV, errno.EPERM, errno.EAGAIN])
def test_a_refused_write_says_where_and_what(
    mounts: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Security test S7."""
    os.mkdir(tmp_path / "a")
    (tmp_path / "a" / "f").touch()

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module.os, "write", fail)
    with pytest.raises(CgroupError) as caught:
        directory(mounts, "a").write("f", "v")
    assert (caught.value.path, caught.value.errno, caught.value.value) == (f"{tmp_path}/a/f", code, "v")
    monkeypatch.setattr(module.os, "write", lambda *_: 0)
    with pytest.raises(CgroupError) as caught:
        directory(mounts, "a").write("f", "v")
    assert caught.value.errno == errno.EIO


def test_threaded_cgroups_list_threads(
    mounts: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.makedirs(tmp_path / "a" / "b")
    (tmp_path / "a" / "cgroup.procs").write_text("5\n")
    (tmp_path / "a" / "b" / "cgroup.procs").write_text("6\n")
    (tmp_path / "a" / "b" / "cgroup.threads").write_text("7\n5\n")
    opened = os.open

    def refuse(path: str, *args: object, **kwargs: object) -> int:
        if path == "b/cgroup.procs":
            raise OSError(errno.EOPNOTSUPP, "")
        return opened(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module.os, "open", refuse)
    assert directory(mounts, "a").pids() == [5, 7]


def test_remove_is_quiet_about_what_is_gone_and_loud_about_the_rest(
    mounts: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert directory(mounts, "a/b/c").remove()
    each = directory(mounts, "a/b", made=2)
    each.make()

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "rmdir", fail)
        with pytest.raises(CgroupError) as caught:
            each.remove()
    assert caught.value.errno == errno.EPERM
    assert each.remove()
    assert os.listdir(mounts.point("")) == []
    each.close()


def test_walk_is_deepest_first_and_closes_what_it_opens(tmp_path: Path) -> None:
    for path in ("a/b", "a/c", "d"):
        os.makedirs(tmp_path / path)
    os.symlink("/", tmp_path / "link")
    top = os.open(tmp_path, os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    seen = [name for _, name in below(top)]
    assert sorted(seen) == ["a", "b", "c", "d"]
    assert seen.index("a") > max(seen.index("b"), seen.index("c"))
    half = below(top)
    next(half)
    half.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(top)


# Controllers on the way down


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written to pass controllers on, in order."""
    written: list[str] = []

    def write(_: int, value: str) -> None:
        written.append(value)

    monkeypatch.setattr(module, "_write", write)
    return written


def level(path: Path, listed: str, passed_on: str = "", *, kind: str = "domain", procs: str = "") -> None:
    path.mkdir(exist_ok=True)
    files = {"controllers": listed, "subtree_control": passed_on, "type": kind, "procs": procs}
    for name, text in files.items():
        (path / f"cgroup.{name}").write_text(f"{text}\n" if text else "")


def root_level(path: Path, listed: str, passed_on: str = "") -> None:
    level(path, listed, passed_on, procs="1\n2")
    (path / "cgroup.type").unlink()


def test_each_level_passes_on_what_it_has_not_yet(mounts: Stand, tmp_path: Path, passed: list[str]) -> None:
    root_level(tmp_path, "cpu io memory", "memory")
    level(tmp_path / "a", "cpu io memory")
    directory(mounts, "a/b").pass_on()
    assert passed == ["+cpu +io", "+cpu +io +memory"]


def test_nothing_is_written_where_all_is_passed_on(mounts: Stand, tmp_path: Path, passed: list[str]) -> None:
    root_level(tmp_path, "cpu io", "io cpu")
    directory(mounts, "a").pass_on()
    assert passed == []


def test_only_what_is_wanted(mounts: Stand, tmp_path: Path, passed: list[str]) -> None:
    root_level(tmp_path, "cpu hugetlb")
    directory(mounts, "a").pass_on("hugetlb")
    directory(mounts, "a").pass_on("rdma")
    assert passed == ["+hugetlb"]


def test_what_is_wanted_is_written_again(mounts: Stand, tmp_path: Path, passed: list[str]) -> None:
    """Somebody else may just be doing it: the list is ahead of the files, and a write waits for them."""
    root_level(tmp_path, "cpu pids", "pids")
    level(tmp_path / "a", "cpu pids", "pids", procs="7")
    directory(mounts, "a/b").pass_on("pids")
    assert passed == ["+pids", "+pids"]


def test_what_is_refused_together_is_tried_one_by_one(
    mounts: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root_level(tmp_path, "cpu io memory")
    done: list[str] = []

    def write(_: int, value: str) -> None:
        if "cpu" in value:
            raise OSError(errno.EBUSY, "in use")
        done.append(value)

    monkeypatch.setattr(module, "_write", write)
    directory(mounts, "a").pass_on()
    assert done == ["+io", "+memory"]


@pytest.mark.parametrize(
    ("kind", "procs", "written"),
    [
        ("domain", "7", []),
        ("domain", "", ["+cpu"]),
        ("domain threaded", "7", ["+cpu"]),
        ("threaded", "7", ["+cpu"]),
    ],
)
def test_processes_never_become_the_root_of_threads(
    mounts: Stand, tmp_path: Path, passed: list[str], kind: str, procs: str, written: list[str]
) -> None:
    """Also where we are the root of a namespace, which has the type of any other."""
    level(tmp_path, "cpu", kind=kind, procs=procs)
    directory(mounts, "a").pass_on()
    assert passed == written


def test_a_level_that_is_gone(mounts: Stand, tmp_path: Path) -> None:
    root_level(tmp_path, "cpu", "cpu")
    with pytest.raises(CgroupError) as caught:
        directory(mounts, "a/b").pass_on()
    assert caught.value.errno == errno.ENOENT
