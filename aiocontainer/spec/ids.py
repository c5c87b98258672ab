"""Names and numbers that people type: container ids, users, lists of CPUs.

Python's int() reads ``1_0``, `` 1``, ``+1`` and the digits of every script; two programs must not
differ about who a process runs as, so only plain decimal is a number here.
"""

from __future__ import annotations

from typing import Final

from .._lazy import pattern
from ..errors import SpecError

__all__ = ["MAX_CPUS", "ascii_int", "check_id", "parse_list", "parse_user"]

MAX_CPUS: Final = 2**16  # also of memory nodes; far above what a kernel can be built for

_LAST_ID: Final = 2**32 - 2  # 2**32-1 is "no change" to the kernel.  setresuid(2)
_ID: Final = pattern(r"[A-Za-z0-9_+-][A-Za-z0-9_+.-]{0,254}")
_NUMBER: Final = pattern(r"0|[1-9][0-9]{0,19}")
_RANGE: Final = pattern(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


def check_id(id: str) -> str:
    """Return *id* if it can be the name of a container, which is a file name in several places.

    Names that begin with a dot are this package's own.
    """
    if not _ID.fullmatch(id):
        raise SpecError("must be 1 to 255 of A-Z a-z 0-9 _ + - . and not begin with a dot", origin="id")
    return id


def ascii_int(text: str, *, maximum: int, origin: str) -> int:
    """Read a plain decimal number from 0 to *maximum*."""
    if not _NUMBER.fullmatch(text):
        raise SpecError(f"{text!r} is not a plain decimal number", origin=origin)
    value = int(text)
    if value > maximum:
        raise SpecError(f"{value} is above {maximum}", origin=origin)
    return value


def parse_user(text: str, *, origin: str = "user") -> tuple[int, int | None]:
    """Read ``UID`` or ``UID:GID``; None where there is no group."""
    uid, colon, gid = text.partition(":")
    return (
        ascii_int(uid, maximum=_LAST_ID, origin=origin),
        ascii_int(gid, maximum=_LAST_ID, origin=origin) if colon else None,
    )


def parse_list(text: str, *, origin: str) -> tuple[range, ...]:
    """Read a list of CPUs or memory nodes, ``0-3,7``; empty elements count for nothing."""
    return tuple(_range(part, origin) for part in map(str.strip, text.split(",")) if part)


def _range(part: str, origin: str) -> range:
    found = _RANGE.fullmatch(part)
    if not found:
        raise SpecError(f"{part!r} is not a number or a range of numbers", origin=origin)
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last < MAX_CPUS:
        raise SpecError(f"{part!r} is not a range below {MAX_CPUS}", origin=origin)
    return range(first, last + 1)
