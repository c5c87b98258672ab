"""What every step is, and the fields of its record on the wire."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from msgspec import Struct

from .._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NO_FD", "Record", "Step", "mask_words"]

NO_FD: Final = -1
"""No descriptor is passed for this step."""


class Record(NamedTuple):
    """The fields of a ``struct wire_step``; see ``wire.h`` for what each opcode takes."""

    fd: int = NO_FD
    a: int = 0
    b: int = 0
    c: int = 0
    strings: tuple[str, ...] = ()
    data: bytes = b""


class Step(Struct, frozen=True):
    """Base of all steps; `origin` is the address in ``config.json`` that asked for it.

    A step that nothing asked for, because every container needs it, has the origin "".
    """

    op: ClassVar[int] = 0
    origin: str

    def record(self) -> Record:
        """Return the fields of the wire record."""
        return Record()

    def advice(self, errno: int) -> str:  # noqa: ARG002
        """Say what the kernel may mean by *errno*, where the number alone would mislead; else ""."""
        return ""


def ids(uid: int, gid: int) -> int:
    """Owner and group in one field of the record."""
    return uid << 32 | gid


def mask_words(ranges: Iterable[range]) -> bytes:
    """Numbers as a bit mask of 64-bit words, as the kernel takes CPUs and memory nodes."""
    mask = 0
    for each in ranges:
        mask |= ((1 << len(each)) - 1) << each.start
    words = [mask >> shift & (2**64 - 1) for shift in range(0, mask.bit_length(), 64)]
    return struct.pack(f"={len(words)}Q", *words)
