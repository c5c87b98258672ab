"""Which type is meant where only some of the values say so."""

from __future__ import annotations

from typing import Final

from .types import BASIC, INTEGERS, Type

__all__ = ["NUMBER", "OPEN", "TEXT", "settled", "together"]

OPEN: Final = Type("*")
"""Anything: what is in an empty array."""
NUMBER: Final = Type("N", bare=True)
TEXT: Final = Type("S", bare=True)

_FITS: Final = {"N": INTEGERS.keys() | {"d"}, "S": frozenset("sog")}
"""What may become of a number and of a string."""


def together(one: Type, other: Type) -> Type | None:
    """Return the type that both can be, as neighbours in an array are; None if there is none."""
    if one is other or other == OPEN:
        return one
    if one == OPEN:
        return other
    if one.code == "m" != other.code:
        return _wrapped(one, other)
    if other.code == "m" != one.code:
        return _wrapped(other, one)
    return _alike(one, other)


def _wrapped(maybe: Type, bare: Type) -> Type | None:
    """Let a value that says nothing of its type stand beside a maybe."""
    inner = together(maybe.parts[0], bare) if bare.bare else None
    return None if inner is None else Type("m", (inner,))


def _alike(one: Type, other: Type) -> Type | None:
    bare = one.bare and other.bare
    if one.code != other.code:
        for wide, narrow in ((one, other), (other, one)):
            if narrow.code in _FITS.get(wide.code, ()):
                return Type(narrow.code, bare=bare)
        return None
    if len(one.parts) != len(other.parts):
        return None
    parts = []
    for mine, theirs in zip(one.parts, other.parts, strict=True):
        part = together(mine, theirs)
        if part is None:
            return None
        parts.append(part)
    return Type(one.code, tuple(parts), bare)


def settled(type: Type) -> Type | None:
    """Close what is open: a number is an ``i``, a string an ``s``; None if it could be anything."""
    if type.code == "*":
        return None
    if type.code in "NS":
        return Type("i" if type.code == "N" else "s")
    if type.code in BASIC:
        return Type(type.code)
    parts = [settled(part) for part in type.parts]
    closed = [part for part in parts if part is not None]
    return Type(type.code, tuple(closed)) if len(closed) == len(parts) else None
