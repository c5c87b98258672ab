"""Reads the text format: by descent into nodes, whose common types are found, then into values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import GVariantError
from .literals import read_bytes, read_text
from .nodes import Array, Boolean, Boxed, Bytes, Entries, Entry, Maybe, Number, Text, Tuple, Typed, resolve
from .scanner import Token, scan
from .types import KEYWORDS, MAX_DEPTH, parse_type, type_text
from .values import Variant, depth

if TYPE_CHECKING:
    from .nodes import Node

__all__ = ["MAX_BYTES", "parse"]

MAX_BYTES: Final = 64 * 1024
"""Of a text, in UTF-8."""

_MAX_NESTED: Final = 2 * MAX_DEPTH  # brackets and type declarations: each container may have one


def parse(text: str, signature: str | None = None, *, origin: str = "text") -> Variant:
    """Read one value.

    With *signature* the value has that type or raises; without, bare integers are ``i`` and other
    numbers ``d``, and what could be anything, as an empty array could, raises.  Unlike GLib it takes
    no key of a dictionary twice, no type declaration inside another of a different type, and no number
    without digits.  Raises `GVariantError` with the column, for *origin*.
    """
    wanted = None if signature is None else parse_type(signature)
    try:
        _check_text(text)
        parser = _Parser(text)
        node = parser.value(_MAX_NESTED)
        parser.expect("end", "the value is complete: nothing may follow")
        type = wanted or resolve(node)
        value = node.value(type)
        if depth(type, value) > MAX_DEPTH:
            raise _error(f"nested deeper than {MAX_DEPTH}", 1)
        return Variant(type_text(type), value)
    except GVariantError as exc:
        raise GVariantError(exc.problem, origin=origin, column=exc.column) from None


def _check_text(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as exc:
        raise _error("half of a surrogate pair", exc.start + 1) from None
    if size > MAX_BYTES:
        raise _error(f"longer than {MAX_BYTES} bytes", 1)
    if "\0" in text:
        raise _error("a NUL character", text.index("\0") + 1)


def _error(problem: str, column: int) -> GVariantError:
    return GVariantError(problem, origin="text", column=column)


class _Parser:
    """Recursive descent with one token ahead; what is left of *room* bounds the recursion."""

    def __init__(self, text: str) -> None:
        self._tokens = scan(text)
        self._next = next(self._tokens)

    def _take(self) -> Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)
        return token

    def _skip(self, kind: str) -> bool:
        if self._next.kind != kind:
            return False
        self._take()
        return True

    def expect(self, kind: str, problem: str) -> None:
        """Take a token of this kind, or raise."""
        if not self._skip(kind):
            raise _error(problem, self._next.column)

    def value(self, room: int) -> Node:
        """Read the value that begins here."""
        token = self._take()
        match token.kind:
            case "number":
                return Number(token)
            case "text":
                return Text(token, read_text(token))
            case "bytes":
                return Bytes(token, read_bytes(token))
            case "word":
                return self._word(token, room)
            case "broken":
                raise _error("the string does not end", token.column)
            case "[" | "(" | "{" | "<" | "type":
                return self._container(token, room)
            case "end":
                raise _error("a value is missing", token.column)
            case other:
                raise _error(f"{other!r} begins no value", token.column)

    def _word(self, token: Token, room: int) -> Node:
        match token.text:
            case "true" | "false":
                return Boolean(token)
            case "inf" | "nan":
                return Number(token)
            case "just" | "nothing":
                return self._container(token, room)
            case word if word in KEYWORDS:
                return self._container(token, room)
        raise _error(f"{token.text!r} is no keyword", token.column)

    def _container(self, token: Token, room: int) -> Node:
        if room == 0:
            raise _error(f"nested deeper than {MAX_DEPTH}", token.column)
        match token.text:
            case "[":
                return self._array(token, room - 1)
            case "(":
                return self._tuple(token, room - 1)
            case "{":
                return self._dictionary(token, room - 1)
            case "<":
                inner = self.value(room - 1)
                self.expect(">", "'>' has to end the variant")
                return Boxed(token, inner)
            case "just":
                return Maybe(token, self.value(room - 1))
            case "nothing":
                return Maybe(token, None)
        return self._typed(token, room - 1)

    def _typed(self, token: Token, room: int) -> Node:
        text = KEYWORDS.get(token.text) or token.text[1:]
        try:
            type = parse_type(text)
        except GVariantError as exc:
            raise _error(exc.problem, token.column + exc.column) from None
        return Typed(token, type, self.value(room))

    def _array(self, token: Token, room: int) -> Node:
        items: list[Node] = []
        while not self._skip("]"):
            if items:
                self.expect(",", "',' or ']' has to follow an element of an array")
            items.append(self.value(room))
        return Array(token, items)

    def _tuple(self, token: Token, room: int) -> Node:
        members: list[Node] = []
        while not self._skip(")"):
            if len(members) > 1:
                self.expect(",", "',' or ')' has to follow a member of a tuple")
            members.append(self.value(room))
            if len(members) == 1:
                self.expect(",", "',' has to follow the first member of a tuple, even if it is the only one")
        return Tuple(token, members)

    def _dictionary(self, token: Token, room: int) -> Node:
        pairs: list[tuple[Node, Node]] = []
        while not self._skip("}"):
            if pairs:
                self.expect(",", "',' or '}' has to follow an entry of a dictionary")
            key = self.value(room)
            if not pairs and self._skip(","):
                entry = Entry(token, key, self.value(room))
                self.expect("}", "'}' has to end a dictionary entry")
                return entry
            self.expect(":", "':' has to follow the key of a dictionary")
            pairs.append((key, self.value(room)))
        return Entries(token, pairs)
