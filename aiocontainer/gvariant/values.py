"""Values that plain Python has no shape for: a variant, and a maybe that is something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from .types import parse_type, signature_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from .types import Type

__all__ = ["Just", "Variant", "convert", "dbus_problem", "depth"]


class Variant(Struct, frozen=True):
    """A value together with its type, one complete type of GVariant or D-Bus."""

    signature: str
    value: Any

    def __str__(self) -> str:
        from . import writer  # which builds on this module

        return writer.format(self)


class Just(Struct, frozen=True):
    """A maybe that is something; the other is None."""

    value: Any


def convert(variant: Variant, make: Callable[[str, Any], Any]) -> Any:
    """Return ``make(signature, value)`` for the variant, after doing the same to all variants inside it.

    With *make* the class of a D-Bus library this gives what that library sends.
    """
    return _convert(parse_type("v"), variant, make)


def dbus_problem(variant: Variant) -> str:
    """Return why a message of D-Bus cannot carry the value; empty if it can."""
    signatures: list[str] = []
    convert(variant, lambda signature, _: signatures.append(signature))
    problems = [signature_problem(signature) for signature in signatures]
    problems += ["a descriptor, which a text cannot pass" for signature in signatures if "h" in signature]
    return next(filter(None, problems), "")


def _convert(type: Type, value: Any, make: Callable[[str, Any], Any]) -> Any:
    match type.code:
        case "v":
            return make(value.signature, _convert(parse_type(value.signature), value.value, make))
        case "m":
            return None if value is None else Just(_convert(type.parts[0], value.value, make))
        case "(" | "{":
            return tuple(_convert(part, each, make) for part, each in zip(type.parts, value, strict=True))
        case "a" if isinstance(value, dict):
            key, content = type.parts[0].parts
            return {_convert(key, k, make): _convert(content, v, make) for k, v in value.items()}
        case "a" if not isinstance(value, bytes):
            return [_convert(type.parts[0], each, make) for each in value]
    return value


def depth(type: Type, value: Any) -> int:
    """Count the containers in one another, variants and maybes among them."""
    match type.code:
        case "v":
            return 1 + depth(parse_type(value.signature), value.value)
        case "m":
            return 1 + (0 if value is None else depth(type.parts[0], value.value))
        case "(" | "{":
            return 1 + max(map(depth, type.parts, value), default=0)
        case "a" if isinstance(value, dict):
            key, content = type.parts[0].parts
            return 1 + max((max(depth(key, k), depth(content, v)) for k, v in value.items()), default=0)
        case "a" if not isinstance(value, bytes):
            return 1 + max((depth(type.parts[0], each) for each in value), default=0)
        case "a":
            return 1
    return 0
