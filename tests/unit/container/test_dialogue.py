"""What the helper may say, and when: the dialogue without any helper."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from aiocontainer import native
from aiocontainer.container.dialogue import Channel, Dialogue
from aiocontainer.errors import BootstrapError, HelperError
from aiocontainer.plan.steps import Loopback, Pause, SetSid

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = (SetSid("$.a"), Pause("$.b", 1), Loopback("$.c"), Pause("$.d", 4))


def spawned(pid: int, *fds: int, step: int = 0) -> native.Reply:
    return native.Reply(native.REPLY_SPAWNED, step, 0, "", pid, fds)


def paused(step: int, *fds: int) -> native.Reply:
    return native.Reply(native.REPLY_PAUSED, step, 0, "", 0, fds)


def failed(step: int, error: int, call: str) -> native.Reply:
    return native.Reply(native.REPLY_FAILED, step, error, call, 0, ())


@pytest.fixture
def fd() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_dialogue(fd: int) -> None:
    dialogue = Dialogue(STEPS)
    dialogue.feed(paused(1))
    assert dialogue.paused is STEPS[1]
    dialogue.feed(spawned(77, fd))  # another sender: its order is not known
    process = dialogue.spawned[0]
    assert (process.pid, process.pidfd.fileno()) == (77, fd)
    process.pidfd.close()
    dialogue.proceeded()
    dialogue.feed(paused(3))
    assert dialogue.paused is STEPS[3]


def test_the_forked_process_may_be_announced_first(fd: int) -> None:
    """The spawner tells of the first one when it has time to."""
    dialogue = Dialogue(STEPS)
    dialogue.feed(spawned(78, fd, step=2))
    dialogue.feed(spawned(77, os.dup(fd)))
    assert [process.pid for process in dialogue.spawned] == [77, 78]
    for process in dialogue.spawned:
        process.pidfd.close()


def test_what_comes_with_a_pause_is_kept(fd: int) -> None:
    dialogue = Dialogue(STEPS)
    dialogue.feed(paused(1, fd))
    assert dialogue.handed is not None
    assert dialogue.handed.fileno() == fd
    dialogue.handed.close()


def test_a_failed_step_has_its_address() -> None:
    with pytest.raises(BootstrapError) as caught:
        Dialogue(STEPS).feed(failed(2, 1, "ioctl"))
    assert (caught.value.step, caught.value.origin, caught.value.errno) == (STEPS[2], "$.c", 1)
    assert caught.value.call == "ioctl"
    assert str(caught.value).startswith("$.c: ")
    with pytest.raises(BootstrapError) as caught:
        Dialogue(STEPS).feed(failed(2**32 - 1, 22, "decode"))
    assert caught.value.step is None


def test_pauses_out_of_turn() -> None:
    dialogue = Dialogue(STEPS)
    with pytest.raises(HelperError):
        dialogue.feed(paused(len(STEPS)))
    dialogue.feed(paused(1))
    with pytest.raises(HelperError):
        dialogue.feed(paused(3))  # nobody told it to go on
    dialogue.proceeded()
    with pytest.raises(HelperError):
        dialogue.feed(paused(1))  # once more


def test_descriptors_of_refused_replies_are_closed(fd: int) -> None:
    other = os.dup(fd)
    with pytest.raises(HelperError):
        Dialogue(STEPS).feed(spawned(77, fd, other))
    assert not is_open(fd)
    assert not is_open(other)
    with pytest.raises(BootstrapError, match="Resource temporarily unavailable"):
        Dialogue(STEPS).feed(spawned(-11))


@pytest.fixture
def ends() -> Iterator[tuple[Channel[SetSid | Pause | Loopback], socket.socket]]:
    ours, helpers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours, Dialogue(STEPS))
    with helpers:
        yield channel, helpers
    channel.close()


def test_garbage_is_refused_and_its_descriptors_closed(
    ends: tuple[Channel[SetSid], socket.socket], fd: int
) -> None:
    channel, helper = ends
    before = set(os.listdir("/proc/self/fd"))
    socket.send_fds(helper, [b"garbage"], [fd, fd, fd])
    with pytest.raises(HelperError):
        channel.paused()
    assert set(os.listdir("/proc/self/fd")) == before
    socket.send_fds(helper, [b"x" * 4000], [fd] * 30)
    helper.shutdown(socket.SHUT_WR)
    channel.settled(1, 5)
    assert channel.ended
    assert set(os.listdir("/proc/self/fd")) == before
    os.close(fd)


def test_an_early_end(ends: tuple[Channel[SetSid], socket.socket]) -> None:
    channel, helper = ends
    helper.close()
    with pytest.raises(HelperError, match="before its process was announced"):
        channel.spawned(1)
    with pytest.raises(HelperError, match="in the middle"):
        channel.paused()
    assert channel.paused_or_executed() is None


def test_settling_has_a_deadline(ends: tuple[Channel[SetSid], socket.socket]) -> None:
    channel, _ = ends
    channel.settled(1, 0.01)
    assert not channel.ended
