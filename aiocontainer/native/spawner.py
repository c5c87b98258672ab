"""The resident helper process, and requests to it."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
from typing import TYPE_CHECKING, Final

from .._aio import Closing, OwnedFd
from .._digest import blake2b
from ..errors import HelperError
from ._lib import ffi, lib
from .calls import wait_pidfd
from .wire import MAX_FDS, REPLY_SPACE, encode_spawn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Spawner"]

_HELPER: Final = os.path.join(os.path.dirname(__file__), "aiocontainer-helper")

# fcntl.F_SEAL_EXEC and os.MFD_EXEC are newer than Python 3.11; both are of Linux 6.3.
_F_SEAL_EXEC: Final = 0x20
_MFD_EXEC: Final = 0x10
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_EXIT_S: Final = 5.0


class Spawner(Closing):
    """One helper process, which clones containers as children of this process until `close`.

    Its death is noticed by the next `request`, or by `ended`.  Any thread may use it.
    """

    def __init__(self, control: socket.socket, pid: int, pidfd: OwnedFd) -> None:
        """Take over the control socket and the pidfd; use `start`."""
        self._control = control
        self._pidfd = pidfd
        self.pid = pid

    @classmethod
    def start(cls) -> Spawner:
        """Start the helper; `HelperError` if it is not the one that we were built with, or cannot run."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        pidfd = ffi.new("int *", -1)
        try:
            with theirs, _sealed_image() as image:
                pid: int = lib.lib_spawn_helper(image.fileno(), theirs.fileno(), pidfd)
            if pid < 0:
                raise HelperError(f"cannot start the helper: {os.strerror(-pid)}", errno=-pid)
        except BaseException:
            ours.close()
            raise
        return cls(ours, pid, OwnedFd(pidfd[0]))

    @property
    def pidfd(self) -> int:
        """The helper's pidfd; ValueError once closed."""
        return self._pidfd.fileno()

    @property
    def ended(self) -> bool:
        """Whether the helper is gone."""
        return self._pidfd.closed or _is_readable(self._pidfd.fileno(), 0)

    def fileno(self) -> int:
        """Return the control socket, which becomes writable when a request fits and hangs up at the end."""
        return self._control.fileno()

    def request(
        self,
        *,
        plan_fd: int,
        control: int,
        fds: Sequence[int],
        clone_flags: int,
        cgroup_fd: int = -1,
        owned: bool,
        own_network: bool = False,
    ) -> None:
        """Ask for one container process; the answers come on the other end of *control*.

        All descriptors stay the caller's.  *control* must be closed here afterwards, or its end of
        file is never seen.  *owned*: the container is killed when this process is gone.  *own_network*:
        it may be given a network namespace made beforehand.  Blocks only while the queue is full.
        """
        if len(fds) > MAX_FDS:
            raise HelperError(f"{len(fds)} descriptors to pass, at most {MAX_FDS}")
        first = [control, plan_fd] if cgroup_fd < 0 else [control, plan_fd, cgroup_fd]
        passed = array.array("i", [*first, *fds])
        flags = (
            (lib.SPAWN_INTO_CGROUP if cgroup_fd >= 0 else 0)
            | (lib.SPAWN_OWNED if owned else 0)
            | (lib.SPAWN_NETWORK if own_network else 0)
        )
        message = encode_spawn(flags, len(passed), clone_flags)
        try:
            self._control.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
        except (BrokenPipeError, ConnectionResetError) as exc:
            raise HelperError("the helper has ended", errno=exc.errno or 0) from exc
        except OSError as exc:  # ETOOMANYREFS: more descriptors under way than RLIMIT_NOFILE, unix(7)
            raise HelperError(f"cannot ask the helper: {exc.strerror}", errno=exc.errno or 0) from exc

    def adopt(self, pidfd: int) -> None:
        """Have a process killed, too, when this one is gone; *pidfd* stays the caller's.  Blocks briefly."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        with ours:
            with theirs:
                passed = array.array("i", [theirs.fileno(), pidfd])
                message = encode_spawn(lib.SPAWN_ADOPT, len(passed), 0)
                try:
                    self._control.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
                except OSError as exc:
                    raise HelperError(f"cannot ask the helper: {exc.strerror}", errno=exc.errno or 0) from exc
            answer = ours.recv(REPLY_SPACE)
        if answer or self.ended:  # it says only if it does not
            raise HelperError("the helper cannot own the process")

    def close(self) -> None:
        """Let the helper kill what it owns and end, and reap it.  A second call does nothing."""
        self._control.close()
        if self._pidfd.closed:
            return
        with self._pidfd:
            if not _is_readable(self._pidfd.fileno(), _EXIT_S):
                signal.pidfd_send_signal(self._pidfd.fileno(), signal.SIGKILL)
                _is_readable(self._pidfd.fileno(), _EXIT_S)
            # Where somebody waits for every child, or SIGCHLD is ignored, it is reaped already.
            with contextlib.suppress(ChildProcessError):
                wait_pidfd(self._pidfd.fileno())


def _is_readable(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(int(timeout_s * 1000)))


def _reopened(fd: int) -> OwnedFd:
    try:
        return OwnedFd(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as exc:  # no procfs; or not dumpable, after a change of user without an execve(2)
        raise HelperError(f"cannot look into /proc/self/fd: {exc.strerror}", errno=exc.errno or 0) from exc


def _sealed_image() -> OwnedFd:
    """Return a read-only descriptor of a sealed copy of the helper.

    Whoever gets hold of a helper's ``/proc/PID/exe`` finds a file that nobody can write, and that no
    other helper shares (CVE-2019-5736).
    """
    try:
        with open(_HELPER, "rb") as file:
            content = file.read()
    except OSError as exc:
        raise HelperError(f"{_HELPER}: {exc.strerror}", errno=exc.errno or 0) from exc
    if blake2b(content, digest_size=32).hexdigest().encode() != ffi.string(lib.lib_helper_digest):
        raise HelperError(f"{_HELPER} is not the helper that this library was built with")
    fd = lib.lib_sealed_memfd(
        b"aiocontainer", ffi.from_buffer(content), len(content), _MFD_EXEC, _F_SEAL_EXEC
    )
    if fd < 0:
        reason = "vm.memfd_noexec forbids it" if -fd == errno.EACCES else os.strerror(-fd)
        raise HelperError(f"cannot make an executable memfd: {reason}", errno=-fd)
    with OwnedFd(fd):
        # execve(2) refuses a file that is open for writing, and that includes this descriptor.
        image = _reopened(fd)
    if fcntl.fcntl(image.fileno(), fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        image.close()
        raise HelperError("the helper's memfd is not sealed")
    return image
