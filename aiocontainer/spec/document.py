"""Strict JSON: bytes to a value of one type, or the address of what is wrong with them.

JSON as Python and msgspec read it is wider than what two programs understand alike: the last of two
equal keys wins, NaN is a number, half a surrogate pair is text.  A configuration that is security
policy takes none of that.  Null is the same as absent.

A good document pays one pass of the json module's C scanner, with a hook per object, and one of
msgspec.  Only a bad one is read again, slowly, to say where.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .._convert import convert
from .._lazy import pattern
from ..errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["MAX_BYTES", "MAX_DEPTH", "at", "decode_document", "encode", "encode_pretty", "verify"]

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 64

T = TypeVar("T")

_INTEGERS = range(-(2**63), 2**64)
_IDENTIFIER = pattern(r"[A-Za-z_][A-Za-z0-9_]*")


def at(parent: str, key: str) -> str:
    """Address of a member: ``$.process.cwd``, ``$.linux.sysctl["net.ipv4.ip_forward"]``."""
    return f"{parent}.{key}" if _IDENTIFIER.fullmatch(key) else f"{parent}[{json.dumps(key)}]"


def decode_document(data: bytes | str, type: type[T]) -> T:
    """Decode one JSON document; SpecError has the address of what is wrong."""
    return _convert(_parse(_text(data)), type)


def verify(value: object) -> None:
    """Refuse a value, built in Python, that could not have been decoded: Structs check no types."""
    tree = msgspec.to_builtins(value)
    if b"\\u0000" in encode(value) or _is_wide(value):
        for fault in _faults(tree, "$", 1):
            raise fault
    _convert(tree, type(value))


def encode(value: object) -> bytes:
    """Encode a document; equal values give equal bytes, and decoding them the value again."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # half a surrogate pair
        raise next(_faults(msgspec.to_builtins(value), "$", 1)) from None


def encode_pretty(value: object) -> bytes:
    """Encode a document for people: indented by tabs as runc does, with a final newline."""
    return (json.dumps(json.loads(encode(value)), indent="\t", ensure_ascii=False) + "\n").encode()


def _text(data: bytes | str) -> str:
    try:
        raw = data.encode() if isinstance(data, str) else data
        if len(raw) > MAX_BYTES:
            raise SpecError(f"the document is larger than {MAX_BYTES} bytes", origin="$")
        return raw.decode()
    except (UnicodeEncodeError, UnicodeDecodeError) as exc:
        raise SpecError(f"not UTF-8: {exc.reason}, at {exc.start}", origin="$") from None


class _FaultError(Exception):
    """The quick reading met something that the slow one will find."""


class _WideInteger:
    """Stands for an integer that 64 bits do not hold: no field takes it, an unknown one may."""


def _integer(digits: str) -> int | _WideInteger:
    # The length first: int() takes quadratic time, and CPython refuses the longest.
    value = int(digits) if len(digits) <= 20 else 2**64
    return value if value in _INTEGERS else _WideInteger()


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _FaultError
    if None in members.values():
        return {key: value for key, value in pairs if value is not None}
    return members


def _constant(name: str) -> Any:
    raise _FaultError(name)


class _Pairs(list[tuple[str, Any]]):
    """An object as the slow reading keeps it: with its duplicates."""


class _Constant(str):
    """NaN, Infinity or -Infinity."""

    __slots__ = ()


_quick = json.JSONDecoder(object_pairs_hook=_members, parse_int=_integer, parse_constant=_constant)
_slow = json.JSONDecoder(object_pairs_hook=_Pairs, parse_int=_integer, parse_constant=_Constant)

# An escape is the only way to write a NUL, or half a surrogate pair, into JSON that is valid UTF-8.
_SUSPECT_ESCAPE = pattern(r"\\u(?:0000|[dD][89a-fA-F])")


def _parse(text: str) -> Any:
    """Return the tree of a document without faults, less the nulls of its objects."""
    try:
        tree = _quick_tree(text)
        if tree is None or _SUSPECT_ESCAPE.search(text) or _is_deep(tree):
            for fault in _faults(_slow.decode(text), "$", 1):
                raise fault
    except json.JSONDecodeError as exc:
        raise SpecError(f"not JSON: {exc.msg}, line {exc.lineno} column {exc.colno}", origin="$") from None
    except RecursionError:
        raise SpecError(f"nested deeper than {MAX_DEPTH}", origin="$") from None
    return tree


def _quick_tree(text: str) -> Any:
    try:
        return _quick.decode(text)
    except _FaultError:
        return None


def _is_deep(tree: Any) -> bool:
    level = [tree] if isinstance(tree, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, (dict, list))
        ]
    return bool(level)


def _is_wide(value: object) -> bool:
    try:
        msgspec.msgpack.encode(value)  # which has no integers beyond 64 bits
    except OverflowError:
        return True
    return False


def _faults(value: Any, address: str, depth: int) -> Iterator[SpecError]:
    """Everything wrong with a tree that is wrong whatever its type."""
    if isinstance(value, _Constant):
        yield SpecError(f"{value} is not a JSON number", origin=address)
    elif isinstance(value, str):
        yield from _text_faults(value, address)
    elif isinstance(value, int) and value not in _INTEGERS:
        yield SpecError(_TOO_WIDE, origin=address)
    elif not isinstance(value, (dict, list, tuple)):
        return
    elif depth > MAX_DEPTH:
        yield SpecError(f"nested deeper than {MAX_DEPTH}", origin=address)
    elif isinstance(value, (dict, _Pairs)):
        yield from _member_faults(value.items() if isinstance(value, dict) else value, address, depth)
    else:
        for index, child in enumerate(value):
            yield from _faults(child, f"{address}[{index}]", depth + 1)


def _member_faults(pairs: Iterable[tuple[str, Any]], address: str, depth: int) -> Iterator[SpecError]:
    seen = set()
    for key, child in pairs:
        place = at(address, key)
        if key in seen:
            yield SpecError("given twice", origin=place)
        seen.add(key)
        yield from _text_faults(key, place)
        yield from _faults(child, place, depth + 1)


def _text_faults(text: str, address: str) -> Iterator[SpecError]:
    if "\0" in text:
        yield SpecError("has a NUL character", origin=address)
    try:
        text.encode()
    except UnicodeEncodeError:
        yield SpecError("has half of a surrogate pair", origin=address)


_WHERE = pattern(r"(?s)(?P<problem>.*) - at `(?P<address>.*)`")
_MISSING = pattern(r"Object missing required field `(.*)`")
_SOME_KEY = "[...]"  # msgspec: "of some key"
_TOO_WIDE = "an integer wider than 64 bits"


def _convert(tree: Any, type: type[T]) -> T:
    try:
        return convert(tree, type)
    except msgspec.ValidationError as exc:
        problem, address = _split(exc)

    def fails_alike() -> bool:
        try:
            convert(tree, type)
        except msgspec.ValidationError as again:
            return _split(again) == (problem, address)
        return False

    raise _type_error(problem, _with_key(address, tree, fails_alike))


def _split(exc: msgspec.ValidationError) -> tuple[str, str]:
    """Problem and address as msgspec gives them."""
    found = _WHERE.fullmatch(str(exc))
    return (found["problem"], found["address"]) if found else (str(exc), "$")


def _with_key(address: str, tree: Any, fails_alike: Callable[[], bool]) -> str:
    """Put the real key for the ``[...]`` in an address.

    Halves the object until one member is left that still makes decoding fail in the same way.
    """
    before, some, after = address.partition(_SOME_KEY)
    if not some:
        return address
    members = _member(tree, before)
    suspects = list(members.items())
    while len(suspects) > 1:
        half = len(suspects) // 2
        members.clear()
        members.update(suspects[:half])
        suspects = suspects[:half] if fails_alike() else suspects[half:]
    return at(before, suspects[0][0]) + after


def _member(tree: Any, address: str) -> Any:
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", address):
        tree = tree[name or int(index)]
    return tree


def _type_error(problem: str, address: str) -> SpecError:
    missing = _MISSING.fullmatch(problem)
    if missing:
        return SpecError("required, and missing", origin=at(address, missing[1]))
    words = problem.replace(_WideInteger.__name__, _TOO_WIDE).replace(" | null", "").replace("`", "")
    return SpecError(words[0].lower() + words[1:], origin=address)
