"""Requests and answers as values: to and from the bytes that go over the socket."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from .._convert import convert
from ..errors import CriuError, UnsupportedError
from .schema import message_class

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DumpStats", "Kind", "Notice", "Response", "RestoreStats", "Version", "decode_response"]
__all__ += ["decode_tally", "encode_request", "load_protobuf"]


class Kind(IntEnum):
    """What a request is for; the answer has the same."""

    EMPTY = 0
    DUMP = 1
    RESTORE = 2
    CHECK = 3
    PRE_DUMP = 4
    NOTIFY = 6
    FEATURE_CHECK = 9
    VERSION = 10


class Notice(Struct, frozen=True):
    """A point that CRIU has reached; it waits to be answered."""

    script: str = ""
    pid: int = 0
    """Of the restored init, in our pid namespace; 0 where it has nothing to do with the point."""


class Version(Struct, frozen=True, order=True):
    """Of CRIU."""

    major: int
    minor: int
    sublevel: int = 0

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}"
        return f"{text}.{self.sublevel}" if self.sublevel else text


class Response(Struct, frozen=True, kw_only=True):
    """An answer, or between request and answer a notice."""

    kind: int
    success: bool
    pid: int = 0
    notice: Notice | None = None
    errno: int = 0
    message: str = ""
    version: Version | None = None
    features: frozenset[str] = frozenset()


class DumpStats(Struct, frozen=True, kw_only=True):
    """What CRIU counted while it saved.  Pages are of 4096 bytes on most machines.

    With `lazy_pages` it counts anew once they are being fetched: then nothing here means much.
    """

    freezing_us: int = 0
    """Until all processes stood still."""
    frozen_us: int = 0
    """How long they stood still."""
    memory_us: int = 0
    """CRIU's ``memdump_time``."""
    writing_us: int = 0
    """CRIU's ``memwrite_time``."""
    pages_scanned: int = 0
    """Of memory that CRIU has looked at."""
    pages_in_parent: int = 0
    """Not written, because they have not changed since the parent images."""
    pages_written: int = 0
    """Into the images."""
    pages_lazy: int = 0
    """Left to be fetched when they are needed."""


class RestoreStats(Struct, frozen=True, kw_only=True):
    """What CRIU counted while it restored."""

    forking_us: int = 0
    restore_us: int = 0
    pages_compared: int = 0
    pages_shared: int = 0
    """Not written, because a parent process had them already."""
    pages_restored: int = 0


_TALLY_MAGIC: Final = bytes.fromhex("40591055 06330957".replace(" ", ""))
"""Of a service file, and of statistics; little-endian."""


def load_protobuf() -> None:
    """Import protobuf, which takes a while; `UnsupportedError` without it."""
    try:
        message_class("Request")
    except (ImportError, AttributeError) as exc:
        raise UnsupportedError(
            "checkpoint and restore", needs="the Python package protobuf, 4.22 or newer (aiocontainer[criu])"
        ) from exc


def encode_request(
    kind: Kind,
    options: Mapping[str, Any] | None = None,
    *,
    notify_success: bool | None = None,
    keep_open: bool = False,
    features: tuple[str, ...] = (),
) -> bytes:
    """Give the bytes of a request; fields of *options* that are None are left out.

    `TypeError` or `ValueError` for a value that its field cannot hold.
    """
    request = message_class("Request")(type=int(kind))
    if options is not None:
        _fill(request.opts, options)
    if notify_success is not None:
        request.notify_success = notify_success
    if keep_open:
        request.keep_open = True
    for name in features:
        setattr(request.features, name, True)
    data: bytes = request.SerializeToString()
    return data


def _fill(message: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, dict):
            _fill(getattr(message, name), value)
        elif isinstance(value, list | tuple):
            repeated = getattr(message, name)
            for each in value:
                if isinstance(each, dict):
                    _fill(repeated.add(), each)
                else:
                    repeated.append(each)
        else:
            setattr(message, name, value)


def decode_response(data: bytes) -> Response:
    """Read an answer; `CriuError` for what is none."""
    from google.protobuf.message import DecodeError

    try:
        found = message_class("Response").FromString(data)
    except (DecodeError, UnicodeDecodeError) as exc:
        raise CriuError("talking to CRIU", f"its answer makes no sense: {exc}") from exc
    if not found.IsInitialized():
        raise CriuError("talking to CRIU", "its answer makes no sense: a field is missing")
    version = found.version
    features = found.features
    return Response(
        kind=found.type,
        success=found.success,
        pid=found.restore.pid if found.HasField("restore") else 0,
        notice=Notice(found.notify.script, found.notify.pid) if found.HasField("notify") else None,
        errno=found.cr_errno,
        message=found.cr_errmsg,
        version=Version(version.major_number, version.minor_number, version.sublevel)
        if found.HasField("version")
        else None,
        features=frozenset(each.name for each, value in features.ListFields() if value is True),
    )


_DUMP: Final = {
    "freezing_us": "freezing_time",
    "frozen_us": "frozen_time",
    "memory_us": "memdump_time",
    "writing_us": "memwrite_time",
    "pages_scanned": "pages_scanned",
    "pages_in_parent": "pages_skipped_parent",
    "pages_written": "pages_written",
    "pages_lazy": "pages_lazy",
}
_RESTORE: Final = {
    "forking_us": "forking_time",
    "restore_us": "restore_time",
    "pages_compared": "pages_compared",
    "pages_shared": "pages_skipped_cow",
    "pages_restored": "pages_restored",
}


def decode_tally(data: bytes) -> tuple[DumpStats, RestoreStats]:
    """Read a file of statistics: two magic numbers, a length, a message.  What is damaged counts as 0."""
    from google.protobuf.message import DecodeError

    size = int.from_bytes(data[8:12], "little")
    if data[:8] != _TALLY_MAGIC or len(data) < 12 + size:
        return DumpStats(), RestoreStats()
    try:
        found = message_class("Tally").FromString(data[12 : 12 + size])
    except DecodeError:
        return DumpStats(), RestoreStats()
    dump = {ours: getattr(found.dump, theirs) for ours, theirs in _DUMP.items()}
    restore = {ours: getattr(found.restore, theirs) for ours, theirs in _RESTORE.items()}
    return convert(dump, DumpStats), convert(restore, RestoreStats)
