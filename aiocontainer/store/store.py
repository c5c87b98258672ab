"""The state directory: what is known of each container, kept where other processes find it.

``<root>/<id>/`` is 0700 and holds ``record.json`` (what will be made, written before any of it is),
``config.json`` (the specification as it was at create), ``state.json`` (written anew at each change)
and, until start, ``gate``; ``notify/`` is shown to the container, with a socket in it
while somebody listens.  Names that begin with a dot are ours and never an id: ``.creating-*`` is
a directory being filled, ``.deleting-*`` one being emptied.

All calls block, briefly, and are made for one hop to a thread.  Everything is reached from one
descriptor of the root, so that moving the root or swapping a link in its path changes nothing.
security.md invariants 33-35.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import socket
import stat
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, Self, TypeVar

from .. import native
from .._aio import Closing, OwnedFd
from ..errors import ContainerError, ExistsError, NotFoundError, SpecError, StateCorruptError, StateError
from ..spec.ids import check_id
from .documents import decode_record, decode_state
from .files import (
    DIRECTORY,
    check_root,
    closing,
    default_root,
    make_root,
    read_old,
    try_flock,
    unlink_entry,
    write_new,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .documents import Record, State

__all__ = ["Lock", "Store", "StoreError"]

_RECORD: Final = "record.json"
_STATE: Final = "state.json"
_CONFIG: Final = "config.json"
_GATE: Final = "gate"
_NOTIFY: Final = "notify"
_NOTIFY_SOCKET: Final = "notify.sock"
_CREATING: Final = ".creating-"
_DELETING: Final = ".deleting-"

_MAX_STATE_BYTES: Final = 1 << 20
_MAX_CONFIG_BYTES: Final = 8 << 20
_ATTEMPTS: Final = 16  # at a race with somebody who sweeps or deletes; each of them makes progress

T = TypeVar("T")
P = ParamSpec("P")


class StoreError(ContainerError, OSError):
    """The state directory could not be read or written; what it held before is still there."""

    def __init__(self, path: str, errno: int) -> None:
        super().__init__(errno, os.strerror(errno), path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.strerror}"


class Lock:
    """The right to change one container, or with others to look at it: flock(2) on its directory.

    Given back by `release()` or ``with``; the kernel does it for a process that dies.
    """

    def __init__(self, id: str, fd: int) -> None:
        self.id = id
        self._fd = fd

    def release(self) -> None:
        """Let others have it; a second call does nothing."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                # Not by close alone: a child forked by somebody else may hold a copy.
                fcntl.flock(fd, fcntl.LOCK_UN)
            finally:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


def _on_container(
    method: Callable[Concatenate[Store, str, P], T],
) -> Callable[Concatenate[Store, str, P], T]:
    """Check the id, and give system errors their type."""

    @functools.wraps(method)
    def checked(self: Store, id: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
        check_id(id)
        try:
            return method(self, id, *args, **kwargs)
        except ContainerError:
            raise
        except OSError as exc:
            raise StoreError(f"{self.path}/{id}", exc.errno or 0) from exc

    return checked


class Store(Closing):
    """The state root, opened once.  Methods take the id first; `close()` or ``with`` ends it."""

    def __init__(self, root: str | None = None, *, make: bool = True) -> None:
        """Open *root*, or the default; without *make* a missing one is a StoreError (ENOENT)."""
        self.path: str = os.path.abspath(root) if root is not None else default_root()
        try:
            if make:
                make_root(self.path)
            self._fd = os.open(self.path, DIRECTORY)
        except OSError as exc:
            raise StoreError(self.path, exc.errno or 0) from exc
        try:
            check_root(self._fd, self.path)
            self.in_memory: bool = native.is_in_memory(self._fd)
            """Its calls wait for no disk: each takes microseconds."""
            self.sweep()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the root; a second call does nothing."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def open_directory(self, id: str | None = None) -> OwnedFd:
        """Open the root, or the directory of a container, to be watched; NotFoundError."""
        return OwnedFd(os.dup(self._fd) if id is None else self._open(check_id(id)))

    # Coming and going -------------------------------------------------------------------------------

    @_on_container
    def create(self, id: str, record: bytes, config: bytes | None = None) -> Lock:
        """Make the directory with its write-ahead *record* and the frozen *config*; ExistsError.

        It appears under its name complete, and locked: a name without a record never exists, and
        nobody deletes what is still being created.  *record* is `Record.encode`.
        """
        temporary, fd = self._make_unnamed()
        try:
            write_new(fd, _RECORD, record)
            if config is not None:
                write_new(fd, _CONFIG, config)
            os.fsync(fd)
            try:
                # Replaces an empty directory at most, and ours are never empty.
                os.rename(temporary, id, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            except (FileExistsError, NotADirectoryError) as exc:
                raise ExistsError(id) from exc
            except OSError as exc:
                if exc.errno == errno.ENOTEMPTY:
                    raise ExistsError(id) from exc
                raise
            os.fsync(self._fd)
        except BaseException:
            os.close(fd)
            self._discard(temporary)
            raise
        return Lock(id, fd)

    def _make_unnamed(self) -> tuple[str, int]:
        """Make a directory that is locked, and so not swept: its name and descriptor."""
        for _ in range(_ATTEMPTS):
            name = _CREATING + os.urandom(8).hex()
            os.mkdir(name, 0o700, dir_fd=self._fd)
            try:
                os.chmod(name, 0o700, dir_fd=self._fd)  # whatever the umask took
                fd = os.open(name, DIRECTORY, dir_fd=self._fd)
            except FileNotFoundError:
                continue  # swept before we had the lock
            except BaseException:
                self._discard(name)
                raise
            if try_flock(fd, fcntl.LOCK_EX) and self._is_named(fd, name):
                return name, fd
            os.close(fd)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    @_on_container
    def remove(self, id: str) -> None:
        """Forget the container; NotFoundError.  Needs its lock.  Killed half-way, `sweep` goes on."""
        tombstone = _DELETING + os.urandom(8).hex()
        try:
            os.rename(id, tombstone, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except FileNotFoundError as exc:
            raise NotFoundError(id) from exc
        self._discard(tombstone)

    def ids(self) -> list[str]:
        """Every container that is here, sorted; those of interrupted creations too."""
        names = sorted(os.listdir(self._fd))
        if names and names[0].startswith("."):
            self.sweep()
        return [name for name in names if _is_id(name)]

    def sweep(self) -> None:
        """Remove what processes left that were killed while creating or deleting."""
        for name in os.listdir(self._fd):
            if name.startswith(_DELETING):
                self._discard(name)
            elif name.startswith(_CREATING):
                self._discard_abandoned(name)

    def _discard_abandoned(self, name: str) -> None:
        """Remove a directory that nobody is filling.  Under its lock: nobody begins meanwhile."""
        try:
            fd = os.open(name, DIRECTORY, dir_fd=self._fd)
        except FileNotFoundError:
            return
        with Lock(name, fd):
            if try_flock(fd, fcntl.LOCK_EX):
                self._discard(name)

    def _discard(self, name: str) -> None:
        """Remove one of our dot names and all below it, also when somebody else is at it too."""
        try:
            fd = os.open(name, DIRECTORY, dir_fd=self._fd)
        except FileNotFoundError:
            return
        except NotADirectoryError:
            os.unlink(name, dir_fd=self._fd)
            return
        try:
            for entry in os.listdir(fd):
                unlink_entry(entry, fd)
        finally:
            os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=self._fd)

    # Locks ------------------------------------------------------------------------------------------

    @_on_container
    def lock(self, id: str, *, shared: bool = False) -> Lock | None:
        """Take the container's lock; None when somebody else has it: try again later; NotFoundError.

        Who gets it holds it on the directory that has the name now, not on a namesake deleted since.
        """
        for _ in range(_ATTEMPTS):
            fd = self._open(id)
            try:
                if not try_flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
                    os.close(fd)
                    return None
                if self._is_named(fd, id):
                    return Lock(id, fd)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        return None

    def _is_named(self, fd: int, id: str) -> bool:
        try:
            named = os.stat(id, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return named.st_ino == os.fstat(fd).st_ino

    def _open(self, id: str) -> int:
        """Open the container's directory; the caller closes it."""
        path = f"{self.path}/{id}"
        try:
            fd = os.open(id, DIRECTORY, dir_fd=self._fd)
        except FileNotFoundError as exc:
            raise NotFoundError(id) from exc
        except OSError as exc:
            if exc.errno in (errno.ENOTDIR, errno.ELOOP):
                raise StateCorruptError(path, "is not a directory") from exc
            raise
        if os.fstat(fd).st_uid != os.geteuid():
            os.close(fd)
            raise StateCorruptError(path, "belongs to another user")
        return fd

    # Documents --------------------------------------------------------------------------------------

    @_on_container
    def save(self, id: str, state: State) -> None:
        """Replace the state, atomically and durably.  Needs the lock."""
        data = state.encode()
        with closing(self._open(id)) as fd:
            temporary = f".{_STATE}.{os.urandom(4).hex()}"
            try:
                write_new(fd, temporary, data)
                os.rename(temporary, _STATE, src_dir_fd=fd, dst_dir_fd=fd)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=fd)
                raise
            os.fsync(fd)

    @_on_container
    def load(self, id: str, *, lock: Lock | None = None) -> State:
        """Read the state; NotFoundError, StateCorruptError, or StateError while it is being created.

        With the exclusive *lock* in hand it is known that nobody creates it.
        """
        path = f"{self.path}/{id}/{_STATE}"
        data = self._read(id, _STATE, path, _MAX_STATE_BYTES)
        creating = False
        if data is None and lock is None:
            # Whoever creates it has the lock.  It may just have saved and gone.
            creating = self._is_locked(id)
            data = self._read(id, _STATE, path, _MAX_STATE_BYTES)
        if data is None and creating:
            raise StateError("use", status="creating", id=id)
        if data is None:
            raise StateCorruptError(path, "is missing: the creation was interrupted")
        return decode_state(data, id, path)

    @_on_container
    def load_record(self, id: str) -> Record:
        """Read what creating it was going to make, enough for a forced deletion; StateCorruptError."""
        path = f"{self.path}/{id}/{_RECORD}"
        return decode_record(self._read_present(id, _RECORD, path, _MAX_STATE_BYTES), id, path)

    @_on_container
    def save_config(self, id: str, config: bytes) -> None:
        """Write the specification as it is at create, where `create` did not.  Needs the lock."""
        with closing(self._open(id)) as fd:
            write_new(fd, _CONFIG, config)

    @_on_container
    def load_config(self, id: str) -> bytes:
        """Read the specification as it was at create; StateCorruptError."""
        return self._read_present(id, _CONFIG, f"{self.path}/{id}/{_CONFIG}", _MAX_CONFIG_BYTES)

    def _read_present(self, id: str, name: str, path: str, limit_bytes: int) -> bytes:
        data = self._read(id, name, path, limit_bytes)
        if data is None:
            raise StateCorruptError(path, "is missing")
        return data

    def _read(self, id: str, name: str, path: str, limit_bytes: int) -> bytes | None:
        """Read one of the container's files; None when it has none, not when it is being deleted."""
        for _ in range(_ATTEMPTS):
            with closing(self._open(id)) as fd:
                data = read_old(fd, name, path, limit_bytes)
                if data is not None or self._is_named(fd, id):
                    return data
        raise NotFoundError(id)

    def _is_locked(self, id: str) -> bool:
        lock = self.lock(id, shared=True)
        if lock is not None:
            lock.release()
        return lock is None

    # The start gate ---------------------------------------------------------------------------------

    def gate_path(self, id: str) -> str:
        """Tell people where the gate is: it can be longer than a socket's address may be."""
        return f"{self.path}/{id}/{_GATE}"

    @_on_container
    def bind_gate(self, id: str) -> socket.socket:
        """Make the listening gate, for the container to inherit."""
        gate = _seqpacket()
        try:
            with closing(self._open(id)) as fd:
                gate.bind(_gate_address(fd))
                os.chmod(_GATE, 0o600, dir_fd=fd)  # whatever the umask is
            gate.listen(1)
            gate.setblocking(True)  # the helper, whose it will be, waits in accept(2)
        except BaseException:
            gate.close()
            raise
        return gate

    @_on_container
    def connect_gate(self, id: str) -> socket.socket:
        """Knock at the gate of a created container: a connection, not blocking.

        StoreError with errno ENOENT: it was started already; ECONNREFUSED: nobody listens, it is dead;
        EAGAIN: others knock at this moment.
        """
        peer = _seqpacket()
        try:
            with closing(self._open(id)) as fd:
                peer.connect(_gate_address(fd))
        except BaseException:
            peer.close()
            raise
        return peer

    @_on_container
    def has_gate(self, id: str) -> bool:
        """Whether the container waits to be started, if it lives."""
        try:
            found = os.stat(f"{id}/{_GATE}", dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISSOCK(found.st_mode)

    @_on_container
    def unlink_gate(self, id: str) -> None:
        """Close the gate for good: it is started.  No error when there is none."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{id}/{_GATE}", dir_fd=self._fd)

    # The socket for sd_notify(3) ---------------------------------------------------------------------

    def notify_place(self, id: str) -> tuple[str, str]:
        """Return the directory that the container is shown, and the name of the socket in it."""
        return f"{self.path}/{check_id(id)}/{_NOTIFY}", _NOTIFY_SOCKET

    @_on_container
    def make_notify(self, id: str) -> None:
        """Make the directory, which is for everybody in the container.  Needs the lock."""
        with closing(self._open(id)) as fd:
            os.mkdir(_NOTIFY, 0o755, dir_fd=fd)
            os.chmod(_NOTIFY, 0o755, dir_fd=fd)  # whatever the umask took

    @_on_container
    def bind_notify(self, id: str) -> socket.socket | None:
        """Listen there, not blocking; None for a container that was created without such a directory."""
        with closing(self._open(id)) as above:
            try:
                fd = os.open(_NOTIFY, DIRECTORY, dir_fd=above)
            except FileNotFoundError:
                return None
            with closing(fd):
                return _bound_for_all(fd, _NOTIFY_SOCKET)

    @_on_container
    def unlink_notify(self, id: str) -> None:
        """Remove the socket's name.  No error when there is none, or no container."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{id}/{_NOTIFY}/{_NOTIFY_SOCKET}", dir_fd=self._fd)


def _bound_for_all(dirfd: int, name: str) -> socket.socket:
    """Make a socket for messages that anybody may send who sees the directory."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=dirfd)
        made.bind(f"/proc/self/fd/{dirfd}/{name}")
        # By a descriptor that is no link's, whoever may have got at the directory.
        with closing(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dirfd)) as fd:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
            os.chmod(f"/proc/self/fd/{fd}", 0o777)  # whatever the umask is
    except BaseException:
        made.close()
        raise
    return made


def _is_id(name: str) -> bool:
    try:
        check_id(name)
    except SpecError:
        return False
    return True


def _seqpacket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _gate_address(dirfd: int) -> str:
    """Keep it short whatever the root's path: sun_path has 108 bytes, unix(7)."""
    return f"/proc/self/fd/{dirfd}/{_GATE}"
