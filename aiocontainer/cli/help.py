"""The text of --help, from the table."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from .arguments import UsageError
from .table import COMMANDS, GLOBAL_OPTIONS, PROGRAM, Command, Option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .arguments import Invocation

__all__ = ["command_help", "help_", "program_help"]

WIDTH = 100
COLUMN = 26  # where the explanations begin


def help_(call: Invocation) -> int:
    """Explain the program, or one command."""
    if not call.operands:
        print(program_help())
        return 0
    for command in COMMANDS:
        if command.name == call.operands[0]:
            print(command_help(command))
            return 0
    raise UsageError(f"there is no command {call.operands[0]!r}")


def program_help() -> str:
    """Return what the program does, its commands and its global options."""
    return "\n".join(
        (
            f"Usage: {PROGRAM} [OPTIONS] COMMAND ...",
            "",
            "Create, start and inspect Linux containers (Open Container Initiative).",
            "",
            "Commands:",
            *_columns((command.name, command.summary) for command in COMMANDS),
            "",
            "Options:",
            *_columns(map(_option, GLOBAL_OPTIONS)),
            "",
            f"'{PROGRAM} COMMAND --help' explains one command.",
        )
    )


def command_help(command: Command) -> str:
    """Return how to call one command."""
    return "\n".join(
        (
            f"Usage: {PROGRAM} {command.name} {command.usage}",
            "",
            fill(command.summary[0].upper() + command.summary[1:] + ".", WIDTH),
            *(("", fill(command.description, WIDTH)) if command.description else ()),
            "",
            "Options:",
            *_columns(map(_option, command.options)),
        )
    )


def _option(option: Option) -> tuple[str, str]:
    names = ", ".join(reversed(option.names))
    value = f" {option.value}" if option.value else ""
    choices = f": {', '.join(option.choices)}" if option.choices else ""
    return names + value, option.help + choices


def _columns(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    indent = " " * COLUMN
    for name, text in rows:
        lead = f"  {name}".ljust(COLUMN - 1) + " "
        if len(lead) > COLUMN:
            yield lead.rstrip()
            lead = indent
        yield fill(text, WIDTH, initial_indent=lead, subsequent_indent=indent)
