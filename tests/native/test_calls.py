"""System calls that the library adds to Python's."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from aiocontainer import native

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@contextmanager
def closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


# Paths.


def test_openat2_is_close_on_exec_and_raises_as_os_open() -> None:
    with closing(native.openat2(-100, "/", os.O_PATH)) as fd:
        assert not os.get_inheritable(fd)
    with pytest.raises(FileNotFoundError) as caught:
        native.openat2(-100, "/no/such", os.O_RDONLY)
    assert caught.value.filename == "/no/such"


def test_open_in_root_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("inside")
    (tmp_path / "absolute").symlink_to("/etc/passwd")
    (tmp_path / "climbing").symlink_to("../../../../etc/passwd")
    (tmp_path / "magic").symlink_to("/proc/self/root/etc/passwd")
    with closing(os.open(tmp_path, os.O_PATH)) as directory:
        for path in ("etc/passwd", "/etc/passwd", "../../etc/passwd", "absolute", "climbing"):
            with closing(native.open_in_root(directory, path, os.O_RDONLY)) as fd:
                assert os.read(fd, 100) == b"inside"
        with pytest.raises(FileNotFoundError):
            native.open_in_root(directory, "magic", os.O_RDONLY)


def test_magic_links_are_not_followed() -> None:
    slash = os.open("/", os.O_PATH)
    with closing(slash), pytest.raises(OSError, match=r"link|levels") as caught:
        native.open_in_root(slash, "proc/self/exe", os.O_RDONLY)
    assert caught.value.errno in (errno.ELOOP, errno.EXDEV)


# Mounts.


def mounts() -> str:
    with open("/proc/self/mountinfo") as file:
        return file.read()


@root
@pytest.mark.parametrize("recursive", [False, True])
def test_open_tree_is_detached(tmp_path: Path, recursive: bool) -> None:
    before = mounts()
    (tmp_path / "file").write_text("x")
    with closing(native.open_tree(str(tmp_path), recursive)) as tree:
        assert listing(tree) == ["file"]
        assert mounts() == before


def listing(tree: int) -> list[str]:
    """What is in a directory of which we hold but the place."""
    with closing(os.open(".", os.O_RDONLY, dir_fd=tree)) as directory:
        return sorted(os.listdir(directory))


def write_at(directory: int, name: str, text: bytes) -> None:
    with closing(os.open(name, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=directory)) as fd:
        while text:
            text = text[os.write(fd, text) :]


@root
@pytest.mark.parametrize("name", ["lower", "with:colon", "with\\backslash", "with,comma", "with space"])
def test_overlay_keeps_writes_to_itself(tmp_path: Path, name: str) -> None:
    lower = tmp_path / name
    lower.mkdir()
    (lower / "old").write_text("old")
    before, descriptors = mounts(), os.listdir("/proc/self/fd")
    with closing(native.overlay(str(lower), owner=(1000, 1001))) as tree:
        write_at(tree, "new", b"new")
        write_at(tree, "old", b"changed")
        assert listing(tree) == ["new", "old"]
        assert (os.fstat(tree).st_uid, os.fstat(tree).st_gid) == (1000, 1001)
        assert mounts() == before
    assert os.listdir("/proc/self/fd") == descriptors
    assert os.listdir(lower) == ["old"]
    assert (lower / "old").read_text() == "old"


@root
def test_overlay_has_the_size_that_it_was_given(tmp_path: Path) -> None:
    tree = native.overlay(str(tmp_path), size="64k")
    with closing(tree), pytest.raises(OSError, match="No space"):
        write_at(tree, "big", bytes(1 << 20))


@root
def test_overlay_over_nothing_fails(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        native.overlay(str(tmp_path / "none"))
    with pytest.raises(OSError, match="too long"):
        native.overlay("/" + "x" * 300)
    assert os.listdir("/proc/self/fd") == before


@root
def test_overlay_beside_other_threads(tmp_path: Path) -> None:
    """The child that makes it shares our memory and our descriptors; nothing of it may stay."""
    failures: list[OSError] = []

    def work() -> None:
        try:
            for _ in range(10):
                os.close(native.overlay(str(tmp_path)))
        except OSError as exc:
            failures.append(exc)

    before, descriptors = mounts(), os.listdir("/proc/self/fd")
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert mounts() == before
    assert os.listdir("/proc/self/fd") == descriptors


# Waiting.


def test_wait_pidfd_of_a_child() -> None:
    process = subprocess.Popen(["/bin/sh", "-c", "sleep 0.01; read x; kill -15 $$"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    with closing(os.pidfd_open(process.pid)) as pidfd:
        assert native.wait_pidfd(pidfd) is None
        process.stdin.close()
        while (ended := native.wait_pidfd(pidfd)) is None:
            pass
    process.returncode = 0  # reaped here, not by subprocess
    assert (ended.code, ended.signal, ended.core_dumped) == (None, 15, False)
    assert ended.rusage is not None
    assert ended.rusage.ru_maxrss > 0
    assert ended.rusage.ru_nvcsw + ended.rusage.ru_nivcsw > 0  # it slept


def test_wait_pidfd_of_a_stranger() -> None:
    with closing(os.pidfd_open(1)) as pidfd, pytest.raises(ChildProcessError):
        native.wait_pidfd(pidfd)


# The device filter.

with open("/proc/mounts") as table:
    CGROUP2 = [line.split()[1] for line in table if line.split()[2] == "cgroup2"]
ALLOW = struct.pack("=BBhi", 0xB7, 0, 0, 1) + struct.pack("=BBhi", 0x95, 0, 0, 0)  # r0 = 1; exit
DENY = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)


@pytest.fixture
def cgroup() -> Iterator[str]:
    path = f"{CGROUP2[0]}/aioc-test-calls-{os.getpid()}"
    os.mkdir(path)
    yield path
    os.rmdir(path)


def can_read_zero(cgroup: str) -> bool:
    script = f"echo 0 > {cgroup}/cgroup.procs && head -c1 /dev/zero > /dev/stdout"
    return subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=False).returncode == 0


@root
@pytest.mark.skipif(not CGROUP2, reason="needs cgroup2")
def test_device_filter_is_replaced_not_added(cgroup: str) -> None:
    """Were the old one still there, it would go on denying."""
    with closing(os.open(cgroup, os.O_RDONLY)) as directory:
        for program, allows in ((ALLOW, True), (DENY, False), (ALLOW, True)):
            with closing(native.load_device_filter(program)) as loaded:
                native.attach_device_filter(directory, loaded)
            assert can_read_zero(cgroup) is allows


@root
@pytest.mark.skipif(not CGROUP2, reason="needs cgroup2")
def test_a_program_that_is_none_is_refused(cgroup: str) -> None:
    with closing(os.open(cgroup, os.O_RDONLY)) as directory, pytest.raises(OSError, match="Invalid"):
        native.attach_device_filter(directory, native.load_device_filter(ALLOW[:8]))


def test_a_real_time_signal_without_a_name() -> None:
    process = subprocess.Popen(["/bin/sh", "-c", "kill -40 $$"])
    with closing(os.pidfd_open(process.pid)) as pidfd:
        while (ended := native.wait_pidfd(pidfd)) is None:
            pass
    process.returncode = 0
    assert (ended.code, ended.signal) == (None, 40)
