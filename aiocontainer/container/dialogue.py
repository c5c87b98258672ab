"""The bootstrap dialogue: which replies may come when, and the socket on which they come.

`Dialogue` is pure over replies; `Channel` reads and writes them, blocking, in a thread.  ``wire.h`` has
the protocol: after the plan one verb goes down (PROCEED) and SPAWNED, PAUSED and FAILED come up; end of
file after the last PROCEED means that execve(2) worked.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Generic, TypeVar

from .. import native
from .._aio import OwnedFd
from ..errors import BootstrapError, ContainerError, HelperError, HookError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..errors import Addressed

__all__ = ["Channel", "Dialogue", "Spawned"]

T = TypeVar("T", bound="Addressed")
"""A step, or what another process knows of one."""

_FDS_SPACE = socket.CMSG_SPACE(8 * 4)


class Spawned:
    """One process that the helper announced: `pid` here, the pidfd that we own, the step that forked it."""

    __slots__ = ("pid", "pidfd", "step")

    def __init__(self, pid: int, pidfd: OwnedFd, step: int) -> None:
        self.pid: int = pid
        self.pidfd: OwnedFd = pidfd
        self.step: int = step


class Dialogue(Generic[T]):
    """What the helper has said so far of one plan, and whether it may say so.

    `spawned` are the announced processes (two where the plan forks), in the order of their birth and
    not of the announcements, which have several senders.  `paused` is the step that waits for PROCEED,
    `handed` what came with it.  A reply that may not come raises `HelperError`, a failed step
    `BootstrapError` or `HookError`; descriptors of refused replies are closed.
    """

    def __init__(self, steps: Sequence[T | None]) -> None:
        """Speak of *steps*; None stands for one that only its maker knows."""
        self._steps = steps
        self._last = -1
        self.spawned: list[Spawned] = []
        self.paused: T | None = None
        self.handed: OwnedFd | None = None

    def feed(self, reply: native.Reply) -> None:
        """Take one reply."""
        fds = [OwnedFd(fd) for fd in reply.fds]
        try:
            if reply.kind == native.REPLY_SPAWNED:
                self._spawned(reply, fds)
            elif reply.kind == native.REPLY_PAUSED:
                self._paused(reply, fds)
            else:
                raise _failure(self._step(reply.step), reply)
        finally:
            for fd in fds:
                fd.close()

    def proceeded(self) -> None:
        """Note that PROCEED was sent."""
        self.paused = None

    def taken(self) -> OwnedFd:
        """Take over what came with the pause."""
        handed, self.handed = self.handed, None
        if handed is None:
            raise HelperError(f"the helper sent no descriptor at {self.paused}")
        return handed

    def _spawned(self, reply: native.Reply, fds: list[OwnedFd]) -> None:
        if reply.value < 0:
            raise BootstrapError(None, -reply.value, call="clone3")
        if len(fds) != 1:
            raise HelperError(f"the helper sent {len(fds)} descriptors with a process")
        self.spawned.append(Spawned(reply.value, OwnedFd(fds[0].detach()), reply.step))
        self.spawned.sort(key=lambda process: process.step)

    def _paused(self, reply: native.Reply, fds: list[OwnedFd]) -> None:
        if self.paused is not None or not self._last < reply.step < len(self._steps) or len(fds) > 1:
            raise HelperError(f"the helper paused at step {reply.step} out of turn")
        self._last = reply.step
        self.paused = self._steps[reply.step]
        self.handed = OwnedFd(fds[0].detach()) if fds else None

    def _step(self, index: int) -> T | None:
        return self._steps[index] if index < len(self._steps) else None


def _failure(step: Addressed | None, reply: native.Reply) -> ContainerError:
    if reply.call != "hook":
        return BootstrapError(step, reply.error, call=reply.call)
    hook = step.origin if step is not None else ""
    if reply.error == errno.ECANCELED:
        return HookError(hook, reply.value, reply.text)
    problem = "timed out" if reply.error == errno.ETIMEDOUT else os.strerror(reply.error)
    return HookError(hook, None, reply.text, problem=problem)


class Channel(Generic[T]):
    """One control socket, read by whichever thread does the talking.

    `ended` is set at end of file.  A refused reply or a failed step is kept, and raised from whatever
    waits next; `settled` reads on, because SPAWNED has another sender and may come after it.
    """

    def __init__(self, sock: socket.socket, dialogue: Dialogue[T]) -> None:
        """Take over *sock*."""
        self.dialogue = dialogue
        self.ended: bool = False
        self._sock = sock
        self._failure: ContainerError | None = None

    def spawned(self, count: int) -> Spawned:
        """Wait until *count* processes were announced, and return the last of these."""
        dialogue = self.dialogue
        self._until(lambda: len(dialogue.spawned) >= count, "before its process was announced")
        return dialogue.spawned[count - 1]

    def paused(self) -> T:
        """Wait until the plan pauses, and return the step."""
        dialogue = self.dialogue
        self._until(lambda: dialogue.paused is not None, "in the middle of its plan")
        assert dialogue.paused is not None
        return dialogue.paused

    def paused_or_executed(self) -> T | None:
        """Wait until the plan pauses, or for end of file, which says that execve(2) worked."""
        dialogue = self.dialogue
        self._until(lambda: self.ended or dialogue.paused is not None, "")
        return dialogue.paused

    def settled(self, count: int, timeout_s: float) -> None:
        """Wait until *count* processes were announced or nothing more can come; failures are kept."""
        with contextlib.suppress(TimeoutError):
            self._sock.settimeout(timeout_s)
            while len(self.dialogue.spawned) < count and not self.ended:
                self._receive()

    def proceed(self) -> None:
        """Let the paused plan go on; a helper that is gone shows at the next wait."""
        self.dialogue.proceeded()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._sock.send(native.PROCEED)

    def interrupt(self) -> None:
        """Make the thread that waits see the end of file; from any thread.

        The helper sees it too.  Only for when all its processes were announced: nobody would ever
        know of one announced later.
        """
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    async def readable(self) -> None:
        """Wait on the loop, while no thread does, until something can be read."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._sock.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._sock.fileno())

    def close(self) -> None:
        """Close the socket, and what came and nobody took: a helper that waits on it ends itself."""
        self._sock.close()
        handed, self.dialogue.handed = self.dialogue.handed, None
        if handed is not None:
            handed.close()

    def _until(self, reached: Callable[[], bool], missing: str) -> None:
        while not reached():
            if self._failure is not None:
                raise self._failure
            if self.ended:
                raise HelperError(f"the helper ended {missing}")
            self._receive()
        if self._failure is not None:
            raise self._failure

    def _receive(self) -> None:
        """Read one message, or the end of file."""
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(
                native.REPLY_SPACE, _FDS_SPACE, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:  # the peer went with a message unread: the end all the same
            self.ended = True
            return
        fds = _descriptors(ancillary)
        if not data and not fds:
            self.ended = True
            return
        try:
            self._take(data, fds, flags)
        except ContainerError as exc:
            self._failure = self._failure or exc

    def _take(self, data: bytes, fds: list[int], flags: int) -> None:
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            for fd in fds:
                os.close(fd)
            raise HelperError("the helper sent more than a reply")
        self.dialogue.feed(native.decode_reply(data, fds))


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(data) - len(data) % 4
            fds += memoryview(data[:whole]).cast("i").tolist()
    return fds
