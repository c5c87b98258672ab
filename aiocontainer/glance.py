"""One look at a container, and one step, in a few system calls: what engines ask for most.

No event loop, and nothing is imported that would take longer than the calls: not even `errors`, each of
which is a builtin, too.  Only the ordinary case is known here.  Everything else is `Unusual`, raised while
nothing has been changed: the caller then goes the long way, by `Runtime`, which has the only copy of rules
and errors.
"""

from __future__ import annotations

import errno
import os
from sys import byteorder

from .store.files import DIRECTORY, check_root, default_root, read_old, try_flock, unlink_entry
from .store.living import boot_id, open_living

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any, Self

__all__ = ["Glance", "Unusual", "ids"]

_VERSION = 1  # store.documents.VERSION
_MAX_STATE_BYTES = 1 << 20
_MAX_REPLY = 8192
_ANSWER_S = 60.0
_ID = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")
_GONE = (errno.ENOENT, errno.ENODEV)
_SIGKILL = 9

# wire.h: WIRE_MAGIC, and behind it REPLY_PAUSED or WIRE_PROCEED.  A test compares them.
_PAUSED, _PROCEED = (
    b"".join(number.to_bytes(4, byteorder) for number in (0x6F696163, verb)) for verb in (2, 0x50524F43)
)


class Unusual(Exception):  # noqa: N818 - no error: there is a longer way
    """Not the ordinary case; nothing has been changed."""


def ids(root: str | None) -> list[str]:
    """List the containers below *root*, sorted."""
    fd = _open_root(root)
    try:
        names = sorted(os.listdir(fd))
    finally:
        os.close(fd)
    if not all(map(_is_id, names)):  # something to be swept
        raise Unusual
    return names


class Glance:
    """A container as its state describes it, and as it is at this moment: id, facts and `status`."""

    def __init__(self, root: str | None, id: str) -> None:
        """Look; `NotFoundError` where there is none."""
        if not _is_id(id):
            raise Unusual
        self.id: str = id
        self._pidfd = self._fd = -1
        self._root = _open_root(root)
        try:
            self._open()
            self.facts: dict[str, Any] = self._read()
            self._pidfd = self._living()
            self.status: str = self._look()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        try:
            self._fd = os.open(self.id, DIRECTORY, dir_fd=self._root)
        except FileNotFoundError as exc:
            from .errors import NotFoundError

            raise NotFoundError(self.id) from exc
        except OSError as exc:
            raise Unusual from exc
        if os.fstat(self._fd).st_uid != os.geteuid():
            raise Unusual

    def _read(self) -> dict[str, Any]:
        try:
            data = read_old(self._fd, "state.json", "", _MAX_STATE_BYTES)
        except (OSError, ValueError) as exc:
            raise Unusual from exc
        if data is None:  # it is being created, or was interrupted
            raise Unusual
        facts = _decode(data)
        if (facts.get("version"), facts.get("id")) != (_VERSION, self.id):
            raise Unusual
        for name, kind in _KINDS.items():
            if type(facts.get(name)) is not kind:
                raise Unusual
        return facts

    def _living(self) -> int:
        facts = self.facts
        inode = facts.get("pidfd_inode", 0)
        try:
            found = open_living(facts["pid"], facts["starttime"], facts["boot_id"], inode)
        except (OSError, ValueError, NotImplementedError) as exc:
            raise Unusual from exc
        return -1 if found is None else found

    def _look(self) -> str:
        if self._pidfd < 0:
            return "stopped"
        if self._has_gate():
            return "created"
        return "paused" if any(map(_reads_frozen, self._freezers())) else "running"

    def _has_gate(self) -> bool:
        try:
            os.stat("gate", dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _paths(self) -> dict[str, str]:
        cgroup = self.facts["cgroup"]
        paths = cgroup.get("paths") if cgroup.get("mode") in ("v1", "v2") else {}
        if type(paths) is not dict:
            raise Unusual
        return paths

    def _freezers(self) -> Iterator[tuple[str, bool]]:
        """Give the directories that can be frozen, and whether it is by v1."""
        for key, path in self._paths().items():
            if key == "" or "freezer" in key.split(","):
                yield path, key != ""

    # Steps ------------------------------------------------------------------------------------------

    def kill(self, number: int) -> None:
        """Send a signal to the init."""
        everyone = number == _SIGKILL and "pid" not in self.facts.get("namespaces", {})
        if everyone or self.status not in ("created", "running"):
            raise Unusual
        from _signal import pidfd_send_signal  # type: ignore[import-not-found]  # `signal` makes enumerations first

        try:
            pidfd_send_signal(self._pidfd, number)
        except OSError as exc:
            raise Unusual from exc

    def start(self) -> None:
        """Let a created container go on to its program; raises what the long way would."""
        hooks = self.facts["facts"].get("hooks", ())
        supervised = "seccomp" in self.facts["facts"]
        if self.status != "created" or supervised or "startContainer" in hooks or "poststart" in hooks:
            raise Unusual
        self._lock()
        from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket  # the C half of `socket`

        gate = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        try:
            gate.settimeout(_ANSWER_S)
            try:
                gate.connect(f"/proc/self/fd/{self._fd}/gate")
            except OSError as exc:
                raise Unusual from exc
            # From here on it counts as started.
            os.unlink("gate", dir_fd=self._fd)
            self._pass(gate)
        finally:
            gate.close()

    def _pass(self, gate: Any) -> None:
        """Say PROCEED: what comes is PAUSED, from opening the gate, and the end of file of execve(2)."""
        replies = []
        try:
            gate.send(_PROCEED)
            while data := gate.recv(_MAX_REPLY):
                replies.append(data)
        except ConnectionError:  # it went without reading what we sent
            replies.append(b"")
        except TimeoutError:
            replies = [b""]
        if len(replies) != 1 or not replies[0].startswith(_PAUSED):
            from .container.starting import raise_failure

            raise_failure(self.id, self.facts, [data for data in replies if data])

    def delete(self) -> None:
        """Remove a stopped container that left nothing but empty cgroups."""
        facts, cgroup = self.facts, self.facts["cgroup"]
        more = facts["facts"]
        bound = facts.get("resctrl"), cgroup.get("unit"), more.get("netDevices")
        if self.status != "stopped" or any(bound) or "poststop" in more.get("hooks", ()):
            raise Unusual
        if facts["boot_id"] != boot_id():
            raise Unusual
        self._lock()
        made = cgroup.get("made", {})
        paths = [(path, made.get(key, 0)) for key, path in self._paths().items()]
        if not all(count > 0 for _, count in paths):
            raise Unusual
        for path, count in paths:
            _remove_cgroup(path, count)
        self._forget()

    def _forget(self) -> None:
        """Remove the name, then what is below it; killed half-way, the store's `sweep` goes on."""
        tombstone = ".deleting-" + os.urandom(8).hex()
        os.rename(self.id, tombstone, src_dir_fd=self._root, dst_dir_fd=self._root)
        for entry in os.listdir(self._fd):
            unlink_entry(entry, self._fd)
        try:
            os.rmdir(tombstone, dir_fd=self._root)
        except FileNotFoundError:  # somebody swept
            return

    def _lock(self) -> None:
        """Take the lock of the directory that has the name now; given back with the descriptor."""
        if not try_flock(self._fd, _LOCK_EX):
            raise Unusual
        try:
            named = os.stat(self.id, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError as exc:
            raise Unusual from exc
        if named.st_ino != os.fstat(self._fd).st_ino:
            raise Unusual

    def close(self) -> None:
        """Give back what it holds; a second call does nothing."""
        for name in ("_pidfd", "_fd", "_root"):
            fd = getattr(self, name)
            if fd >= 0:
                setattr(self, name, -1)
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_LOCK_EX = 2  # flock(2)

_KINDS: dict[str, type] = {
    "version": int,
    "pid": int,
    "starttime": int,
    "owner": int,
    "boot_id": str,
    "bundle": str,
    "created": str,
    "oci_version": str,
    "cgroup": dict,
    "facts": dict,
}
"""What has to be in a state, and is looked at here."""


def _is_id(name: str) -> bool:
    return 0 < len(name) < 256 and name[0] != "." and _ID.issuperset(name)


def _open_root(root: str | None) -> int:
    try:
        path = default_root() if root is None else root
        fd = os.open(path, DIRECTORY)
    except (OSError, ValueError) as exc:
        raise Unusual from exc
    try:
        check_root(fd, path)
    except ValueError as exc:
        os.close(fd)
        raise Unusual from exc
    return fd


def _decode(data: bytes) -> dict[str, Any]:
    """Read a JSON object by the scanner behind `json`, whose import takes longer than the reading."""
    try:
        from _json import make_scanner
    except ImportError as exc:  # another Python
        raise Unusual from exc
    try:
        scan: Any = make_scanner
        found, _ = scan(_Context)(data.decode(), 0)
    except (ValueError, StopIteration, RecursionError) as exc:
        raise Unusual from exc
    if type(found) is not dict:
        raise Unusual
    return found


class _Context:
    """What the scanner asks `json.JSONDecoder` for."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def _reads_frozen(place: tuple[str, bool]) -> bool:
    path, v1 = place
    if v1:
        return _read_file(f"{path}/freezer.state") not in (b"THAWED", None)
    if _read_file(f"{path}/cgroup.freeze") == b"1":
        return True
    return b"frozen 1" in (_read_file(f"{path}/cgroup.events") or b"")


def _read_file(path: str) -> bytes | None:
    """Read a cgroup's file; None where it, or the cgroup, is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in _GONE:
            return None
        raise Unusual from exc
    try:
        return os.read(fd, 4096).strip()
    except OSError as exc:
        if exc.errno in _GONE:
            return None
        raise Unusual from exc
    finally:
        os.close(fd)


def _remove_cgroup(path: str, made: int) -> None:
    """Remove the directory, and as many above it as are ours, as far as nobody else uses them."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as exc:  # not empty, or worse
        raise Unusual from exc
    for _ in range(made - 1):
        path = os.path.dirname(path)
        try:
            os.rmdir(path)
        except OSError:
            return
