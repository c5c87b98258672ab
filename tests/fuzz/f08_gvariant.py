"""F8: GVariant's text and annotations for units; what is read is written and read again alike."""

from __future__ import annotations

import struct
from typing import Any

from aiocontainer import GVariantError, SpecError, gvariant
from aiocontainer.gvariant import Just, Variant
from aiocontainer.gvariant.types import INTEGERS, Type, parse_type
from aiocontainer.plan.unit_properties import asked_properties
from aiocontainer.spec import UNIT_PROPERTIES

from .source import Source

PIECES = (
    *"[](){}<>,:@'\"\\ \n\0-+.0189exbn",
    *("true", "just ", "nothing", "uint32 ", "byte ", "double ", "@as ", "@m", "@a{sv} ", "a{sv}", "@(is) "),
    *("'a'", "b'a'", r"\u0041", r"\U0001f600", r"\377", "inf", "nan", "1e5", "0x1f", "4294967296", "é"),
)
TYPES = ("b", *INTEGERS, "d", "s", "o", "g", "v", "m", "a", "ay", "a{", "(")
NAMES = (*UNIT_PROPERTIES, "TimeoutStopSec", "RuntimeMaxSec", "Unknown", "A", "a_b", "")
TEXTS = ("", "a", "it's", 'a"b', "\\", "\n\t\v\x7f", "é😀", "\u2028\ufeff", "%s", "0")
FLOATS = (0.0, -0.0, 1.0, -2.5, 1e300, 5e-324, float("inf"), float("nan"))


def any_text(source: Source) -> None:
    """Any text is read, or refused with the column where it goes wrong."""
    if source.flag():
        text = "".join(source.pick(PIECES) for _ in range(source.below(60)))
    else:
        text = source.rest().decode(errors="surrogateescape" if source.flag() else "replace")
    try:
        found = gvariant.parse(text)
    except GVariantError as exc:
        assert 1 <= exc.column <= len(text) + 1, (text, exc)
        return
    same(found)
    assert found.signature.isascii()
    reread = gvariant.parse(text, found.signature)
    assert gvariant.format(reread) == gvariant.format(found), text


def same(variant: Variant) -> None:
    """Written and read again it is the same, to the sign of a zero."""
    text = gvariant.format(variant)
    again = gvariant.parse(text)
    assert again.signature == variant.signature, (text, again)
    assert gvariant.format(again) == text, (text, again)
    assert gvariant.dbus_problem(again) == gvariant.dbus_problem(variant)


def any_value(source: Source) -> None:
    signature = any_type(source, 4)
    same(Variant(signature, value_of(parse_type(signature), source, 3)))


def any_type(source: Source, depth: int) -> str:
    code: str = source.pick(TYPES)
    if depth == 0 and code not in INTEGERS:
        return "s"
    match code:
        case "m" | "a":
            return code + any_type(source, depth - 1)
        case "a{":
            return f"a{{{source.pick('bysdx')}{any_type(source, depth - 1)}}}"
        case "(":
            return f"({''.join(any_type(source, depth - 1) for _ in range(source.below(4)))})"
    return code


def value_of(type: Type, source: Source, depth: int) -> Any:
    match type.code:
        case "b":
            return source.flag()
        case "d":
            return (
                source.pick(FLOATS)
                if source.flag()
                else struct.unpack("<d", source.raw(8).ljust(8, b"\0"))[0]
            )
        case "s":
            return source.pick(TEXTS)
        case "o":
            return source.pick(("/", "/a", "/a/b_9"))
        case "g":
            return source.pick(("", "s", "a{sv}", "(ii)"))
        case "v":
            signature = any_type(source, 1) if depth else "i"
            return Variant(signature, value_of(parse_type(signature), source, depth - 1))
        case "m":
            return Just(value_of(type.parts[0], source, depth)) if source.flag() else None
        case "(" | "{":
            return tuple(value_of(part, source, depth) for part in type.parts)
        case "a":
            return array_of(type.parts[0], source, depth)
    numbers = INTEGERS[type.code]
    return numbers[source.integer(8) % len_of(numbers)]


def len_of(numbers: range) -> int:
    return numbers.stop - numbers.start  # len() takes no more than 63 bits


def array_of(part: Type, source: Source, depth: int) -> Any:
    size = source.below(4)
    if part.code == "y":
        return source.raw(size) + (b"\0" if source.flag() else b"")
    values = [value_of(part, source, depth) for _ in range(size)]
    return {key: value for key, value in values if key == key} if part.code == "{" else values


def annotation(source: Source) -> None:
    """A property is taken with the type that it has, or refused with its address."""
    name = source.pick(NAMES)
    text = "".join(source.pick(PIECES) for _ in range(source.below(12)))
    key = f"org.systemd.property.{name}"
    try:
        (found,) = asked_properties({key: text}, policy=source.pick(("careful", "untrusted", "any")))
    except SpecError as exc:
        assert exc.origin == f'$.annotations["{key}"]', exc
        return
    assert found.signature == UNIT_PROPERTIES.get(found.name, found.signature)
    variant = Variant(found.signature, found.value)
    same(variant)
    assert not gvariant.dbus_problem(variant)
    assert found.name not in ("PIDs", "PIDFDs", "ControlGroup", "RefuseManualStop")


KINDS = (any_text, any_value, annotation)


def one(data: bytes) -> None:
    source = Source(data)
    source.pick(KINDS)(source)
