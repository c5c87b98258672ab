"""One ``criu swrk``: its process, the socket to it, and the dialogue over that.

A request is followed by any number of notices, each of which CRIU waits to have answered, and by one
answer.  Each is a message of its own (SOCK_SEQPACKET); a descriptor may come with a notice.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import shutil
import signal
import socket
from typing import TYPE_CHECKING, Final, TypeAlias

from .. import native
from .._aio import OwnedFd, finish, in_thread
from ..errors import CriuError, UnsupportedError
from .messages import Kind, Response, decode_response, encode_request, load_protobuf

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .messages import Notice

__all__ = ["INHERITED", "Attend", "Swrk"]

Attend: TypeAlias = "Callable[[Notice, OwnedFd | None], Awaitable[object]]"
"""Is told of a notice, and owns the descriptor that came with it.  What it raises refuses the notice."""

INHERITED: Final = 4
"""Number that the first of the descriptors has in CRIU which are passed beside its socket."""

_SOCKET: Final = 3
_MAX_ANSWER: Final = 1 << 20
_MAX_FDS: Final = 8
_OUTPUT_BYTES: Final = 1 << 16
_GRACE_S: Final = 30.0
"""What CRIU may take to undo what it has begun when it is refused, before it is killed."""
_END_S: Final = 10.0


class Swrk:
    """A worker of CRIU, for one request that matters; `close` ends it."""

    def __init__(self, pid: int, pidfd: OwnedFd, ours: socket.socket, output: OwnedFd) -> None:
        """Take over everything; use `start`."""
        self.pid = pid
        self._pidfd = pidfd
        self._socket = ours
        self._output = output
        self._refused: BaseException | None = None
        self.answer: Response | None = None
        """The last one, also where nobody waited for it any more."""

    @classmethod
    async def start(
        cls,
        program: str,
        *,
        fds: Sequence[int] = (),
        mounts: int = -1,
        keyring: str | None = None,
        permissions: int = 0,
    ) -> Swrk:
        """Start *program*, with *fds* from `INHERITED` on; they stay the caller's.

        *mounts*, *keyring* and *permissions* as in `native.start_worker`.  `UnsupportedError` where CRIU or
        protobuf is missing.
        """
        return await in_thread(
            lambda: cls._start(program, fds, mounts, keyring, permissions), undo=lambda made: made.destroy()
        )

    @classmethod
    def _start(
        cls, program: str, fds: Sequence[int], mounts: int, keyring: str | None, permissions: int
    ) -> Swrk:
        load_protobuf()
        path = shutil.which(program)
        if path is None:
            raise UnsupportedError("checkpoint and restore", needs=f"CRIU: there is no program {program!r}")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        ours.setblocking(False)
        output = OwnedFd(os.memfd_create("criu", os.MFD_CLOEXEC))
        try:
            with theirs, OwnedFd(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)) as nothing:
                streams = (nothing.fileno(), output.fileno(), output.fileno(), theirs.fileno())
                pid, pidfd = native.start_worker(
                    path,
                    [program, "swrk", str(_SOCKET)],
                    [f"{name}={value}" for name, value in os.environ.items() if name in _KEPT],
                    [*streams, *fds],
                    namespace=mounts,
                    keyring=keyring,
                    permissions=permissions,
                )
        except (OSError, ValueError) as exc:
            ours.close()
            output.close()
            raise CriuError("starting CRIU", str(exc)) from exc
        return cls(pid, OwnedFd(pidfd), ours, output)

    # The dialogue -----------------------------------------------------------------------------------

    async def ask(self, request: bytes, attend: Attend | None = None) -> Response:
        """Send *request*, let *attend* answer each notice, and return the answer; `CriuError`.

        Cancelled, the next notice is refused, so that CRIU undoes what it has begun, and its answer is
        waited for; where that does not come in time, it is killed.
        """
        talking = asyncio.ensure_future(self._talk(request, attend))
        try:
            return await asyncio.shield(talking)
        except asyncio.CancelledError as exc:
            self._refused = exc
            await finish(lambda: self._settle(talking))
            raise

    async def _settle(self, talking: asyncio.Future[Response]) -> None:
        await asyncio.wait([talking], timeout=_GRACE_S)
        if not talking.done():
            self.kill()
            await asyncio.wait([talking])
        talking.cancelled() or talking.exception()  # seen

    async def _talk(self, request: bytes, attend: Attend | None) -> Response:
        await self._send(request)
        while True:
            response, fd = await self._receive()
            if response.kind != Kind.NOTIFY:
                if fd is not None:
                    fd.close()
                self.answer = response
                if self._refused is not None and not response.success:
                    raise self._refused
                return response
            accepted = await self._attend(response, fd, attend)
            await self._send(encode_request(Kind.NOTIFY, notify_success=accepted))

    async def _attend(self, response: Response, fd: OwnedFd | None, attend: Attend | None) -> bool:
        if self._refused is None and attend is not None and response.notice is not None:
            try:
                await attend(response.notice, fd)
                fd = None
                await asyncio.sleep(
                    0
                )  # whoever was cancelled meanwhile refuses this notice, not only the next
            except Exception as exc:  # noqa: BLE001 - raised when CRIU has undone everything
                self._refused = exc
        if fd is not None:
            fd.close()
        return self._refused is None

    async def _send(self, data: bytes) -> None:
        while True:
            try:
                self._socket.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await self._ready(write=True)
            except OSError as exc:
                raise await self._died(exc) from exc
            else:
                return

    async def _receive(self) -> tuple[Response, OwnedFd | None]:
        data, fds = b"", list[OwnedFd]()
        while not data:
            await self._ready(write=False)
            try:
                data, fds = _take(self._socket)
            except BlockingIOError:
                continue
            except OSError as exc:
                raise await self._died(exc) from exc
            if not data:
                raise await self._died(None)
        for each in fds[1:]:
            each.close()
        try:
            return decode_response(data), fds[0] if fds else None
        except BaseException:
            for each in fds[:1]:
                each.close()
            raise

    async def _ready(self, *, write: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        fd = self._socket.fileno()
        add, remove = (
            (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
        )
        add(fd, _settle, ready)
        try:
            await ready
        finally:
            remove(fd)

    async def _died(self, exc: OSError | None) -> BaseException:
        """Say how CRIU ended, where it hung up instead of answering; or raise why it was made to."""
        ended = await self._wait(_END_S)
        if self._refused is not None:
            return self._refused
        if ended is None:
            how = "hung up without an answer" if exc is None else str(exc)
        elif ended.signal is not None:
            how = f"was killed by signal {ended.signal}"
        else:
            how = f"ended with status {ended.code} and without an answer"
        return CriuError("talking to CRIU", f"it {how}", self.output())

    # The process ------------------------------------------------------------------------------------

    def output(self) -> list[str]:
        """Return the end of what it has written to its standard streams, by lines."""
        size = os.fstat(self._output.fileno()).st_size
        data = os.pread(self._output.fileno(), _OUTPUT_BYTES, max(0, size - _OUTPUT_BYTES))
        return data.decode(errors="backslashreplace").splitlines()

    def kill(self) -> None:
        """Send it SIGKILL."""
        if not self._pidfd.closed:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd.fileno(), signal.SIGKILL)

    async def _wait(self, timeout_s: float) -> native.Exit | None:
        """Reap it once it has ended; None where it has not in time, or nobody can tell how."""
        if self._pidfd.closed:
            return None
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._pidfd.fileno(), ended.set)
        try:
            async with asyncio.timeout(timeout_s):
                await ended.wait()
        except TimeoutError:
            return None
        finally:
            loop.remove_reader(self._pidfd.fileno())
        return self._reap()

    def _reap(self) -> native.Exit | None:
        with self._pidfd as pidfd, contextlib.suppress(ChildProcessError):
            return native.wait_pidfd(pidfd.fileno())
        return None

    async def close(self) -> None:
        """Hang up, and wait for its end; it is killed where that does not come."""
        await finish(self._close)

    async def _close(self) -> None:
        self._socket.close()
        await self._wait(_END_S)
        if not self._pidfd.closed:
            self.kill()
            await self._wait(_END_S)
        self._pidfd.close()
        self._output.close()

    def destroy(self) -> None:
        """Kill it and wait, in a thread: nobody has asked it for anything yet."""
        self._socket.close()
        self.kill()
        with self._pidfd as pidfd, contextlib.suppress(ChildProcessError, OSError):
            os.waitid(os.P_PIDFD, pidfd.fileno(), os.WEXITED)
        self._output.close()


_KEPT: Final = frozenset({"PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "CRIU_CONFIG_FILE"})
"""Of the environment.  What is restored has its own."""


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _take(sock: socket.socket) -> tuple[bytes, list[OwnedFd]]:
    """Read one message and what came with it; BlockingIOError."""
    size = socket.CMSG_SPACE(_MAX_FDS * array.array("i").itemsize)
    data, ancillary, flags, _ = sock.recvmsg(_MAX_ANSWER, size, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    owned = [OwnedFd(fd) for fd in fds]
    if flags & socket.MSG_TRUNC:
        for each in owned:
            each.close()
        raise CriuError("talking to CRIU", f"its answer is longer than {_MAX_ANSWER} bytes")
    return data, owned
