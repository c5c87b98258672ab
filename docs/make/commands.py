"""The command line, from the table that the parser reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiocontainer.cli.table import COMMANDS, GLOBAL_OPTIONS, PROGRAM, Command, Option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["commands_page"]

_HEAD = f"""\
# The command line

Made by `python docs/make` from the table that the parser, `--help`, the manual pages and shell completion read; a unit
test compares it. [How to use it in place of runc](howto.md#in-place-of-runc) is told elsewhere.

```text
{PROGRAM} [OPTIONS] COMMAND ...
```

Exit status: 0 is success and 1 failure, which one line on standard error tells. `run` and `exec` end with the status of
the program that they ran, or 128 and the number of the signal that ended it; `exec` ends with 255 where it could not run
it.

## Options of all commands

They stand before the name of the command.

"""


def commands_page() -> str:
    """Return the page of commands."""
    parts = [
        _HEAD,
        *_options(GLOBAL_OPTIONS),
        "\n## Commands\n\n",
        "| command | what it does |\n| --- | --- |\n",
    ]
    parts += [f"| [`{each.name}`](#{each.name}) | {_text(each.summary)} |\n" for each in COMMANDS]
    for command in COMMANDS:
        parts += _command(command)
    return "".join(parts)


def _command(command: Command) -> Iterator[str]:
    yield f"\n## {command.name}\n\n```text\n"
    for number, usage in enumerate(command.usage.split("  |  ")):
        yield f"{PROGRAM} {usage if number else f'{command.name} {usage}'.strip()}\n"
    yield f"```\n\n{_sentence(_text(command.summary))}"
    yield f" {_text(command.description)}\n" if command.description else "\n"
    options = [option for option in command.options if "--help" not in option.names]
    if options:
        yield "\n"
        yield from _options(options)


def _options(options: Iterable[Option]) -> Iterator[str]:
    yield "| option | meaning |\n| --- | --- |\n"
    for option in options:
        names = ", ".join(f"`{name}`" for name in reversed(option.names))
        value = f" *{option.value}*".replace("|", "\\|") if option.value else ""
        choices = f": {', '.join(f'`{each}`' for each in option.choices)}" if option.choices else ""
        default = f" (default: `{option.default}`)" if option.default and option.choices else ""
        again = "; may be given several times" if option.repeat else ""
        yield f"| {names}{value} | {_text(option.help)}{choices}{default}{again} |\n"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _text(text: str) -> str:
    """Escape what Markdown would take for its own, and set options and variables as what they are."""
    text = re.sub(r"(?<![\w-])(--[a-z][a-z-]*|\$[A-Z_]+)(?![\w-])", r"`\1`", text)
    return re.sub(r"(<|\*|\||\[)", r"\\\1", text)
