"""Reading accounting files of an ordinary directory: what is missing, gone, kept open."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from stand import Stand

from aiocontainer.cgroups.directory import Directory
from aiocontainer.cgroups.fake import FakeCgroup
from aiocontainer.cgroups.stats import reading as module
from aiocontainer.cgroups.stats.reading import KeptFiles, Reading, parts2, read_stats
from aiocontainer.cgroups.stats.values import CpuStats, StatsMask
from aiocontainer.errors import CgroupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    (tmp_path / "c").mkdir()
    with Stand(str(tmp_path)) as mounts:
        yield Directory(mounts, "", f"{tmp_path}/c")


def write(directory: Directory, **files: str) -> None:
    for name, text in files.items():
        with open(f"{directory.path}/{name.replace('__', '.')}", "w") as file:
            file.write(text)


def read(directory: Directory, mask: StatsMask = StatsMask.ALL, kept: KeptFiles | None = None) -> object:
    layout = (parts2(), Reading(lambda _: directory, kept))
    return read_stats(2, [layout], mask, lambda: [7, 8])


def test_what_is_missing_is_zero_while_the_cgroup_is_there(directory: Directory) -> None:
    """Without the controller of pids, processes are counted."""
    stats = read(directory)
    assert stats.parts == StatsMask.PIDS  # type: ignore[attr-defined]
    assert stats.pids.current == 2  # type: ignore[attr-defined]
    write(directory, pids__current="5\n", cpu__stat="usage_usec 3\n")
    stats = read(directory)
    assert stats.parts == StatsMask.PIDS | StatsMask.CPU  # type: ignore[attr-defined]
    assert (stats.pids.current, stats.cpu.total_ns) == (5, 3000)  # type: ignore[attr-defined]


@pytest.mark.parametrize("keep", [False, True])
def test_a_cgroup_that_is_gone_is_not_one_without_controllers(directory: Directory, *, keep: bool) -> None:
    write(directory, cpu__stat="usage_usec 3\n")
    kept = KeptFiles() if keep else None
    assert read(directory, kept=kept).cpu == CpuStats(total_ns=3000)  # type: ignore[attr-defined]
    os.unlink(f"{directory.path}/cpu.stat")
    os.rmdir(directory.path)
    with pytest.raises(CgroupError) as caught:
        read(directory)
    assert caught.value.errno == errno.ENOENT
    if kept is not None:
        kept.close()


def test_a_cgroup_may_go_between_two_files(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file is missing while it is there, the next because it is gone.  Fault S7."""
    write(directory, memory__stat="anon 3\n")
    real = Directory.read

    def going(self: Directory, name: str) -> bytes:
        if name == "memory.current":
            shutil.rmtree(self.path)
        return real(self, name)

    monkeypatch.setattr(Directory, "read", going)
    with pytest.raises(CgroupError) as caught:
        read(directory, StatsMask.MEMORY)
    assert (caught.value.errno, caught.value.path) == (errno.ENOENT, directory.path)


def test_threads_read_while_another_closes(directory: Directory) -> None:
    write(directory, cpu__stat="usage_usec 3\n", pids__current="5\n")
    nested = Directory(directory._mounts, "", f"{directory.path}/nested")
    nested.make()
    write(nested, cpu__stat="usage_usec 4\n", pids__current="6\n")

    def reading(_: int) -> set[int]:
        return {read(nested).cpu.total_ns for _ in range(200)}  # type: ignore[attr-defined]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(3) as pool:
            found = [pool.submit(reading, number) for number in range(3)]
            while not all(each.done() for each in found):
                nested.close()
                os.close(os.open("/", os.O_PATH))  # takes the number of what was closed
    finally:
        sys.setswitchinterval(interval)
    assert [each.result() for each in found] == [{4000}] * 3
    nested.close()


@pytest.mark.parametrize(
    ("number", "file", "refused"),
    [
        (errno.EOPNOTSUPP, "cpu.pressure", False),
        (errno.EOPNOTSUPP, "cpu.stat", True),
        (errno.ENODEV, "cpu.pressure", True),
        (errno.ENODEV, "cpu.stat", True),
        (errno.EIO, "cpu.stat", True),
    ],
)
def test_what_the_kernel_answers_to_reading(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, number: int, file: str, *, refused: bool
) -> None:
    """Pressure that is not accounted is none; a file of a removed cgroup has no device.  Fault S7."""
    write(directory, cpu__stat="usage_usec 3\n")
    real = Directory.read

    def failing(self: Directory, name: str) -> bytes:
        if name == file:
            raise CgroupError(f"{self.path}/{name}", number)
        return real(self, name)

    monkeypatch.setattr(Directory, "read", failing)
    if refused:
        with pytest.raises(CgroupError) as caught:
            read(directory, StatsMask.CPU)
        assert (caught.value.errno, caught.value.path) == (number, f"{directory.path}/{file}")
    else:
        assert read(directory, StatsMask.CPU).cpu.pressure is None  # type: ignore[attr-defined]


def test_kept_files_are_opened_once_and_closed(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    write(directory, cpu__stat="usage_usec 3\n")
    before = len(os.listdir("/proc/self/fd"))
    kept = KeptFiles()
    read(directory, StatsMask.CPU, kept)
    assert len(kept) == 1
    monkeypatch.setattr(Directory, "open_to_read", None)
    monkeypatch.setattr(Directory, "read", None)
    write(directory, cpu__stat="usage_usec 4\n")
    assert kept.read(directory, "cpu.stat") == b"usage_usec 4\n"
    monkeypatch.undo()
    kept.close()
    kept.close()
    directory.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the mount


def test_kept_files_are_bounded_for_the_process(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a quarter of what may be open nothing is kept, and everything is read all the same."""
    write(directory, **{f"file{i}": f"{i}\n" for i in range(6)})
    monkeypatch.setattr(module.resource, "getrlimit", lambda _: (16, 16))
    first, second = KeptFiles(), KeptFiles()
    for i in range(6):
        for kept in (first, second):
            assert kept.read(directory, f"file{i}") == b"%d\n" % i
    assert len(first) + len(second) == 4
    first.close()
    for i in range(6):
        second.read(directory, f"file{i}")
    assert len(second) == 4
    second.close()
    with pytest.raises(CgroupError):
        first.read(directory, "none")
    assert len(first) == 0
    assert module._budget._held == 0
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (16, 16)


def test_a_long_file_comes_whole(directory: Directory) -> None:
    text = "8:0 rbytes=1 wbytes=2\n" * 10000
    write(directory, io__stat=text)
    kept = KeptFiles()
    for _ in range(2):
        assert kept.read(directory, "io.stat") == text.encode()
    kept.close()


def test_the_fake_tells_what_it_is_told() -> None:
    fake = FakeCgroup()
    with pytest.raises(CgroupError):
        fake.stats()
    fake.create()
    fake.members.append(5)
    fake.usage["cpu"] = CpuStats(total_ns=9)
    stats = fake.stats()
    assert (stats.cpu.total_ns, stats.pids.current) == (9, 1)
    assert stats.parts == StatsMask.CPU | StatsMask.PIDS
    assert fake.stats(StatsMask.PIDS).cpu == CpuStats()
