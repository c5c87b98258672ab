"""From text to tokens, each with where it stands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Token", "scan"]


class Token(NamedTuple):
    """A piece of the text."""

    kind: str
    """"number", "word", "text", "bytes", "type", "end"; of anything else the character itself."""
    text: str
    column: int


# As GLib cuts it: a number takes in whatever letters follow, so that "5x" is a bad number, not two tokens.
_TOKEN: Final = re.compile(
    r"""(?xs)
    (?P<number> [-+.0-9] [-+.0-9A-Za-z]* )
  | (?P<bytes>  b (?: '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" ) )
  | (?P<text>   '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" )
  | (?P<broken> b?['"] )
  | (?P<word>   [a-z] [A-Za-z0-9]* )
  | (?P<at>     @ )
  | (?P<other>  . )
    """
)
_SPACE: Final = re.compile(r"[ \t\n\f\r]*")


def scan(text: str) -> Iterator[Token]:
    """Yield the tokens, and one of kind "end" behind the last; "broken" is a string without an end."""
    at = 0
    while True:
        space = _SPACE.match(text, at)
        assert space is not None
        at = space.end()
        match = _TOKEN.match(text, at)
        if match is None:
            yield Token("end", "", at + 1)
            return
        kind = match.lastgroup or ""
        end = _type_end(text, at + 1) if kind == "at" else match.end()
        piece = text[at:end]
        yield Token({"at": "type", "other": piece}.get(kind, kind), piece, at + 1)
        at = end


def _type_end(text: str, at: int) -> int:
    """Return where a type declaration ends: at a blank, at one of ``,:>]``, at a bracket not its own."""
    depth = 0
    for end in range(at, len(text)):
        if text[end] in " \t\n\f\r,:>]":
            return end
        if text[end] in "({":
            depth += 1
        elif text[end] in ")}":
            if not depth:
                return end
            depth -= 1
    return len(text)
