"""What the documents show works, and what they point to is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aiocontainer
from aiocontainer.cli.table import COMMANDS

if TYPE_CHECKING:
    from support.leaks import Leaks

TREE = Path(__file__).resolve().parents[2]
DOCUMENTS = [TREE / "README.md", *sorted((TREE / "docs").rglob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.needs("root", "compiled", "overlay")
def test_ten_lines_of_the_readme(snap: Leaks, tmp_path: Path) -> None:
    (program,) = blocks(TREE / "README.md", "python")
    assert len([line for line in program.splitlines() if line]) <= 13
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(aiocontainer.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "aiocontainer\nended with status 3\n"
    assert done.stderr == ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_python_in_documents_is_python(document: Path) -> None:
    for block in blocks(document, "python"):
        compile(block, document.name, "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def test_commands_in_documents_exist() -> None:
    text = "\n".join(block for document in DOCUMENTS for block in blocks(document, "sh"))
    used = set(re.findall(r"aiocontainer ([a-z]+)", text))
    assert used <= {command.name for command in COMMANDS}
