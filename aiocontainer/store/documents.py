"""What is kept of a container: the write-ahead record and the state, as documents."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from .._convert import convert
from ..errors import StateCorruptError
from ..plan.resctrl import ResctrlGroup  # noqa: TC001 - msgspec reads the annotations
from .identity import Identity

__all__ = [
    "CgroupRecord",
    "Record",
    "State",
    "UnitRecord",
    "decode_record",
    "decode_state",
    "timestamp",
]

VERSION: Final = 1
"""Of our files; raised only when an older reader would misunderstand a newer file."""

T = TypeVar("T")

_Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Pid = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class UnitRecord(Struct, frozen=True, kw_only=True):
    """The unit whose cgroup it is, and the service manager that has it."""

    name: str
    user: bool = False
    """The owner's own manager; else the machine's."""
    uid: _Natural = 0
    """That owner."""
    inode: _Natural = 0
    """Of the cgroup: the manager removes it when it is empty, and the name may come back; 0: not known."""


class CgroupRecord(Struct, frozen=True, kw_only=True):
    """The container's cgroup, as needed to find it again."""

    mode: str = "none"
    """Value of `plan.CgroupMode`."""
    paths: dict[str, str] = {}
    """Hierarchy to absolute directory."""
    made: dict[str, _Natural] = {}
    """Hierarchy to how many directories, from the last one up, we made and will remove."""
    unit: UnitRecord | None = None
    """To be stopped with the container; None where the cgroup is ours alone."""


class Record(Struct, frozen=True, kw_only=True):
    """Names of everything outside that create is about to make, for whoever must clean up after it."""

    id: str
    bundle: str
    boot_id: str
    cgroup: CgroupRecord = CgroupRecord()
    resctrl: ResctrlGroup | None = None
    devices: list[dict[str, Any]] = []
    """Network devices that are to be moved in, as `network.survey` found them."""
    network: str = ""
    """Path of the namespace where they go; "" is one of the container's own."""
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
    resctrl: ResctrlGroup | None = None
    """The group of cache and memory bandwidth, where it is in one."""
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
        return convert(document, type)
    except msgspec.ValidationError as exc:
        raise StateCorruptError(path, str(exc)) from exc


def timestamp(now_ns: int | None = None) -> str:
    """Write a moment, by default now, as in RFC 3339 with nanoseconds, UTC."""
    seconds, fraction = divmod(time.time_ns() if now_ns is None else now_ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"
