"""The table of attacks: each has its tests, each test its proof, and what it names is there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from support import weak

TESTS = Path(__file__).parents[1]
GUARDS = {*weak.HELPER_GUARDS, *weak.PYTHON_GUARDS}


def load() -> Any:
    path = TESTS / "security" / "matrix.py"
    spec = importlib.util.spec_from_file_location("security_matrix", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MATRIX = load()
ROWS = (*MATRIX.ROWS, MATRIX.OLDK)


def test_every_attack_has_a_row() -> None:
    assert [row.id for row in MATRIX.ROWS] == list(MATRIX.IDS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_what_a_row_names_is_there(row: Any) -> None:
    assert row.tests or row.note
    assert row.proofs or row.note
    for path in row.paths():
        file, _, name = path.partition("::")
        text = (TESTS / file).read_text()
        assert not name or re.search(rf"^(async )?def {name}\b", text, re.MULTILINE), path
    assert {proof for proof in row.proofs if "/" not in proof} <= GUARDS


def test_nothing_is_without_a_row() -> None:
    named = {path.partition("::")[0] for row in ROWS for path in row.paths()}
    files = {f"security/{path.name}" for path in (TESTS / "security").glob("test_[to][0-9l]*_*.py")}
    assert files <= named
    assert {proof for row in ROWS for proof in row.proofs if "/" not in proof} == GUARDS


def test_guards_of_the_helper_are_in_its_source() -> None:
    sources = "".join(path.read_text() for path in (TESTS.parent / "_native").glob("*.c"))
    for guard in weak.HELPER_GUARDS:
        python = guard in weak.PYTHON_GUARDS
        assert python or re.search(rf"WEAK_{guard}\b", sources), guard


def test_document_is_up_to_date() -> None:
    assert Path(MATRIX.DOCUMENT).read_text() == MATRIX.table()
