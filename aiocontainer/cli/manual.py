"""man: manual pages in the language of man(7), from the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiocontainer import __version__

from .arguments import UsageError
from .table import COMMANDS, GLOBAL_OPTIONS, PROGRAM, Command, Option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .arguments import Invocation

__all__ = ["command_page", "man", "program_page"]

_SECTION: Final = 8
_DESCRIPTION: Final = (
    "creates and runs containers as the Open Container Initiative specifies them.  A container is made from "
    "a bundle: a directory with config.json and a root file system.  Container engines call this program as "
    "they call runc(8) or crun(1); see the option --runtime of podman(1)."
)
_STATUS: Final = (
    ("0", "success; of run and exec: the program ended with 0, or it was started and detached"),
    ("1", "failure, which one line on standard error tells"),
    ("255", "exec could not run the program"),
    ("other", "of run and exec: that of the program, or 128 and the number of the signal that ended it"),
)
_FILES: Final = (
    ("/run/aiocontainer", "the state of root's containers"),
    ("$XDG_RUNTIME_DIR/aiocontainer", "the state of an ordinary user's containers"),
)


def man(call: Invocation) -> int:
    """Print the page of the program, or of one command."""
    if not call.operands:
        print(program_page(), end="")
        return 0
    for command in COMMANDS:
        if command.name == call.operands[0]:
            print(command_page(command), end="")
            return 0
    raise UsageError(f"there is no command {call.operands[0]!r}")


def program_page() -> str:
    """Return the page of the program."""
    lines = (
        *_head(PROGRAM, "OCI runtime for Linux containers"),
        *_synopsis("[OPTIONS] COMMAND ..."),
        ".SH DESCRIPTION",
        f".B {PROGRAM}",
        _text(_DESCRIPTION),
        *_options(GLOBAL_OPTIONS),
        ".SH COMMANDS",
        *_terms((f"{PROGRAM}-{each.name}({_SECTION})", each.summary) for each in COMMANDS),
        ".SH EXIT STATUS",
        *_terms(_STATUS),
        ".SH FILES",
        *_terms(_FILES),
        ".SH SEE ALSO",
        _text("runc(8), crun(1), podman(1), cgroups(7), namespaces(7)"),
    )
    return "\n".join((*lines, ""))


def command_page(command: Command) -> str:
    """Return the page of one command."""
    usages = command.usage.split("  |  ")
    lines = (
        *_head(f"{PROGRAM}-{command.name}", command.summary),
        *_synopsis(f"{command.name} {usages[0]}".strip(), *usages[1:]),
        ".SH DESCRIPTION",
        _text(command.summary[0].upper() + command.summary[1:] + "."),
        *((".PP", _text(command.description)) if command.description else ()),
        *_options(command.options),
        ".SH SEE ALSO",
        _text(f"{PROGRAM}({_SECTION})"),
    )
    return "\n".join((*lines, ""))


def _head(name: str, summary: str) -> tuple[str, ...]:
    title = f'.TH "{_text(name.upper())}" {_SECTION} "" "{PROGRAM} {__version__}"'
    return title, ".SH NAME", f"{_text(name)} \\- {_text(summary)}"


def _synopsis(*usages: str) -> Iterator[str]:
    yield ".SH SYNOPSIS"
    for number, usage in enumerate(usages):
        if number:
            yield ".br"
        yield f".B {PROGRAM}"
        yield _text(usage)


def _options(options: Iterable[Option]) -> Iterator[str]:
    yield ".SH OPTIONS"
    for option in options:
        names = ", ".join(f"\\fB{_text(name)}\\fR" for name in reversed(option.names))
        value = f" \\fI{_text(option.value)}\\fR" if option.value else ""
        choices = f": {', '.join(option.choices)}" if option.choices else ""
        yield from (".TP", names + value, _text(option.help + choices))


def _terms(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in rows:
        yield from (".TP", f"\\fB{_text(term)}\\fR", _text(text))


def _text(text: str) -> str:
    """Escape what man(7) would take for its own: backslashes, hyphens that are minus signs, a first dot."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
