"""Writes the text format, so that reading gives the same type and value again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ..errors import GVariantError
from .types import INTEGERS, KEYWORDS, MAX_DEPTH, Type, is_object_path, is_signature, parse_type, type_text
from .values import Just, Variant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["format"]

_WORDS: Final = {code: word for word, code in KEYWORDS.items() if code not in "bids"}
"""The types that a value does not show by itself."""

_ESCAPES: Final = {"\\": "\\\\", "'": "\\'", "\a": "\\a", "\b": "\\b", "\f": "\\f"}
_ESCAPES_TOO: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_TO_ESCAPE: Final = re.compile(r"[\\'\x00-\x1f\x7f-\xa0\xad\u2028\u2029\ufeff]")


def format(variant: Variant, *, origin: str = "value") -> str:
    """Return the text of a value, with as many types as it takes to read the same one again.

    Raises `GVariantError` for a value that is not of its type, for *origin*.
    """
    try:
        return _text(parse_type(variant.signature), variant.value, annotated=True, depth=MAX_DEPTH)
    except GVariantError as exc:
        raise GVariantError(exc.problem, origin=origin) from None


def _text(type: Type, value: Any, *, annotated: bool, depth: int) -> str:
    if type.code in INTEGERS:
        return _with_word(type, _integer(type, value), annotated)
    if type.code in "bdsog":
        return _with_word(type, _BASIC[type.code](value), annotated)
    if depth == 0:
        raise _error(f"nested deeper than {MAX_DEPTH}")
    return _CONTAINERS[type.code](type, value, annotated, depth - 1)


def _with_word(type: Type, text: str, annotated: bool) -> str:
    word = _WORDS.get(type.code) if annotated else None
    return f"{word} {text}" if word else text


def _error(problem: str) -> GVariantError:
    return GVariantError(problem, origin="value")


def _mismatch(type: str, value: object) -> GVariantError:
    return _error(f"{value!r:.100} is no value of type {type}")


# Basic types.


def _integer(type: Type, value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _mismatch(type.code, value)
    number = int(value)  # an enumeration is its number; and a range looks through itself for what is no int
    if number not in INTEGERS[type.code]:
        raise _mismatch(type.code, value)
    return f"0x{number:02x}" if type.code == "y" else str(number)


def _boolean(value: object) -> str:
    if not isinstance(value, bool):
        raise _mismatch("b", value)
    return "true" if value else "false"


def _double(value: object) -> str:
    if not isinstance(value, float | int) or isinstance(value, bool):
        raise _mismatch("d", value)
    try:
        return repr(float(value))
    except OverflowError:
        raise _mismatch("d", value) from None


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise _mismatch("s", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _error("half of a surrogate pair") from None
    if "\0" in value:
        raise _error("a NUL character")
    return f"'{_TO_ESCAPE.sub(_escape, value)}'"


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    simple = _ESCAPES.get(character) or _ESCAPES_TOO.get(character)
    return simple or f"\\u{ord(character):04x}"


def _object_path(value: object) -> str:
    if not isinstance(value, str) or not is_object_path(value):
        raise _mismatch("o", value)
    return _string(value)


def _signature(value: object) -> str:
    if not isinstance(value, str) or not is_signature(value):
        raise _mismatch("g", value)
    return _string(value)


_BASIC: Final = {"b": _boolean, "d": _double, "s": _string, "o": _object_path, "g": _signature}


# Containers.


def _array(type: Type, value: Any, annotated: bool, depth: int) -> str:
    (part,) = type.parts
    if part.code == "{":
        return _dictionary(type, value, annotated, depth)
    if part.code == "y":
        if not isinstance(value, bytes | bytearray):
            raise _mismatch("ay", value)
        if value[-1:] == b"\0" and b"\0" not in value[:-1]:
            return f"b'{''.join(map(_byte, value[:-1]))}'"
    elif not isinstance(value, list | tuple):
        raise _mismatch(type_text(type), value)
    if not value:
        return f"@{type_text(type)} []" if annotated else "[]"
    texts = (_text(part, each, annotated=first, depth=depth) for first, each in _marked(value, annotated))
    return f"[{', '.join(texts)}]"


def _marked(values: Iterable[Any], annotated: bool) -> Iterator[tuple[bool, Any]]:
    """Mark the first, which tells the types of all."""
    for index, value in enumerate(values):
        yield annotated and index == 0, value


def _byte(value: int) -> str:
    plain = 0x20 <= value < 0x7F and value not in b"\\'"
    return chr(value) if plain else f"\\{value:03o}"


def _dictionary(type: Type, value: Any, annotated: bool, depth: int) -> str:
    if not isinstance(value, dict):
        raise _mismatch(type_text(type), value)
    if not value:
        return f"@{type_text(type)} {{}}" if annotated else "{}"
    key, content = type.parts[0].parts
    texts = (
        f"{_text(key, k, annotated=first, depth=depth)}: {_text(content, v, annotated=first, depth=depth)}"
        for first, (k, v) in _marked(value.items(), annotated)
    )
    return f"{{{', '.join(texts)}}}"


def _tuple(type: Type, value: Any, annotated: bool, depth: int) -> str:
    if not isinstance(value, list | tuple) or len(value) != len(type.parts):
        raise _mismatch(type_text(type), value)
    texts = [
        _text(part, each, annotated=annotated, depth=depth)
        for part, each in zip(type.parts, value, strict=True)
    ]
    if type.code == "{":
        return f"{{{texts[0]}, {texts[1]}}}"
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"


def _boxed(type: Type, value: Any, annotated: bool, depth: int) -> str:  # noqa: ARG001
    if not isinstance(value, Variant):
        raise _mismatch("v", value)
    return f"<{_text(parse_type(value.signature), value.value, annotated=True, depth=depth)}>"


def _maybe(type: Type, value: Any, annotated: bool, depth: int) -> str:
    if value is None:
        return f"@{type_text(type)} nothing" if annotated else "nothing"
    if not isinstance(value, Just):
        raise _mismatch(type_text(type), value)
    return f"just {_text(type.parts[0], value.value, annotated=annotated, depth=depth)}"


_CONTAINERS: Final = {"a": _array, "(": _tuple, "{": _tuple, "v": _boxed, "m": _maybe}
