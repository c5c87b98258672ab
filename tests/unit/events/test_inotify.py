"""One inotify descriptor for everything on a loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from aiocontainer.events import inotify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def add(path: Path, callback: Callable[[inotify.Change], None], **options: int) -> inotify.Watch:
    """Watch *path* on the running loop."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return inotify.watch(asyncio.get_running_loop(), fd, callback, **options)
    finally:
        os.close(fd)


def open_inotify() -> int:
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:inotify"
    return count


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for is no event of ours
            await asyncio.sleep(0.002)


@pytest.mark.may_block("fifty files are written in one step")
async def test_one_descriptor_for_all_watches(tmp_path: Path, loop_kind: str) -> None:
    await until(lambda: open_inotify() == 0)  # the last test's is closed by a worker
    seen: list[int] = []
    files = [tmp_path / str(number) for number in range(50)]
    for file in files:
        file.touch()
    watches = [add(file, lambda _, n=number: seen.append(n)) for number, file in enumerate(files)]
    assert open_inotify() == 1
    for file in files:
        file.write_text("x")
    await until(lambda: len(set(seen)) == 50)
    for watch in watches:
        watch.close()
        watch.close()
    await until(lambda: open_inotify() == 0)
    assert inotify.instance(asyncio.get_running_loop()) is None


async def test_two_may_watch_one_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    first: list[object] = []
    second: list[object] = []
    watches = add(file, first.append), add(file, second.append)
    file.write_text("1")
    await until(lambda: first and second)
    watches[0].close()
    heard = len(first)
    second.clear()
    file.write_text("2")
    await until(lambda: second)
    assert len(first) == heard
    watches[1].close()


async def test_names_in_a_directory_need_not_be_text(tmp_path: Path) -> None:
    seen: list[inotify.Change] = []
    watch = add(tmp_path, seen.append, mask=inotify.APPEARED | inotify.VANISHED)
    odd = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(odd)
    os.rmdir(odd)
    await until(lambda: len(seen) == 2)
    assert [(bool(each.mask & inotify.APPEARED), os.fsencode(each.name)) for each in seen] == [
        (True, b"\xff\xfe"),
        (False, b"\xff\xfe"),
    ]
    watch.close()


@pytest.mark.may_block("instances come and go in four threads")
async def test_watches_may_be_made_and_closed_in_threads(tmp_path: Path) -> None:
    loop, seen = asyncio.get_running_loop(), []
    (tmp_path / "file").touch()
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    watches: list[inotify.Watch] = []

    def work() -> None:
        for _ in range(5):
            watch = inotify.watch(loop, fd, seen.append)
            watch.close()
        watches.append(inotify.watch(loop, fd, seen.append))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    await until(lambda: not any(thread.is_alive() for thread in threads))
    os.close(fd)
    (tmp_path / "file").write_text("x")
    await until(lambda: len(seen) >= 4)
    for watch in watches:
        watch.close()
    await until(lambda: open_inotify() == 0)


@pytest.mark.may_block("the test fills the kernel's queue before anybody reads")
async def test_when_the_kernel_drops_changes_everything_is_looked_at(tmp_path: Path) -> None:
    with open("/proc/sys/fs/inotify/max_queued_events") as knob:
        most = int(knob.read())
    names = [tmp_path / "a", tmp_path / "b", tmp_path / "quiet"]
    seen: dict[str, list[inotify.Change]] = {}
    watches = []
    for name in names:
        name.touch()
        watches.append(add(name, seen.setdefault(name.name, []).append))
    fds = [os.open(name, os.O_WRONLY) for name in names[:2]]
    for _ in range(most // 2 + 10):  # in turn: equal changes in a row are merged
        for fd in fds:
            os.pwrite(fd, b"x", 0)
    await until(lambda: seen["quiet"])
    assert seen["quiet"][0].overflow
    for fd in fds:
        os.close(fd)
    for watch in watches:
        watch.close()


async def test_a_missing_knob_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()

    def full(*_: object) -> int:
        import ctypes
        import errno

        ctypes.set_errno(errno.ENOSPC)
        return -1

    monkeypatch.setattr(inotify._Calls, "_inotify_add_watch", full)
    await until(lambda: open_inotify() == 0)  # the last test's is closed by a worker
    with pytest.raises(inotify.WatchError, match="max_user_watches"):
        add(tmp_path / "file", lambda _: None)
    await until(lambda: open_inotify() == 0)
