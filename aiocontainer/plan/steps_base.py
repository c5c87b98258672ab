"""What every step is, and the fields of its record on the wire."""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

from msgspec import Struct

__all__ = ["NO_FD", "Record", "Step"]

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


def ids(uid: int, gid: int) -> int:
    """Owner and group in one field of the record."""
    return uid << 32 | gid
