"""The generated pages, as text."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from commands import commands_page
from drawing import drawing
from fields import addresses, bad_documents, effects
from mistakes import errors_page
from proofs import proofs
from tables import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["PAGES", "PENDING", "Row", "fields_page", "rows", "words_page"]

PENDING: dict[str, str] = {}
"""Beginnings of addresses that may be without a test: what is not done yet, and what is missing."""

_FIELDS = """\
# Every field of `config.json`

Made by `python docs/make` from the code; a unit test compares it. For each field of the OCI runtime specification 1.3
for Linux: what it changes in a plan (steps of the helper, or parts that the parent carries out), which documents of the
unit tests (`tests/data/specs/bad`) are refused at it, and which tests prove its effect by looking from inside a
container or at the machine (`@pytest.mark.proves`). `[]` is any element of a list, `{}` any member of a map. Members
for other platforms (`solaris`, `windows`, `vm`, `zos`, `freebsd`, `process.commandLine`, `process.user.username`) are
ignored, as the specification wants.

"""

_WORDS = """\
# Every word that is known

Made by `python docs/make` from the tables that the parsers, the listing of plans and `aiocontainer features` read; a
unit test compares it.
"""


class Row(NamedTuple):
    """One field."""

    address: str
    effects: tuple[str, ...]
    refused: tuple[str, ...]
    tests: tuple[str, ...]

    @property
    def is_pending(self) -> bool:
        """Whether it may be without a test."""
        return self.address.startswith(tuple(PENDING))


@functools.cache
def rows(root: Path) -> list[Row]:
    """Return what is known of each field."""
    proven = proofs(root / "tests")
    refused = bad_documents(root / "tests/data/specs/bad")
    return [
        Row(address, effects(address, type), tuple(refused.get(address, ())), _tests(proven, address))
        for address, type in addresses().items()
    ]


def unknown(root: Path) -> list[str]:
    """Return what tests claim to prove and is no field."""
    known = [*addresses()]
    return [claim for claim in proofs(root / "tests") if not any(map(_pattern(claim).fullmatch, known))]


def _tests(proven: Mapping[str, Sequence[str]], address: str) -> tuple[str, ...]:
    found = {test for claim, tests in proven.items() if _pattern(claim).fullmatch(address) for test in tests}
    return tuple(sorted(found))


def _pattern(claim: str) -> re.Pattern[str]:
    """Return what matches the fields of a claim, in which "*" is any one name."""
    return re.compile(r"\w+".join(map(re.escape, claim.split("*"))))


def fields_page(root: Path) -> str:
    """Return the page of fields."""
    lines = [
        (f"`{row.address}`", _list(row.effects), _code(row.refused), _code(row.tests) or _pending(row))
        for row in rows(root)
    ]
    return _FIELDS + _table(("field", "what it changes", "refused in", "proven by"), lines)


def words_page(root: Path) -> str:  # noqa: ARG001 - every page has it
    """Return the page of words."""
    parts = [f"\n## {title}\n\n{_table(heads, lines)}" for title, heads, lines in tables()]
    return _WORDS + "".join(parts)


def _pending(row: Row) -> str:
    return "not yet" if row.is_pending else ""


def _list(items: Iterable[str]) -> str:
    return ", ".join(items).replace("|", "\\|")


def _code(items: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in items)


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ("---",) * len(heads)
    return "".join(f"| {' | '.join(cells)} |\n".replace("  ", " ") for cells in (heads, rule, *lines))


PAGES: dict[str, Callable[[Path], str]] = {
    "fields.md": fields_page,
    "words.md": words_page,
    "cli.md": lambda _: commands_page(),
    "errors.md": lambda _: errors_page(),
    "images/data-flow.svg": lambda _: drawing(),
}
"""By name below docs."""
