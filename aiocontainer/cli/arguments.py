"""From the words of the command line to values, by the table.

No argparse, and nothing of `typing`: importing either takes longer than most commands.
"""

from __future__ import annotations

from .table import COMMANDS, GLOBAL_OPTIONS, PROGRAM, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["Invocation", "Namespace", "UsageError", "parse"]

# What strconv.ParseBool of Go takes, and so runc behind "=".
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))

_DIGITS = frozenset("0123456789")


class UsageError(Exception):
    """The command line cannot be understood."""


class Namespace:
    """Values of options, each under the option's long name with "_" for "-"."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...


class Invocation:
    """A command line, understood; `command` is None where only global options were given."""

    __slots__ = ("command", "operands", "options", "program", "separator")

    def __init__(
        self,
        program: Namespace,
        command: Command | None,
        options: Namespace,
        operands: list[str],
        separator: int | None = None,
    ) -> None:
        """Take the values of global options, and the command's; *separator*: operands before "--"."""
        self.program: Namespace = program
        self.command: Command | None = command
        self.options: Namespace = options
        self.operands: list[str] = operands
        self.separator: int | None = separator


def parse(words: Sequence[str]) -> Invocation:
    """Understand the *words* after the program's name; raises UsageError."""
    values, rest = _read(GLOBAL_OPTIONS, words, "", until_operand=True)
    program = Namespace(values)
    if not rest:
        return Invocation(program, None, Namespace({}), [])
    command = _command(rest[0])
    options, operands, separator = _parse_command(command, rest[1:])
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
    values, rest = _read(command.options, words, f"{command.name} ", until_operand=command.ends_options)
    operands, separator = _without_separator(rest) if command.ends_options else (rest, None)
    return Namespace(values), operands, separator


def _without_separator(words: list[str]) -> tuple[list[str], int | None]:
    """Take out one "--", which may stand before the container's id or behind it."""
    for place in (0, 1):
        if words[place : place + 1] == ["--"]:
            return [*words[:place], *words[place + 1 :]], place
    return words, None


def _read(
    options: Sequence[Option], words: Sequence[str], command: str, *, until_operand: bool
) -> tuple[dict[str, Any], list[str]]:
    """Read options up to "--", or with *until_operand* up to what is none; returns values and the rest."""
    known = {name: option for option in options for name in option.names}
    values = {_key(option): _default(option) for option in options}
    operands: list[str] = []
    todo = list(reversed(words))
    while todo:
        word = todo.pop()
        if len(word) > 1 and word[0] == "-" and word != "--":
            _take(known, values, word, todo, command)
        elif until_operand:
            return values, [word, *reversed(todo)]
        elif word == "--":
            return values, [*operands, *reversed(todo)]
        else:
            operands.append(word)
    return values, operands


def _key(option: Option) -> str:
    return option.names[0][2:].replace("-", "_")


def _default(option: Option) -> Any:
    if option.repeat:
        return []
    if option.number:
        return 0
    return option.default if option.value else False


def _take(known: dict[str, Option], values: dict[str, Any], word: str, todo: list[str], command: str) -> None:
    """Take one option, and its value from *todo* unless it is joined to it."""
    name, equals, joined = word.partition("=")
    option = known.get(name) or known.get(f"-{name}")  # Go programs take one dash for two
    if option is None:
        option, joined = _of_cluster(known, word, todo)
        if option is None:
            raise UsageError(f"unknown option {word}; see '{PROGRAM} {command}--help'")
        name, equals = word[:2], joined
    if not option.value:
        values[_key(option)] = _switch(name, joined) if equals else True
        return
    if not equals and not todo:
        raise UsageError(f"option {name} needs a value: {option.value}")
    value = _value(option, name, joined if equals else todo.pop())
    if option.repeat:
        values[_key(option)].append(value)
    else:
        values[_key(option)] = value


def _of_cluster(known: dict[str, Option], word: str, todo: list[str]) -> tuple[Option | None, str]:
    """Take the first of several short options in one word, "-td"; the rest is its value, or goes back."""
    option, rest = known.get(word[:2]), word[2:]
    if option is None or option.value:
        return option, rest
    if f"-{rest[0]}" not in known:
        return None, ""
    todo.append(f"-{rest}")
    return option, ""


def _switch(name: str, text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise UsageError(f"option {name}: {text!r} is neither true nor false")
    return text in _TRUE


def _value(option: Option, name: str, text: str) -> str | int:
    if option.number:
        # ASCII digits only: int() also takes "1_0", " 1" and the digits of other scripts.
        if not 0 < len(text) < 10 or not _DIGITS.issuperset(text):
            raise UsageError(f"option {name}: {text!r} is not a number")
        return int(text)
    if option.choices and text not in option.choices:
        raise UsageError(f"option {name}: {text!r} is none of {', '.join(option.choices)}")
    return text


def _check_count(command: Command, operands: Sequence[str]) -> None:
    least, most = command.operands
    if len(operands) < least or (most is not None and len(operands) > most):
        raise UsageError(f"usage: {PROGRAM} {command.name} {command.usage}".rstrip())
