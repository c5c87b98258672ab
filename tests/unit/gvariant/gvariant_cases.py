"""Values of every type, and values as GLib's answers show them."""

from __future__ import annotations

import math
import struct
from typing import Any

from hypothesis import strategies as st

from aiocontainer.gvariant import Just, Variant
from aiocontainer.gvariant.types import INTEGERS, Type, parse_type, type_text


def tree(variant: Variant) -> Any:
    """A value of ours in the shape of the reference's answer."""
    return _tree(parse_type(variant.signature), variant.value)


def _tree(type: Type, value: Any) -> Any:
    children: list[Any]
    match type.code:
        case "d":
            return ["d", struct.pack(">d", math.nan if math.isnan(value) else value).hex()]
        case "v":
            children = [tree(value)]
        case "m":
            children = [] if value is None else [_tree(type.parts[0], value.value)]
        case "(" | "{":
            children = [_tree(part, each) for part, each in zip(type.parts, value, strict=True)]
        case "a" if isinstance(value, dict):
            children = [_tree(type.parts[0], pair) for pair in value.items()]
        case "a":
            children = [_tree(type.parts[0], each) for each in value]
        case _:
            return [type.code, value]
    return [type_text(type), children]


# Every type, to a few levels.

BASIC = st.sampled_from("bynqiuxthdsog")
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
PATHS = st.lists(st.text("azAZ09_", min_size=1, max_size=3), max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
FLOATS = st.floats(allow_subnormal=False).map(
    lambda value: math.nan if math.isnan(value) else value
)  # GLib reads no subnormal ones


def signatures(*, maybe: bool = True) -> st.SearchStrategy[str]:
    """Complete types."""
    return st.recursive(
        BASIC | st.just("v"),
        lambda inner: st.one_of(
            *([inner.map("m{}".format)] if maybe else []),
            inner.map("a{}".format),
            st.tuples(BASIC, inner).map(lambda pair: f"a{{{pair[0]}{pair[1]}}}"),
            st.lists(inner, max_size=3).map(lambda members: f"({''.join(members)})"),
        ),
        max_leaves=5,
    )


def values(type: Type, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a type."""
    match type.code:
        case "b":
            return st.booleans()
        case "d":
            return FLOATS
        case "s":
            return TEXTS
        case "o":
            return PATHS
        case "g":
            return st.sampled_from(["", "s", "a{sv}", "a(ii)su"])
        case "v":
            return variants(depth + 1) if depth < 2 else st.just(Variant("b", True))
        case "m":
            return st.none() | values(type.parts[0], depth).map(Just)
        case "(" | "{":
            return st.tuples(*(values(part, depth) for part in type.parts))
        case "a":
            return _arrays(type.parts[0], depth)
    numbers = INTEGERS[type.code]
    return st.integers(numbers[0], numbers[-1])


def _arrays(part: Type, depth: int) -> st.SearchStrategy[Any]:
    if part.code == "y":
        return st.binary(max_size=6) | st.binary(max_size=6).map(lambda data: data + b"\0")
    if part.code == "{":
        keys = values(part.parts[0], depth).filter(lambda key: key == key)  # not NaN, which is no key
        return st.dictionaries(keys, values(part.parts[1], depth), max_size=3)
    return st.lists(values(part, depth), max_size=3)


def variants(depth: int = 0, *, maybe: bool = True) -> st.SearchStrategy[Variant]:
    """Values of any type."""
    return signatures(maybe=maybe).flatmap(
        lambda text: values(parse_type(text), depth).map(lambda value: Variant(text, value))
    )
