"""The created state: what its process holds, and the gate that others open."""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING

import pytest
import talk
from talk import placed, program, step

from aiocontainer import native
from aiocontainer.native._lib import lib

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

root = pytest.mark.skipif(os.geteuid() != 0, reason="the helper is not dumpable: only root looks into it")

CREATED = step("PAUSE", a=lib.PAUSE_CREATED)


class Created:
    """A container that has said "created" and now waits at its gate."""

    def __init__(self, spawner: native.Spawner, path: Path, preserved: int = 0, uid: int = -1) -> None:
        self.path = str(path / "gate")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self.path)
        listener.listen(8)
        uid = os.geteuid() if uid < 0 else uid
        with talk.null() as fds:
            steps = [
                *placed(0),
                *[step("FD", fd=0, a=3 + n) for n in range(preserved)],
                CREATED,
                step("GATE", fd=3, a=uid),
                *program("/bin/true"),
            ]
            order = [*steps[:-4], steps[-2], *steps[-4:-2], steps[-1]]  # PROGRAM before CREATED
            self.talk = talk.send(spawner, order, [*fds, listener.fileno()], owned=False)
        listener.close()
        self.paused = self.talk.until(native.REPLY_PAUSED)
        if not self.talk.processes:
            self.talk.until(native.REPLY_SPAWNED)
        self.pid = self.talk.processes[0].value

    def release(self) -> None:
        """Acknowledge "created": from here on the gate alone matters."""
        self.talk.proceed()
        assert self.talk.next() is None
        self.talk.close()

    def knock(self) -> talk.Talk:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.connect(self.path)
        return talk.Talk(peer)

    def start(self) -> None:
        peer = self.knock()
        assert peer.until(native.REPLY_PAUSED).step == self.paused.step + 1
        peer.proceed()
        assert peer.next() is None
        peer.close()

    def end(self) -> native.Exit:
        return self.talk.exits()[0]


@pytest.fixture
def created(spawner: native.Spawner, tmp_path: Path) -> Iterator[Created]:
    container = Created(spawner, tmp_path)
    container.release()
    yield container
    if container.talk.replies:
        container.start()
        assert container.end().code == 0


def numbers(pid: int) -> set[int]:
    return set(map(int, os.listdir(f"/proc/{pid}/fd")))


@root
def test_holds_stdio_preserved_and_the_gate_alone(
    spawner: native.Spawner, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """T26, with a caller that leaks what it can."""
    leaked = [os.open(path, os.O_RDONLY) for path in ("/", "/etc")]
    far = 500
    os.dup2(leaked[0], far)
    for fd in [*leaked, far]:
        os.set_inheritable(fd, True)
    try:
        with native.Spawner.start() as leaky:
            container = Created(leaky, tmp_path, preserved=2)
            container.release()
            held = numbers(container.pid)
            assert {0, 1, 2, 3, 4} < held
            (gate,) = held - {0, 1, 2, 3, 4}
            assert os.readlink(f"/proc/{container.pid}/fd/{gate}").startswith("socket:")
            assert {os.readlink(f"/proc/{container.pid}/fd/{n}") for n in range(5)} == {"/dev/null"}
            container.start()
            assert container.end().code == 0
    finally:
        for fd in [*leaked, far]:
            os.close(fd)


@root
def test_holds_nothing_more_from_the_moment_it_says_created(spawner: native.Spawner, tmp_path: Path) -> None:
    container = Created(spawner, tmp_path)
    assert len(numbers(container.pid)) == 5  # stdio, control, gate
    container.release()
    container.start()
    container.end()


def test_survives_its_creator_and_starts(created: Created) -> None:
    assert not select.select([created.talk.processes[0].fds[0]], [], [], 0.05)[0]


def test_end_of_file_before_the_acknowledgement_ends_it(spawner: native.Spawner, tmp_path: Path) -> None:
    container = Created(spawner, tmp_path)
    container.talk.close()
    assert container.end().code == 1


def test_a_peer_that_leaves_has_not_started_it(created: Created) -> None:
    peer = created.knock()
    peer.until(native.REPLY_PAUSED)
    peer.close()
    created.knock().close()
    assert os.path.exists(f"/proc/{created.pid}")


def test_a_peer_that_talks_nonsense_has_not_started_it(created: Created) -> None:
    peer = created.knock()
    peer.until(native.REPLY_PAUSED)
    peer.control.send(b"open up")
    assert peer.next() is None
    peer.close()


def test_the_second_of_two_learns_that_it_is_late(created: Created) -> None:
    first, second = created.knock(), created.knock()
    first.until(native.REPLY_PAUSED)
    first.proceed()
    assert first.next() is None
    assert second.next() is None  # end of file without PAUSED: not ours to start
    first.close()
    second.close()
    assert created.end().code == 0
    created.talk.replies.clear()


def knock_as(uid: int, path: str) -> int:
    """Connect as another user; how many bytes come before end of file."""
    child = os.fork()
    if child == 0:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.connect(path)
        os._exit(len(peer.recv(100)))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@root
def test_another_user_is_turned_away(created: Created) -> None:
    reachable = f"/tmp/aioc-test-gate-{os.getpid()}"
    os.chmod(created.path, 0o777)
    os.link(created.path, reachable)  # a place that everybody can enter
    try:
        assert knock_as(0, reachable) > 0
        assert knock_as(65534, reachable) == 0
    finally:
        os.unlink(reachable)
    assert os.path.exists(f"/proc/{created.pid}")
