"""The state directory: what is known of each container, kept where other processes find it.

``<root>/<id>/`` is 0700 and holds ``record.json`` (what will be made, written before any of it is),
``config.json`` (the specification as it was at create), ``state.json`` (written anew at each change)
and, until start, ``gate``.  Names that begin with a dot are ours and never an id: ``.creating-*`` is
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
import re
import shutil
import socket
import stat
import time
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, NamedTuple, ParamSpec, Self, TypeVar

import msgspec
from msgspec import Meta, Struct

from .errors import ContainerError, ExistsError, NotFoundError, SpecError, StateCorruptError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

__all__ = [
    "CgroupRecord",
    "Identity",
    "Lock",
    "Record",
    "State",
    "Store",
    "StoreError",
    "boot_id",
    "check_id",
    "default_root",
    "identify",
    "namespace_inodes",
    "open_process",
    "timestamp",
]

VERSION: Final = 1
"""Of our files; raised only when an older reader would misunderstand a newer file."""

_RECORD: Final = "record.json"
_STATE: Final = "state.json"
_CONFIG: Final = "config.json"
_GATE: Final = "gate"
_CREATING: Final = ".creating-"
_DELETING: Final = ".deleting-"

_MAX_STATE_BYTES: Final = 1 << 20
_MAX_CONFIG_BYTES: Final = 8 << 20
_ATTEMPTS: Final = 16  # at a race with somebody who sweeps or deletes; each of them makes progress

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: somebody may have put a fifo there.
_OLD: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_ID: Final = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_+.-]{0,254}", re.ASCII)

T = TypeVar("T")
P = ParamSpec("P")


class StoreError(ContainerError, OSError):
    """The state directory could not be read or written; what it held before is still there."""

    def __init__(self, path: str, errno: int) -> None:
        super().__init__(errno, os.strerror(errno), path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.strerror}"


# What is kept ---------------------------------------------------------------------------------------

_Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Pid = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class CgroupRecord(Struct, frozen=True, kw_only=True):
    """The container's cgroup, as needed to find it again."""

    mode: str = "none"
    """Value of `plan.CgroupMode`."""
    paths: dict[str, str] = {}
    """Hierarchy to absolute directory."""
    made: dict[str, _Natural] = {}
    """Hierarchy to how many directories, from the last one up, we made and will remove."""


class Record(Struct, frozen=True, kw_only=True):
    """Names of everything outside that create is about to make, for whoever must clean up after it."""

    id: str
    bundle: str
    boot_id: str
    cgroup: CgroupRecord = CgroupRecord()
    version: int = VERSION

    def encode(self) -> bytes:
        """Give the contents of ``record.json``."""
        return msgspec.json.encode(self)


class State(Struct, frozen=True, kw_only=True):
    """What is known of a container that was created; its status is always found out anew."""

    id: str
    bundle: str
    oci_version: str
    created: str
    """RFC 3339 with nanoseconds, UTC."""
    owner: _Natural
    """uid of who created it."""
    boot_id: str
    """Of the boot that the process, the cgroup and the namespaces belong to."""
    pid: _Pid
    starttime: _Natural
    """Of that process, in clock ticks since boot: proc_pid_stat(5)."""
    pidfd_inode: _Natural = 0
    """Of its pidfd: unique where the kernel has pidfs (Linux 6.9), 0 when not known."""
    namespaces: dict[str, _Natural] = {}
    """OCI name to inode, of those that the container has for itself."""
    cgroup: CgroupRecord = CgroupRecord()
    rootless: bool = False
    annotations: dict[str, str] = {}
    config_sha256: str = ""
    facts: dict[str, Any] = {}
    """Whatever else the runtime must remember (keyring made, console, who owns the lifetime)."""
    version: int = VERSION
    unknown: dict[str, Any] = {}
    """Keys that a newer version wrote; kept when we write."""

    @property
    def identity(self) -> Identity:
        """Which process is the container's init."""
        return Identity(self.pid, self.starttime, self.boot_id, self.pidfd_inode)

    def encode(self) -> bytes:
        """Give the contents of ``state.json``."""
        document = msgspec.structs.asdict(self)
        return msgspec.json.encode(document.pop("unknown") | document)


_STATE_KEYS: Final = frozenset(State.__struct_fields__) - {"unknown"}


def decode_state(data: bytes, id: str, path: str) -> State:
    """Read back what `State.encode` gave for container *id*; StateCorruptError."""
    document = _decode_document(data, path)
    known = {key: value for key, value in document.items() if key in _STATE_KEYS}
    unknown = {key: value for key, value in document.items() if key not in _STATE_KEYS}
    state = _convert(known, State, path)
    if state.id != id:
        raise StateCorruptError(path, f"belongs to container {state.id!r}")
    return msgspec.structs.replace(state, unknown=unknown) if unknown else state


def decode_record(data: bytes, id: str, path: str) -> Record:
    """Read back what `Record.encode` gave for container *id*; StateCorruptError."""
    record = _convert(_decode_document(data, path), Record, path)
    if record.id != id:
        raise StateCorruptError(path, f"belongs to container {record.id!r}")
    return record


def _decode_document(data: bytes, path: str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
        raise StateCorruptError(path, str(exc)) from exc
    if not isinstance(document, dict):
        raise StateCorruptError(path, "is not an object")
    version = document.get("version")
    if version != VERSION or isinstance(version, bool):
        raise StateCorruptError(path, f"has version {version!r}, this is {VERSION}")
    return document


def _convert(document: dict[str, Any], type: type[T], path: str) -> T:
    try:
        return msgspec.convert(document, type)
    except msgspec.ValidationError as exc:
        raise StateCorruptError(path, str(exc)) from exc


def timestamp(now_ns: int | None = None) -> str:
    """Write a moment, by default now, as in RFC 3339 with nanoseconds, UTC."""
    seconds, fraction = divmod(time.time_ns() if now_ns is None else now_ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


# Who a process is -----------------------------------------------------------------------------------


class Identity(NamedTuple):
    """Tells a process from every other that had or will have the same number."""

    pid: int
    starttime: int
    boot_id: str
    pidfd_inode: int = 0


@functools.cache
def boot_id() -> str:
    """Name this boot of the machine: random(4)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def parse_stat(text: bytes) -> tuple[str, int]:
    """Find state letter and start time in ``/proc/<pid>/stat``.

    The command's name stands between the first "(" and the last ")" and may hold anything.
    """
    fields = text[text.rindex(b")") + 1 :].split()
    return fields[0].decode("ascii"), int(fields[19])


def identify(pid: int, pidfd: int) -> Identity:
    """Tell who the process is that *pidfd* holds, whose number is *pid*; not yet reaped."""
    return Identity(pid, _read_stat(pid)[1], boot_id(), os.fstat(pidfd).st_ino)


def open_process(identity: Identity) -> int | None:
    """Open a pidfd of that very process, the caller's to close; None when it has ended or is a zombie.

    The pidfd is opened first: what is compared afterwards is then the process that it holds, or one
    that came when that had ended, and such a pidfd reaches nobody.
    """
    if identity.pid <= 0 or identity.boot_id != boot_id():
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError as exc:
        # ESRCH: nobody; EINVAL, ENOENT: now the number of a thread.
        if exc.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        raise
    if _is_that(pidfd, identity):
        return pidfd
    os.close(pidfd)
    return None


def _is_that(pidfd: int, identity: Identity) -> bool:
    if identity.pidfd_inode not in (0, os.fstat(pidfd).st_ino):
        return False
    try:
        letter, starttime = _read_stat(identity.pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return starttime == identity.starttime and letter not in "ZXx"


def _read_stat(pid: int) -> tuple[str, int]:
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return parse_stat(os.read(fd, 4096))
    finally:
        os.close(fd)


_NAMESPACE_FILES: Final = (
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("time", "time"),
    ("user", "user"),
    ("uts", "uts"),
)


def namespace_inodes(pid: int) -> dict[str, int]:
    """Map OCI name to inode, for each namespace that process *pid* is in."""
    inodes = {}
    for name, file in _NAMESPACE_FILES:
        with contextlib.suppress(FileNotFoundError):  # a kernel without that type
            inodes[name] = os.stat(f"/proc/{pid}/ns/{file}").st_ino
    return inodes


# Where it is kept -----------------------------------------------------------------------------------


def check_id(id: str) -> None:
    """SpecError unless *id* can name a container: it becomes a file name, and a part of others."""
    if not _ID.fullmatch(id):
        raise SpecError("must be 1 to 255 of A-Z a-z 0-9 _ + - . and not begin with a dot", origin="id")


def default_root(program: str = "aiocontainer", *, rootless: bool | None = None) -> str:
    """Where the state goes when nobody said; *rootless* None means: unless we are root.

    ``$XDG_RUNTIME_DIR`` counts only if it is ours alone, since anybody may have set it.
    """
    euid = os.geteuid()
    if not (euid != 0 if rootless is None else rootless):
        return f"/run/{program}"
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime_dir):
        with contextlib.suppress(OSError):
            found = os.stat(runtime_dir)
            if stat.S_ISDIR(found.st_mode) and found.st_uid == euid and not found.st_mode & 0o022:
                return os.path.join(runtime_dir, program)
    return f"/tmp/{program}-{euid}"  # Store opens it only if it is a directory of ours and no link


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


class Store:
    """The state root, opened once.  Methods take the id first; `close()` or ``with`` ends it."""

    def __init__(self, root: str | None = None, *, make: bool = True) -> None:
        """Open *root*, or the default; without *make* a missing one is a StoreError (ENOENT)."""
        self.path = os.path.abspath(root) if root is not None else default_root()
        try:
            if make:
                _make_root(self.path)
            self._fd = os.open(self.path, _DIRECTORY)
        except OSError as exc:
            raise StoreError(self.path, exc.errno or 0) from exc
        try:
            _check_root(self._fd, self.path)
            self.sweep()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the root; a second call does nothing."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Coming and going -------------------------------------------------------------------------------

    @_on_container
    def create(self, id: str, record: bytes, config: bytes | None = None) -> Lock:
        """Make the directory with its write-ahead *record* and the frozen *config*; ExistsError.

        It appears under its name complete, and locked: a name without a record never exists, and
        nobody deletes what is still being created.  *record* is `Record.encode`.
        """
        temporary, fd = self._make_unnamed()
        try:
            _write_new(fd, _RECORD, record)
            if config is not None:
                _write_new(fd, _CONFIG, config)
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
                fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
            except FileNotFoundError:
                continue  # swept before we had the lock
            except BaseException:
                self._discard(name)
                raise
            if _try_flock(fd, fcntl.LOCK_EX) and self._is_named(fd, name):
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
        return [name for name in names if _ID.fullmatch(name)]

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
            fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        except FileNotFoundError:
            return
        with Lock(name, fd):
            if _try_flock(fd, fcntl.LOCK_EX):
                self._discard(name)

    def _discard(self, name: str) -> None:
        """Remove one of our dot names and all below it, also when somebody else is at it too."""
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        except FileNotFoundError:
            return
        except NotADirectoryError:
            os.unlink(name, dir_fd=self._fd)
            return
        try:
            for entry in os.listdir(fd):
                _unlink_entry(entry, fd)
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
                if not _try_flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
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
            fd = os.open(id, _DIRECTORY, dir_fd=self._fd)
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
        with _closing(self._open(id)) as fd:
            temporary = f".{_STATE}.{os.urandom(4).hex()}"
            try:
                _write_new(fd, temporary, data)
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
            with _closing(self._open(id)) as fd:
                data = _read_old(fd, name, path, limit_bytes)
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
            with _closing(self._open(id)) as fd:
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
            with _closing(self._open(id)) as fd:
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


# Files ----------------------------------------------------------------------------------------------


def _make_root(path: str) -> None:
    """Make the root, 0700 whatever the umask, and what is missing above it."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_root(os.path.dirname(path))
        os.mkdir(path, 0o700)
    # Sticky for an ordinary user: cleaners of $XDG_RUNTIME_DIR and /tmp leave such alone.
    # XDG Base Directory Specification.
    os.chmod(path, 0o700 if os.geteuid() == 0 else 0o1700)


def _check_root(fd: int, path: str) -> None:
    found = os.fstat(fd)
    if os.path.samestat(found, os.stat("/")):
        raise SpecError("the state of containers cannot be kept in /", origin="root")
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise SpecError(f"{path} must be ours, and writable by nobody else", origin="root")


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _try_flock(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_new(dirfd: int, name: str, data: bytes) -> None:
    """Make a file of *data*, on disk when this returns."""
    fd = os.open(name, _NEW, 0o600, dir_fd=dirfd)
    try:
        os.fchmod(fd, 0o600)  # whatever the umask took
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _read_old(dirfd: int, name: str, path: str, limit_bytes: int) -> bytes | None:
    """Read a file whole; None when there is none, StateCorruptError when it cannot be ours."""
    try:
        fd = os.open(name, _OLD, dir_fd=dirfd)
    except FileNotFoundError:
        return None
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise StateCorruptError(path, "is not a regular file") from exc
        raise
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise StateCorruptError(path, "is not a regular file")
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise StateCorruptError(path, "belongs to another user, or others may write it")
        if found.st_size > limit_bytes:
            raise StateCorruptError(path, f"is larger than {limit_bytes} bytes")
        return os.read(fd, limit_bytes)
    finally:
        os.close(fd)


def _unlink_entry(name: str, dirfd: int) -> None:
    try:
        os.unlink(name, dir_fd=dirfd)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        shutil.rmtree(name, ignore_errors=True, dir_fd=dirfd)


def _seqpacket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _gate_address(dirfd: int) -> str:
    """Keep it short whatever the root's path: sun_path has 108 bytes, unix(7)."""
    return f"/proc/self/fd/{dirfd}/{_GATE}"
