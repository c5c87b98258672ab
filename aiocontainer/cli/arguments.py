"""From the words of the command line to values: argparse parsers made from the table."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from .table import COMMANDS, GLOBAL_OPTIONS, PROGRAM, Command, Option

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Invocation", "UsageError", "parse"]


class UsageError(Exception):
    """The command line cannot be understood."""


class Invocation(NamedTuple):
    """A command line, understood; `command` is None where only global options were given."""

    program: Namespace  # the global options
    command: Command | None
    options: Namespace  # the command's
    operands: list[str]
    separator: int | None = None  # how many operands stood before "--"


class _Parser(ArgumentParser):
    """argparse without an exit of its own: an error is one line, and its status is ours to choose."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(words: Sequence[str]) -> Invocation:
    """Understand the *words* after the program's name; raises UsageError."""
    here = _first_operand(words, GLOBAL_OPTIONS)
    program = _parser(GLOBAL_OPTIONS).parse_args(words[:here])
    if here == len(words):
        return Invocation(program, None, Namespace(), [])
    command = _command(words[here])
    options, operands, separator = _parse_command(command, words[here + 1 :])
    if not options.help:
        _check_count(command, operands)
    return Invocation(program, command, options, operands, separator)


def _command(name: str) -> Command:
    for command in COMMANDS:
        if command.name == name:
            return command
    raise UsageError(f"there is no command {name!r}; see '{PROGRAM} --help'")


def _parse_command(command: Command, words: Sequence[str]) -> tuple[Namespace, list[str], int | None]:
    """Options may stand between operands, as in runc, unless the first operand ends them."""
    parser = _parser(command.options)
    if command.ends_options:
        here = _first_operand(words, command.options)
        return parser.parse_args(words[:here]), *_without_separator(words[here:])
    parser.add_argument("operands", nargs="*")
    options = parser.parse_intermixed_args(words)
    return options, options.operands, None


def _without_separator(words: Sequence[str]) -> tuple[list[str], int | None]:
    """Take out one "--", which may stand before the container's id or behind it."""
    for place in (0, 1):
        if words[place : place + 1] == ["--"]:
            return [*words[:place], *words[place + 1 :]], place
    return list(words), None


def _first_operand(words: Sequence[str], options: Sequence[Option]) -> int:
    """Index of the first word that is neither an option nor the value of one; "--" counts as such.

    Not left to argparse, whose versions differ in what they make of "--".
    """
    with_value = {name for option in options if option.value for name in option.names}
    here = 0
    while here < len(words) and words[here].startswith("-") and words[here] not in ("-", "--"):
        here += 2 if words[here] in with_value else 1
    return min(here, len(words))


def _parser(options: Sequence[Option]) -> ArgumentParser:
    parser = _Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    for option in options:
        _add(parser, option)
    return parser


def _add(parser: ArgumentParser, option: Option) -> None:
    if not option.value:
        parser.add_argument(*option.names, action="store_true")
        return
    parser.add_argument(
        *option.names,
        action="append" if option.repeat else "store",
        type=_decimal if option.number else str,
        choices=option.choices or None,
        default=[] if option.repeat else 0 if option.number else option.default,
    )


def _decimal(text: str) -> int:
    """ASCII digits only: int() also takes "1_0", " 1" and the digits of other scripts."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(text)
    return int(text)


_decimal.__name__ = "number"  # argparse: "invalid number value: '1_0'"


def _check_count(command: Command, operands: Sequence[str]) -> None:
    least, most = command.operands
    if len(operands) < least or (most is not None and len(operands) > most):
        raise UsageError(f"usage: {PROGRAM} {command.name} {command.usage}")
