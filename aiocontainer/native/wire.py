"""Plans into bytes and bytes into replies: Python's side of ``wire.h``.

Constants come from the compiled library, which was built from that very file; the layouts are
written again here for `struct`, and a test compares them.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

from .._tuples import NamedTuple
from ..errors import HelperError, SpecError
from ._lib import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.steps import Step

__all__ = [
    "PROCEED",
    "REPLY_FAILED",
    "REPLY_PAUSED",
    "REPLY_SPACE",
    "REPLY_SPAWNED",
    "Reply",
    "decode_reply",
    "encode_plan",
    "encode_spawn",
    "sealed_plan",
]

PLAN: Final = struct.Struct("=IIIIII")
STEP: Final = struct.Struct("=IIiIQQQII")
SPAWN: Final = struct.Struct("=IIIIQ")
REPLY: Final = struct.Struct("=IIIiIIq")
ORDER: Final = struct.Struct("=II")

_LENGTH: Final = struct.Struct("=I")
_ALIGNMENT: Final = 8
_UNSIGNED: Final = 2**64 - 1

MAX_FDS: Final[int] = lib.WIRE_MAX_FDS
REPLY_SPACE: Final[int] = REPLY.size + lib.WIRE_MAX_TEXT
"""The longest reply."""
REPLY_SPAWNED: Final[int] = lib.REPLY_SPAWNED
REPLY_PAUSED: Final[int] = lib.REPLY_PAUSED
REPLY_FAILED: Final[int] = lib.REPLY_FAILED

PROCEED: Final = ORDER.pack(lib.WIRE_MAGIC, lib.WIRE_PROCEED)
"""The one order that there is."""

_MAX_ERRNO: Final = 4095
_MAX_SIGNAL: Final = 64
_HOOK: Final[int] = lib.CALL_HOOK
_MFD_NOEXEC_SEAL: Final = 0x8  # Linux 6.3
_CALLS: Final[dict[int, str]] = {
    number: name.removeprefix("CALL_").lower()
    for number, name in ffi.typeof("enum wire_call").elements.items()
}


def encode_plan(steps: Sequence[Step], fd_count: int) -> bytes:
    """Return the plan that names *fd_count* descriptors by index.

    `SpecError` with the step's origin where a value cannot be sent: NUL in a string, or too much of
    something.  The helper checks all of it again, and more.
    """
    return assemble_plan([encode_step(step) for step in steps], fd_count)


def assemble_plan(records: Sequence[bytes], fd_count: int) -> bytes:
    """Return the plan of steps that `encode_step` has encoded; raises as `encode_plan`."""
    if len(records) > lib.WIRE_MAX_STEPS:
        raise SpecError(f"{len(records)} steps, at most {lib.WIRE_MAX_STEPS}", origin="$")
    if fd_count > MAX_FDS:
        raise SpecError(f"{fd_count} descriptors to pass, at most {MAX_FDS}", origin="$")
    body = b"".join(records)
    size = PLAN.size + len(body)
    if size > lib.WIRE_MAX_PLAN:
        raise SpecError(f"a plan of {size} bytes, at most {lib.WIRE_MAX_PLAN}", origin="$")
    return PLAN.pack(lib.WIRE_MAGIC, lib.WIRE_VERSION, size, len(records), fd_count, 0) + body


def encode_step(step: Step) -> bytes:
    """Return the record of one step; raises as `encode_plan`."""
    fd, a, b, c, strings, data = step.record()
    if len(strings) > lib.WIRE_MAX_STRINGS or len(data) > lib.WIRE_MAX_DATA:
        raise SpecError(
            f"{len(strings)} strings and {len(data)} bytes, "
            f"at most {lib.WIRE_MAX_STRINGS} and {lib.WIRE_MAX_DATA}",
            origin=step.origin,
        )
    tail = b"".join([_encode_string(string, step) for string in strings]) + data
    padding = -(STEP.size + len(tail)) % _ALIGNMENT
    size = STEP.size + len(tail) + padding
    try:
        head = STEP.pack(step.op, size, fd, len(strings), a & _UNSIGNED, b, c, len(data), 0)
    except struct.error as exc:
        raise SpecError(f"a number out of range: {exc}", origin=step.origin) from exc
    return head + tail + bytes(padding)


def _encode_string(string: str, step: Step) -> bytes:
    try:
        raw = string.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as exc:
        raise SpecError("a character that is none", origin=step.origin) from exc
    if b"\0" in raw:
        raise SpecError("a NUL character", origin=step.origin)
    return _LENGTH.pack(len(raw)) + raw + b"\0"


def sealed_plan(data: bytes, *, name: str = "aiocontainer-plan") -> int:
    """Return a memfd with *data* that nobody can change any more; it is the caller's."""
    fd: int = lib.lib_sealed_memfd(name.encode(), ffi.from_buffer(data), len(data), _MFD_NOEXEC_SEAL, 0)
    if fd < 0:
        raise HelperError(f"memfd_create(2): {os.strerror(-fd)}", errno=-fd)
    return fd


def encode_spawn(flags: int, fd_count: int, clone_flags: int) -> bytes:
    """Return the request to the spawner; *fd_count* is all that travels with it."""
    return SPAWN.pack(lib.WIRE_MAGIC, lib.WIRE_VERSION, flags, fd_count, clone_flags)


class Reply(NamedTuple):
    """One message of the helper; `kind` is REPLY_*, and ``wire.h`` says which fields it sets."""

    kind: int
    step: int
    error: int
    """errno, positive; 0 if it is no failure."""
    call: str
    """The system call that failed, or "verify", "decode" or "hook"; "" if it is no failure."""
    value: int
    """pid or -errno of a process; how a hook ended, as in `subprocess`."""
    fds: tuple[int, ...]
    text: bytes = b""
    """The end of what a failed hook wrote."""


def decode_reply(data: bytes, fds: Sequence[int]) -> Reply:
    """Return the reply, which then owns *fds*; `HelperError` if it is none, and *fds* are closed."""
    try:
        return _decode_reply(data, fds)
    except HelperError:
        for fd in fds:
            os.close(fd)
        raise


def _decode_reply(data: bytes, fds: Sequence[int]) -> Reply:
    if not REPLY.size <= len(data) <= REPLY_SPACE:
        raise HelperError(f"the helper sent {len(data)} bytes, not a reply")
    magic, kind, step, error, call, count, value = REPLY.unpack_from(data)
    text = data[REPLY.size :]
    if magic != lib.WIRE_MAGIC or count != len(fds):
        raise HelperError("the helper sent something that is no reply")
    fits = {
        REPLY_SPAWNED: error == 0 and call == 0 and (value > 0) == (count == 1) and -_MAX_ERRNO <= value != 0,
        REPLY_PAUSED: error == 0 and call == 0 and count <= 1 and value == 0,
        REPLY_FAILED: 0 < error <= _MAX_ERRNO and call in _CALLS and count == 0 and value in _endings(call),
    }
    if not fits.get(kind, False) or (text and call != _HOOK):
        raise HelperError(f"the helper sent a reply that makes no sense (kind {kind})")
    name = _CALLS[call] if kind == REPLY_FAILED else ""
    return Reply(kind, step, error, name, value, tuple(fds), text)


def _endings(call: int) -> range:
    """Return what `Reply.value` may be of a failure: 0, or an exit status or minus a signal of a hook."""
    return range(-_MAX_SIGNAL, 256) if call == _HOOK else range(1)
