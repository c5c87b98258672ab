"""Values as written: each knows which types it can have, and what it is as one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ..errors import GVariantError
from .infer import NUMBER, OPEN, TEXT, settled, together
from .literals import is_float, read_float, read_integer
from .types import BASIC, INTEGERS, Type, is_object_path, is_signature, type_text
from .values import Just, Variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .scanner import Token

__all__ = [
    "Array",
    "Boolean",
    "Boxed",
    "Bytes",
    "Entries",
    "Entry",
    "Maybe",
    "Node",
    "Number",
    "Text",
    "Tuple",
    "Typed",
    "resolve",
]


def resolve(node: Node) -> Type:
    """Return the type of a value that nothing else says anything about."""
    type = settled(node.shape)
    if type is None:
        raise node.error("this could be of any type: write it before, as in '@as []'")
    return type


class Node(ABC):
    """One value of the text; `shape` is the type as far as the text tells it."""

    shape: Type

    def __init__(self, token: Token) -> None:
        self.token = token

    @abstractmethod
    def value(self, type: Type) -> Any:
        """Return the value as one of this type, or raise."""

    def error(self, problem: str) -> GVariantError:
        """Say what is wrong with it, and where it begins."""
        return GVariantError(problem, origin="text", column=self.token.column)

    def mismatch(self, type: Type) -> GVariantError:
        """Say that it is of another type than is wanted."""
        return self.error(f"a value of type {type_text(type)} is wanted here, and this is none")


class Definite(Node):
    """A value that does not say itself whether it is a maybe: it may stand for one."""

    def value(self, type: Type) -> Any:
        """Return the value as one of this type, or as what there is of a maybe of it."""
        if type.code == "m":
            return Just(self.value(type.parts[0]))
        return self._value(type)

    @abstractmethod
    def _value(self, type: Type) -> Any:
        """Return it as one of this type, which is no maybe, or raise."""


class Boolean(Definite):
    """``true`` or ``false``."""

    shape: Type = Type("b", bare=True)

    def _value(self, type: Type) -> bool:
        if type.code != "b":
            raise self.mismatch(type)
        return self.token.text == "true"


class Number(Definite):
    """A number."""

    _FLOAT = Type("d", bare=True)

    def __init__(self, token: Token) -> None:
        super().__init__(token)
        self.shape: Type = self._FLOAT if is_float(token.text) else NUMBER

    def _value(self, type: Type) -> float:
        if type.code == "d":
            return read_float(self.token)
        if type.code not in INTEGERS:
            raise self.mismatch(type)
        number = read_integer(self.token)
        if number not in INTEGERS[type.code]:
            bounds = INTEGERS[type.code]
            raise self.error(f"out of range: {type.code} is from {bounds[0]} to {bounds[-1]}")
        return number


class Text(Definite):
    """A string in quotes."""

    shape: Type = TEXT

    def __init__(self, token: Token, text: str) -> None:
        super().__init__(token)
        self._text = text

    def _value(self, type: Type) -> str:
        if type.code not in "sog":
            raise self.mismatch(type)
        if type.code == "o" and not is_object_path(self._text):
            raise self.error("no object path")
        if type.code == "g" and not is_signature(self._text):
            raise self.error("no signature of D-Bus")
        return self._text


class Bytes(Definite):
    """A byte string."""

    shape: Type = Type("a", (Type("y"),), bare=True)

    def __init__(self, token: Token, content: bytes) -> None:
        super().__init__(token)
        self._content = content

    def _value(self, type: Type) -> bytes:
        if type_text(type) != "ay":
            raise self.mismatch(type)
        return self._content


class Array(Definite):
    """``[...]``; its elements find a type together."""

    def __init__(self, token: Token, items: Sequence[Node]) -> None:
        super().__init__(token)
        self._items = items
        self.shape: Type = Type("a", (_common(items),), bare=True)

    def _value(self, type: Type) -> Any:
        if type.code != "a":
            raise self.mismatch(type)
        (part,) = type.parts
        if part.code == "{":
            entries = [(item, *item.value(part)) for item in self._items]
            return _dictionary([(item, key, value) for item, key, value in entries])
        values = [item.value(part) for item in self._items]
        return bytes(values) if part.code == "y" else values


class Tuple(Definite):
    """``(...)``."""

    def __init__(self, token: Token, members: Sequence[Node]) -> None:
        super().__init__(token)
        self._members = members
        self.shape: Type = Type("(", tuple(member.shape for member in members), bare=True)

    def _value(self, type: Type) -> tuple[Any, ...]:
        if type.code != "(":
            raise self.mismatch(type)
        if len(type.parts) != len(self._members):
            raise self.error(f"{len(type.parts)} members are wanted here, for {type_text(type)}")
        return tuple(member.value(part) for member, part in zip(self._members, type.parts, strict=True))


class Entries(Definite):
    """``{key: value, ...}``."""

    def __init__(self, token: Token, pairs: Sequence[tuple[Node, Node]]) -> None:
        super().__init__(token)
        self._pairs = pairs
        key = _common([key for key, _ in pairs])
        if pairs:
            _check_key(pairs[0][0], key)
        entry = Type("{", (key, _common([value for _, value in pairs])))
        self.shape: Type = Type("a", (entry,), bare=True)

    def _value(self, type: Type) -> dict[Any, Any]:
        if type.code != "a" or type.parts[0].code != "{":
            raise self.mismatch(type)
        key, value = type.parts[0].parts
        return _dictionary([(k, k.value(key), v.value(value)) for k, v in self._pairs])


class Entry(Definite):
    """``{key, value}``, one entry by itself; in an array they make a dictionary."""

    def __init__(self, token: Token, key: Node, content: Node) -> None:
        super().__init__(token)
        self._key, self._content = key, content
        _check_key(key, key.shape)
        self.shape: Type = Type("{", (key.shape, content.shape), bare=True)

    def _value(self, type: Type) -> tuple[Any, Any]:
        if type.code != "{":
            raise self.mismatch(type)
        key, content = type.parts
        return self._key.value(key), self._content.value(content)


class Boxed(Definite):
    """``<value>``, a variant."""

    shape: Type = Type("v", bare=True)

    def __init__(self, token: Token, content: Node) -> None:
        super().__init__(token)
        type = resolve(content)
        self._variant = Variant(type_text(type), content.value(type))

    def _value(self, type: Type) -> Variant:
        if type.code != "v":
            raise self.mismatch(type)
        return self._variant


class Maybe(Node):
    """``just value`` or ``nothing``."""

    def __init__(self, token: Token, content: Node | None) -> None:
        super().__init__(token)
        self._content = content
        self.shape: Type = Type("m", (OPEN if content is None else content.shape,))

    def value(self, type: Type) -> Just | None:
        """Return None or what there is; it says itself how many maybes it is."""
        if type.code != "m":
            raise self.mismatch(type)
        return None if self._content is None else Just(self._content.value(type.parts[0]))


class Typed(Definite):
    """A value with its type before it: ``uint32 5``, ``@as []``."""

    def __init__(self, token: Token, type: Type, content: Node) -> None:
        super().__init__(token)
        self.shape: Type = type
        self._content = content.value(type)

    def _value(self, type: Type) -> Any:
        if type != self.shape:
            raise self.error(f"of type {type_text(self.shape)}, and {type_text(type)} is wanted here")
        return self._content

    def value(self, type: Type) -> Any:
        """Return the value as of the type before it, or as a maybe of that."""
        return self._content if type == self.shape else super().value(type)


def _common(items: Sequence[Node]) -> Type:
    common = OPEN
    for item in items:
        found = together(common, item.shape)
        if found is None:
            raise item.error(f"of no type that it could share with the one at column {items[0].token.column}")
        common = found
    return common


def _check_key(key: Node, type: Type) -> None:
    if type.code not in BASIC and type.code not in "NS":
        raise key.error("the key of a dictionary needs a basic type")


def _dictionary(entries: Sequence[tuple[Node, Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for node, key, value in entries:
        if key in found:
            raise node.error("this key stands there already")
        found[key] = value
    return found
