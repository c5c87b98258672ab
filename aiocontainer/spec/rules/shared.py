"""Rules that several subjects have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ...errors import SpecError
from ..ids import parse_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Problems", "absolute", "environment", "list_syntax"]

Problems: TypeAlias = "Iterator[SpecError]"


def absolute(path: str, origin: str) -> Problems:
    """Want a path from the root."""
    if not path.startswith("/"):
        yield SpecError(f"{path!r} is not an absolute path", origin=origin)


def environment(entries: Sequence[str], origin: str) -> Problems:
    """Want NAME=VALUE."""
    for index, entry in enumerate(entries):
        if entry.find("=") < 1:
            yield SpecError(f"{entry!r} is not NAME=VALUE", origin=f"{origin}[{index}]")


def list_syntax(text: str, origin: str) -> Problems:
    """Want a list of numbers, ``0-3,7``, or nothing."""
    try:
        parse_list(text, origin=origin)
    except SpecError as exc:
        yield exc
