"""Pages of the documentation that are made of the code: up to date, and every field has a test."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]


@functools.cache
def pages() -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs/make"))
    try:
        return importlib.import_module("pages")
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize("name", ["fields.md", "words.md"])
def test_page_is_up_to_date(name: str) -> None:
    text = pages().PAGES[name](ROOT)
    assert (ROOT / "docs" / name).read_text() == text, "run python docs/make"


def test_every_field_changes_something_and_has_a_test() -> None:
    rows = pages().rows(ROOT)
    assert len(rows) > 150
    assert [row.address for row in rows if not row.effects] == []
    assert [row.address for row in rows if not row.tests and not row.is_pending] == []


def test_only_what_the_specification_leaves_undefined_is_refused_as_such() -> None:
    refused = [row.address for row in pages().rows(ROOT) if any("refused:" in each for each in row.effects)]
    assert refused == ["$.linux.personality.flags[]"]


def test_tests_prove_fields_that_there_are() -> None:
    assert pages().unknown(ROOT) == []


def test_steps_that_are_named_exist() -> None:
    from aiocontainer.plan import steps

    words = {word for row in pages().rows(ROOT) for each in row.effects for word in each.split("`")[1:2]}
    assert {word for word in words if not hasattr(steps, word)} <= {"Tree", "NamespaceFile", "ResctrlTasks"}
    assert len(words) > 25
