"""What a service manager has made of the properties that it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from .._lazy import pattern
from ..gvariant import Variant
from ..gvariant.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..gvariant.types import Type
    from .unit import UnitPlan, UnitProperty

__all__ = ["PropertyDifference", "property_differences"]

_UNTOLD: Final = pattern(r"\w+Scale|AddRef|PIDs|PIDFDs")
"""What can be set and not be read: it becomes the value of another property, or nothing that stays."""

_LONGER: Final = frozenset({"Conditions", "Asserts"})
"""What is read with more members than it is set with: how each condition went."""


class PropertyDifference(Struct, frozen=True):
    """A property of a container's unit that the service manager altered or dropped."""

    name: str
    """Of the property."""
    asked: Variant
    """The value that was to be set."""
    got: Variant | None
    """What it has instead; None where it tells of no such property."""
    origin: str
    """The place in the specification, or the argument, that asked for it."""

    def __str__(self) -> str:
        has = f"has {self.got}" if self.got is not None else "tells of no such property"
        return f"{self.origin}: {self.name} was to be {self.asked}, and the service manager {has}"


def property_differences(unit: UnitPlan, found: Mapping[str, Variant]) -> Iterator[PropertyDifference]:
    """Yield what differs of the properties that were asked for by name; *found* are all that there are.

    Lists may be longer than asked for: the manager adds to them.  What limits of the same name have set
    since is left out, as they win.
    """
    since = {each.name for each in unit.resources}
    for each in unit.properties:
        if each.by_name and each.name not in since and not _UNTOLD.fullmatch(each.name):
            got = found.get(each.name)
            if got is None or not _is_kept(each, got):
                yield PropertyDifference(each.name, Variant(each.signature, each.value), got, each.origin)


def _is_kept(asked: UnitProperty, got: Variant) -> bool:
    alike = got.signature == asked.signature or asked.name in _LONGER
    return alike and _has(parse_type(asked.signature), asked.value, got.value)


def _has(type: Type, asked: Any, got: Any) -> bool:
    """Tell whether one value is another, or has what that has."""
    match type.code:
        case "a" if type.parts[0].code == "y":  # a set of bits: filled up to whole words
            return bytes(asked).rstrip(b"\0") == bytes(got).rstrip(b"\0")
        case "a" if not isinstance(asked, dict):
            return all(any(_has(type.parts[0], each, other) for other in got) for each in asked)
        case "(":
            return all(map(_has, type.parts, asked, got))
    return bool(asked == got)
