"""Differences from other runtimes, and what docs/differences.md explains of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["unexplained"]

PAGE: Final = Path(__file__).parents[2] / "docs/differences.md"


def explained(peer: str) -> list[re.Pattern[str]]:
    """Return what the page explains of a peer: rows of "who | pattern | why"."""
    rows = [re.split(r"(?<!\\) \| ", line.strip("| \n")) for line in PAGE.read_text().splitlines()]
    tables = [row for row in rows if len(row) == 3 and row[1].startswith("`")]
    return [re.compile(row[1].strip("`").replace("\\|", "|")) for row in tables if row[0] in (peer, "both")]


def unexplained(peer: str, differences: Mapping[str, list[int]]) -> list[str]:
    """Return the differences that no row explains, and in which bundles they are."""
    patterns = explained(peer)
    return [
        f"{each}  (bundles {bundles})"
        for each, bundles in differences.items()
        if not any(pattern.fullmatch(each) for pattern in patterns)
    ]
