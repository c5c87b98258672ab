"""Numbers and strings as they are written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..errors import GVariantError

if TYPE_CHECKING:
    from .scanner import Token

__all__ = ["is_float", "read_bytes", "read_float", "read_integer", "read_text", "unquoted"]

_INTEGER: Final = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT: Final = re.compile(
    r"""(?x) [-+]? (?:
        inf | nan
      | (?: [0-9]+ \.? [0-9]* | \.[0-9]+ ) (?: [eE] [-+]? [0-9]+ )?
    )"""
)
_HEX_FLOAT: Final = re.compile(
    r"[-+]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][-+]?[0-9]+)?"
)
_HEX: Final = re.compile(r"[-+]?0[xX]")
_DECIMALS: Final = 20  # digits of 2**64: int() takes quadratic time for many more

_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\n": ""}
"""Escapes of one letter; a newline's is a line that goes on."""


def is_float(text: str) -> bool:
    """Tell whether a number says by itself that it is none of the integers."""
    return "." in text or "inf" in text or "nan" in text or ("e" in text and not _HEX.match(text))


def read_integer(token: Token) -> int:
    """Read an integer as C does: decimal, hexadecimal with ``0x``, octal with ``0``; any size."""
    _whole(token, _INTEGER)
    negative, digits = token.text.startswith("-"), token.text.lstrip("+-")
    base = 16 if _HEX.match(digits) else 8 if digits.startswith("0") else 10
    if base == 10 and len(digits) > _DECIMALS:
        raise GVariantError("no integer type is that wide", origin="text", column=token.column)
    value = int(digits, base)
    return -value if negative else value


def read_float(token: Token) -> float:
    """Read a float; what is too small is zero, what is too large raises."""
    hexadecimal = _HEX.match(token.text) is not None
    _whole(token, _HEX_FLOAT if hexadecimal else _FLOAT)
    try:
        value = float.fromhex(token.text) if hexadecimal else float(token.text)
    except OverflowError:
        value = float("inf")
    if value in (float("inf"), float("-inf")) and "inf" not in token.text:
        raise GVariantError("too large for a double", origin="text", column=token.column)
    return value


def _whole(token: Token, number: re.Pattern[str]) -> None:
    found = number.match(token.text)
    end = found.end() if found else 0
    if end < len(token.text):
        raise GVariantError(
            f"{token.text[end]!r} does not belong in such a number", origin="text", column=token.column + end
        )
    if not found:  # pragma: no cover - a token is never empty
        raise AssertionError(token)


def unquoted(token: Token) -> tuple[str, int]:
    """Return what stands between the quotes, and the column where that begins."""
    quote = 1 if token.kind == "bytes" else 0
    return token.text[quote + 1 : -1], token.column + quote + 1


_ESCAPE: Final = re.compile(r"(?s)\\(?:(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|(.))")


def read_text(token: Token) -> str:
    """Read a string: escapes are C's, and a ``u`` with four or a ``U`` with eight hexadecimal digits."""
    body, column = unquoted(token)

    def character(match: re.Match[str]) -> str:
        code, letter = match.groups()
        if code:
            number = int(code[1:], 16)
            if number == 0 or number > 0x10FFFF or 0xD800 <= number < 0xE000:
                raise GVariantError(f"\\{code} is no character", origin="text", column=column + match.start())
            return chr(number)
        if letter in "uU":
            digits = 4 if letter == "u" else 8
            raise GVariantError(
                f"\\{letter} wants {digits} hexadecimal digits", origin="text", column=column + match.start()
            )
        return _SIMPLE.get(letter, letter)

    return _ESCAPE.sub(character, body)


_BYTE_ESCAPE: Final = re.compile(r"(?s)\\(?:([0-7]{1,3})|(.))")


def read_bytes(token: Token) -> bytes:
    """Read a byte string: escapes are C's, octal ones too; the zero that ends it is added."""
    body, column = unquoted(token)
    pieces, at = [], 0
    for match in _BYTE_ESCAPE.finditer(body):
        pieces.append(body[at : match.start()].encode())
        octal, letter = match.groups()
        number = int(octal, 8) if octal else 256
        if octal and not 0 < number < 256:
            # GLib would stop at a zero, and drop the ninth bit.
            raise GVariantError(
                f"\\{octal} is no byte of a string", origin="text", column=column + match.start()
            )
        pieces.append(bytes((number,)) if octal else _SIMPLE.get(letter, letter).encode())
        at = match.end()
    return b"".join((*pieces, body[at:].encode(), b"\0"))
