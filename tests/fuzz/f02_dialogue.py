"""F2: the control socket as Python reads it: replies, descriptors, and when which may come."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from aiocontainer import ContainerError
from aiocontainer.container.dialogue import Channel, Dialogue
from aiocontainer.native import wire
from aiocontainer.native._lib import lib

from .source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 6
MAX_MESSAGES = 8


class Step:
    """What the dialogue knows of a step."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.origin = f"$.steps[{number}]"

    def advice(self, errno: int) -> str:
        return ""


def message(source: Source) -> tuple[bytes, int]:
    """A reply that is right but for what the input changes, and how many descriptors go with it."""
    kind = source.pick((lib.REPLY_SPAWNED, lib.REPLY_PAUSED, lib.REPLY_FAILED))
    fds = source.below(4) if source.flag() else int(kind == lib.REPLY_SPAWNED)
    failed = kind == lib.REPLY_FAILED
    error, call = (source.below(200), source.below(120)) if failed else (0, 0)
    value = source.below(5) * 1000 if kind == lib.REPLY_SPAWNED else source.below(3) - 1 if failed else 0
    fields = [lib.WIRE_MAGIC, kind, source.below(STEPS + 1), error, call, fds, value]
    data = bytearray(wire.REPLY.pack(*fields))
    changes = source.integer(1)
    if changes & 1:
        data[source.below(len(data))] = source.integer(1)
    if changes & 2:
        data += source.raw(source.below(6000))
    if changes & 4:
        del data[source.below(len(data) + 1) :]
    if changes & 24 == 24:
        fds = source.below(30)  # more than there is room for
    return bytes(data), fds


def one(data: bytes) -> None:
    source = Source(data)
    before = len(os.listdir("/proc/self/fd"))
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    with theirs:
        for _ in range(source.below(MAX_MESSAGES) + 1):
            raw, fds = message(source)
            try:
                socket.send_fds(theirs, [raw], [null] * fds, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
    os.close(null)
    talk(source, Channel(ours, Dialogue([Step(number) for number in range(STEPS)])))
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor stayed open"


def talk(source: Source, channel: Channel[Step]) -> None:
    """Go through the dialogue as somebody might; nothing but our own errors may come of it."""
    dialogue = channel.dialogue
    paused: list[int] = []

    def pause() -> None:
        paused.append(channel.paused().number)
        assert paused == sorted(paused), paused
        if dialogue.handed is not None and source.flag():
            dialogue.taken().close()
        if source.flag():
            channel.proceed()
            paused[-1] += 1  # this step cannot come again

    acts: tuple[Callable[[], object], ...] = (
        lambda: channel.spawned(source.below(3) + 1),
        pause,
        channel.paused_or_executed,
        lambda: channel.settled(source.below(3), 1),
        channel.proceed,
    )
    try:
        for _ in range(source.below(10) + 1):
            try:
                source.pick(acts)()
            except ContainerError:
                if source.flag():
                    break
        steps = [process.step for process in dialogue.spawned]
        assert steps == sorted(steps)
        assert all(process.pid > 0 for process in dialogue.spawned)
    finally:
        channel.close()
        for process in dialogue.spawned:
            process.pidfd.close()
