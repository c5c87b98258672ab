"""Type strings: GVariant's, which are D-Bus's and ``m`` for maybe.  D-Bus specification, "Type System"."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from .._tuples import NamedTuple
from ..errors import GVariantError

__all__ = [
    "BASIC",
    "INTEGERS",
    "KEYWORDS",
    "MAX_DEPTH",
    "Type",
    "is_object_path",
    "is_signature",
    "parse_type",
    "signature_problem",
    "type_text",
]

MAX_DEPTH: Final = 16
"""Containers in one another, of a value and of a type; D-Bus would take 64."""

_MAX_SIGNATURE: Final = 255  # bytes; D-Bus specification, "Valid Signatures"

INTEGERS: Final = {
    "y": range(2**8),
    "n": range(-(2**15), 2**15),
    "q": range(2**16),
    "i": range(-(2**31), 2**31),
    "u": range(2**32),
    "x": range(-(2**63), 2**63),
    "t": range(2**64),
    "h": range(-(2**31), 2**31),
}
BASIC: Final = frozenset("bdsog") | INTEGERS.keys()

KEYWORDS: Final = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "handle": "h",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
"""What may stand before a value in place of ``@`` and the type."""


class Type(NamedTuple):
    """A type as a tree; while text is read some of it may still be open."""

    code: str
    """The first letter; "N" any number, "S" any text, "*" anything."""
    parts: tuple[Type, ...] = ()
    bare: bool = False
    """Written without a type of its own: what stands beside it may make a maybe of it."""


def type_text(type: Type) -> str:
    """Return the type as a string."""
    close = {"(": ")", "{": "}"}.get(type.code, "")
    return f"{type.code}{''.join(map(type_text, type.parts))}{close}"


@lru_cache(maxsize=256)
def parse_type(text: str) -> Type:
    """Read one complete type; `GVariantError`, whose column is that in *text*."""
    type, end = _parse(text, 0, 1)
    if end < len(text):
        raise _error(f"{text[:end]} is a whole type, and more follows", end)
    return type


def _parse(text: str, at: int, depth: int) -> tuple[Type, int]:
    code = text[at : at + 1]
    if code in BASIC or code == "v":
        return Type(code), at + 1
    if code and code in "*?r":
        raise _error(f"{code!r} is no definite type", at)
    if not code or code not in "am({":
        raise _error(f"{code!r} is no type" if code else "the type ends too early", at)
    if depth > MAX_DEPTH:
        raise _error(f"nested deeper than {MAX_DEPTH}", at)
    if code in "am":
        part, end = _parse(text, at + 1, depth + 1)
        return Type(code, (part,)), end
    return _parse_members(text, code, at + 1, depth + 1)


def _parse_members(text: str, code: str, at: int, depth: int) -> tuple[Type, int]:
    close = ")" if code == "(" else "}"
    parts: list[Type] = []
    while text[at : at + 1] != close:
        if code == "{" and not parts and text[at : at + 1] not in BASIC:
            raise _error("the key of an entry needs a basic type", at)
        if code == "{" and len(parts) == 2:
            raise _error("an entry is a key and one value", at)
        part, at = _parse(text, at, depth)
        parts.append(part)
    if code == "{" and len(parts) != 2:
        raise _error("an entry is a key and one value", at)
    return Type(code, tuple(parts)), at + 1


def _error(problem: str, at: int) -> GVariantError:
    return GVariantError(problem, origin="type", column=at + 1)


_OBJECT_PATH = re.compile(r"/|(?:/[A-Za-z0-9_]+)+")


def is_object_path(text: str) -> bool:
    """Tell whether D-Bus would take it as an object path."""
    return _OBJECT_PATH.fullmatch(text) is not None


def is_signature(text: str) -> bool:
    """Tell whether D-Bus would take it as a signature: any number of complete types."""
    at = 0
    try:
        while at < len(text):
            type, at = _parse(text, at, 1)
            if _trouble(type, ""):
                return False
    except GVariantError:
        return False
    return len(text) <= _MAX_SIGNATURE


def signature_problem(signature: str) -> str:
    """Return why D-Bus cannot carry a value of this type; empty if it can."""
    if len(signature) > _MAX_SIGNATURE:
        return f"a signature of more than {_MAX_SIGNATURE} bytes"
    return _trouble(parse_type(signature), "")


def _trouble(type: Type, parent: str) -> str:
    if type.code == "m":
        return f"D-Bus has no maybe ({type_text(type)})"
    if type == Type("("):
        return "D-Bus has no empty struct"
    if type.code == "{" and parent != "a":
        return "D-Bus has dictionary entries only in arrays"
    return next((text for part in type.parts if (text := _trouble(part, type.code))), "")
