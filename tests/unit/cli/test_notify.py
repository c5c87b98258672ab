"""NOTIFY_SOCKET: who is told, of what, and by whom."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from aiocontainer._aio import OwnedFd
from aiocontainer.cli.descriptors import notify_address
from aiocontainer.cli.notify import tell_ready
from aiocontainer.container.readiness import Readiness, with_notify_socket
from aiocontainer.spec import Spec
from aiocontainer.store import Record, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "state")) as store:
        store.create("x", Record(id="x", bundle="/b", boot_id="b").encode()).release()
        yield store


@pytest.fixture
def readiness(store: Store) -> Iterator[Readiness]:
    store.make_notify("x")
    notify = store.bind_notify("x")
    assert notify is not None
    with Readiness(notify, OwnedFd(os.pidfd_open(os.getpid())), lambda: store.unlink_notify("x")) as ours:
        yield ours


def say(store: Store, *messages: bytes, fds: tuple[int, ...] = ()) -> None:
    directory, name = store.notify_place("x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.connect(f"{directory}/{name}")
        for message in messages:
            socket.send_fds(peer, [message], fds)


@pytest.mark.parametrize(
    ("value", "address"),
    [("/run/s", "/run/s"), ("@s", "@s"), ("", None), ("/", None), ("vsock:2:1", None), ("run/s", None)],
)
def test_whom_to_tell(value: str, address: str | None) -> None:
    assert notify_address({"NOTIFY_SOCKET": value}) == address
    assert notify_address({}) is None


def test_a_container_is_shown_a_directory_that_it_cannot_change() -> None:
    spec = Spec.default(["true"], rootfs="/r").with_env(NOTIFY_SOCKET="/host", A="1")
    found = with_notify_socket(spec, "/state/x/notify", "notify.sock")
    assert found.process is not None
    variables = [entry for entry in found.process.env if entry.startswith("NOTIFY_SOCKET=")]
    assert variables == ["NOTIFY_SOCKET=/run/notify/notify.sock"]
    assert "A=1" in found.process.env
    mount = found.mounts[-1]
    assert (mount.source, mount.destination) == ("/state/x/notify", "/run/notify")
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount.options)


def test_without_a_program_only_the_directory_is_shown() -> None:
    found = with_notify_socket(Spec(oci_version="1.0.0"), "/n", "s")
    assert found.process is None
    assert len(found.mounts) == 1


def test_the_socket_is_for_everybody_in_the_container(store: Store, readiness: Readiness) -> None:
    directory, name = store.notify_place("x")
    assert os.stat(directory).st_mode & 0o777 == 0o755
    assert os.stat(f"{directory}/{name}").st_mode & 0o777 == 0o777
    readiness.close()
    assert os.listdir(directory) == []
    readiness.close()


def test_a_socket_of_before_is_replaced(store: Store, readiness: Readiness) -> None:
    again = store.bind_notify("x")
    assert again is not None
    again.close()


def test_a_container_that_was_made_without_one(store: Store) -> None:
    assert store.bind_notify("x") is None
    store.unlink_notify("x")
    store.remove("x")
    store.unlink_notify("x")


async def test_only_readiness_counts(store: Store, readiness: Readiness) -> None:
    lies = [b"", b"READY=0", b"READY=10", b"XREADY=1", b"STATUS=READY=1", b"MAINPID=1", b"x" * 10_000]
    waiting = asyncio.create_task(readiness.wait())
    say(store, *lies)
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    say(store, b"STATUS=up\nREADY=1\nMAINPID=1")
    assert await waiting


async def test_descriptors_are_not_taken(store: Store, readiness: Readiness) -> None:
    reader, writer = os.pipe()
    try:
        say(store, b"BARRIER=1", b"READY=1", fds=(writer,))
    finally:
        os.close(writer)
    before = len(os.listdir("/proc/self/fd"))
    assert await readiness.wait()
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the loop's own
    assert os.read(reader, 1) == b""  # nobody holds the other end
    os.close(reader)


@pytest.fixture
def child() -> Iterator[int]:
    """A process that the test ends."""
    pid = os.posix_spawnp("sleep", ["sleep", "60"], os.environ)
    yield pid
    os.waitpid(pid, 0)


async def test_an_end_is_no_readiness(store: Store, child: int) -> None:
    store.make_notify("x")
    notify = store.bind_notify("x")
    assert notify is not None
    pidfd = OwnedFd(os.pidfd_open(child))
    with Readiness(notify, pidfd, lambda: None) as readiness:
        waiting = asyncio.create_task(readiness.wait())
        await asyncio.sleep(0)
        os.kill(child, signal.SIGKILL)
        assert not await waiting


# The manager's side -------------------------------------------------------------------------------------


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = f"aioc-test-{os.getpid()}"
    address, written = (f"\0{name}", f"@{name}")
    if request.param == "path":
        address = written = str(tmp_path / "manager")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ours:
        ours.bind(address)
        yield ours, written


async def test_what_a_manager_is_told(manager: tuple[socket.socket, str]) -> None:
    ours, address = manager
    telling = asyncio.create_task(tell_ready(address, 42))
    loop = asyncio.get_running_loop()
    assert await loop.sock_recv(ours, 100) == b"READY=1\n"
    assert await loop.sock_recv(ours, 100) == b"MAINPID=42\n"
    message, fds, _, _ = socket.recv_fds(ours, 100, 2)
    assert message == b"BARRIER=1"
    done, _ = await asyncio.wait([telling], timeout=0.02)
    assert not done  # it waits for the answer
    (fd,) = fds
    os.close(fd)
    await telling


async def test_a_manager_that_does_not_answer(manager: tuple[socket.socket, str]) -> None:
    ours, address = manager
    with pytest.raises(TimeoutError):
        await tell_ready(address, 42, barrier_s=0.01)
    assert ours.recv(100) == b"READY=1\n"


async def test_a_manager_that_reads_late(manager: tuple[socket.socket, str]) -> None:
    """Its queue is full: nothing is lost, and the loop is not held up."""
    ours, address = manager
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        other.connect("\0" + address[1:] if address[0] == "@" else address)
        count = 0
        while True:
            try:
                other.send(b"x")
            except BlockingIOError:
                break
            count += 1
    telling = asyncio.create_task(tell_ready(address, 42))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    seen = [await loop.sock_recv(ours, 100) for _ in range(count + 3)]  # a descriptor is closed unseen
    assert seen[-3:] == [b"READY=1\n", b"MAINPID=42\n", b"BARRIER=1"]
    await telling


async def test_no_manager_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await tell_ready(str(tmp_path / "none"), 42)
