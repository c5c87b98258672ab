"""Calls that a filter asks about, as an asynchronous stream of requests.  seccomp_unotify(2)."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import struct
from typing import TYPE_CHECKING, Final

from .. import native
from .._aio import Closing, OwnedFd, in_thread
from .._tuples import NamedTuple
from ..errors import RequestGoneError, SpecError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["SeccompNotifications", "SeccompRequest"]

# <linux/seccomp.h>: struct seccomp_notif, seccomp_notif_resp, seccomp_notif_addfd; ioctl(2) numbers.
_REQUEST: Final = struct.Struct("=QIIiIQ6Q")
_ANSWER: Final = struct.Struct("=QqiI")
_ADD_FD: Final = struct.Struct("=QIIII")
_ID: Final = struct.Struct("=Q")
_READ_WRITE: Final = 3 << 30
_WRITE: Final = 1 << 30


def _ioctl(direction: int, number: int, size: int) -> int:
    return direction | size << 16 | ord("!") << 8 | number


_RECEIVE: Final = _ioctl(_READ_WRITE, 0, _REQUEST.size)
_SEND: Final = _ioctl(_READ_WRITE, 1, _ANSWER.size)
_IS_VALID: Final = _ioctl(_WRITE, 2, _ID.size)
_ADD: Final = _ioctl(_WRITE, 3, _ADD_FD.size)

_CONTINUE: Final = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_SET_NUMBER: Final = 1  # SECCOMP_ADDFD_FLAG_SETFD
_AND_ANSWER: Final = 2  # SECCOMP_ADDFD_FLAG_SEND
_MAX_ERRNO: Final = 4095


class _Data(NamedTuple):
    id: int
    pid: int
    number: int
    arch: int
    instruction_pointer: int
    args: tuple[int, ...]


class SeccompRequest:
    """One call that waits for an answer: exactly one of `continue_`, `errno`, `value`, or `add_fd` with it.

    Pointers among `args` are addresses of the process.  What they point to can change at any time,
    also after it was checked: never allow a call by them.  `RequestGoneError` where nobody waits any
    more, because the process was killed or interrupted.
    """

    def __init__(self, listener: OwnedFd, data: _Data) -> None:
        self._listener = listener
        self._id = data.id
        self.pid: int = data.pid
        """Of the thread that calls, in our pid namespace; 0 if it is not visible there."""
        self.number: int = data.number
        self.arch: int = data.arch
        """AUDIT_ARCH_*: numbers mean different calls on different ones."""
        self.args: tuple[int, ...] = data.args
        self.instruction_pointer: int = data.instruction_pointer

    @property
    def name(self) -> str | None:
        """The call's name; None if libseccomp does not know it."""
        return native.call_name(self.number, self.arch)

    @property
    def is_valid(self) -> bool:
        """Whether the call still waits; ask after looking at the process and before believing what was seen.

        Otherwise its pid may by then have been another process's.
        """
        try:
            fcntl.ioctl(self._listener.fileno(), _IS_VALID, _ID.pack(self._id))
        except (OSError, ValueError):
            return False
        return True

    async def continue_(self) -> None:
        """Let the kernel execute the call.  No security decision: the arguments may change meanwhile."""
        self._answer(0, 0, _CONTINUE)

    async def errno(self, code: int) -> None:
        """Let the call fail."""
        if not 0 < code <= _MAX_ERRNO:
            raise SpecError(f"{code} is no errno", origin="errno")
        self._answer(0, -code, 0)

    async def value(self, value: int) -> None:
        """Let the call return *value*, and do nothing."""
        self._answer(value, 0, 0)

    async def add_fd(
        self, fd: int, *, number: int | None = None, close_on_exec: bool = False, answer: bool = False
    ) -> int:
        """Give the process a copy of *fd*, under *number* or a free one, which is returned.

        With *answer* the call returns that number, in the same moment.
        """
        flags = (_SET_NUMBER if number is not None else 0) | (_AND_ANSWER if answer else 0)
        target_flags = os.O_CLOEXEC if close_on_exec else 0
        order = _ADD_FD.pack(self._id, flags, fd, number or 0, target_flags)
        # The process itself does it, once it is scheduled: a frozen one is not.
        return await in_thread(lambda: self._ioctl(_ADD, order))

    def _answer(self, value: int, error: int, flags: int) -> None:
        self._ioctl(_SEND, _ANSWER.pack(self._id, value, error, flags))

    def _ioctl(self, request: int, data: bytes) -> int:
        try:
            result: int = fcntl.ioctl(self._listener.fileno(), request, bytearray(data), True)
        except ValueError:
            raise RequestGoneError(self.pid, self.number) from None
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.EINPROGRESS):
                raise RequestGoneError(self.pid, self.number) from exc
            raise
        return result

    def __repr__(self) -> str:
        return f"<SeccompRequest {self.number} of {self.pid}>"


class SeccompNotifications(Closing):
    """All requests of one container, of its init and of what exec added; to be iterated.

    The stream ends when no process is left that could ask, or with `close`.  A request that is dropped
    without an answer lets its process wait until then; afterwards it gets ENOSYS.
    """

    def __init__(self) -> None:
        """Belongs to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._listeners: list[OwnedFd] = []
        self._changed: asyncio.Future[None] | None = None
        self._watched: list[int] = []
        self._ended = False
        self._turn = asyncio.Lock()

    def add(self, listener: OwnedFd) -> None:
        """Take over one more listener; from any thread."""
        self._loop.call_soon_threadsafe(self._add, listener)

    def close(self) -> None:
        """End the stream; whoever waits for an answer gets ENOSYS."""
        self._ended = True
        self._unwatch()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._wake()

    def __aiter__(self) -> AsyncIterator[SeccompRequest]:
        return self

    async def __anext__(self) -> SeccompRequest:
        async with self._turn:
            while not self._ended:
                request = self._receive()
                if request is not None:
                    return request
                if not self._ended:
                    await self._wait()
        raise StopAsyncIteration

    def _add(self, listener: OwnedFd) -> None:
        if self._ended:
            listener.close()
            return
        self._listeners.append(listener)
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _receive(self) -> SeccompRequest | None:
        """Take one request that is there, without waiting; let go of listeners that nobody asks any more."""
        for listener in tuple(self._listeners):
            events = _ready(listener)
            if events & select.POLLIN:
                data = _received(listener)
                if data is not None:
                    return SeccompRequest(listener, data)
            elif events:
                self._listeners.remove(listener)
                listener.close()
                self._ended = not self._listeners
        return None

    async def _wait(self) -> None:
        """Wait until a listener has something to say, or another one comes."""
        self._changed = self._loop.create_future()
        for listener in self._listeners:
            self._watched.append(listener.fileno())
            self._loop.add_reader(listener.fileno(), self._wake)
        try:
            await self._changed
        finally:
            self._changed = None
            self._unwatch()

    def _unwatch(self) -> None:
        while self._watched:
            self._loop.remove_reader(self._watched.pop())


def _ready(listener: OwnedFd) -> int:
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    found = poll.poll(0)
    return found[0][1] if found else 0


def _received(listener: OwnedFd) -> _Data | None:
    """Receive what poll(2) has announced; None where the process is gone already."""
    data = bytearray(_REQUEST.size)
    try:
        fcntl.ioctl(listener.fileno(), _RECEIVE, data, True)
    except FileNotFoundError:
        return None
    id, pid, _, number, arch, instruction_pointer, *args = _REQUEST.unpack(data)
    return _Data(id, pid, number, arch, instruction_pointer, tuple(args))
