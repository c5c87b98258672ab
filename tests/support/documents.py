"""Programs of the tutorials, and what the pages say that they print."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["TUTORIALS", "Program", "agrees", "programs"]

DOCS = Path(__file__).resolve().parents[2] / "docs"
TUTORIALS = sorted(DOCS.glob("tutorial-*.md"))

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


class Program(NamedTuple):
    """One block of Python."""

    page: Path
    number: int
    text: str
    output: str | None
    """The block of text behind it; "..." stands for anything."""

    @property
    def id(self) -> str:
        return f"{self.page.stem}-{self.number}"

    @property
    def lane(self) -> str:
        """Which tests run it."""
        if "distributed" in self.text:
            return "dask"
        return "plugin" if "pytest" in self.text else "integration"


def programs(lane: str = "") -> list[Program]:
    """Return all programs, or those of one lane."""
    found = []
    for page in TUTORIALS:
        blocks = _BLOCK.findall(page.read_text())
        for number, (language, text) in enumerate(blocks):
            if language == "python":
                following = blocks[number + 1] if number + 1 < len(blocks) else ("", "")
                found.append(Program(page, number, text, following[1] if following[0] == "text" else None))
    return [program for program in found if lane in ("", program.lane)]


def agrees(program: Program, printed: str) -> bool:
    """Whether a program has printed what its page says."""
    return doctest.OutputChecker().check_output(program.output or "", printed, doctest.ELLIPSIS)
