"""Pages of the documentation that are made of the code: up to date, and every field has a test."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec import StructMeta

import aiocontainer

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


@pytest.mark.parametrize("name", ["fields.md", "words.md", "cli.md", "errors.md", "images/data-flow.svg"])
def test_page_is_up_to_date(name: str) -> None:
    text = pages().PAGES[name](ROOT)
    assert (ROOT / "docs" / name).read_text() == text, "run python docs/make"


def test_reference_has_each_public_name_once() -> None:
    shown = [
        name
        for page in sorted((ROOT / "docs/reference").glob("*.md"))
        for name in re.findall(r"^::: aiocontainer\.(\w+)$", page.read_text(), re.MULTILINE)
    ]
    assert sorted(shown) == sorted(aiocontainer.__all__)


def test_reference_has_every_part_of_a_document() -> None:
    from aiocontainer import spec

    page = (ROOT / "docs/reference/spec.md").read_text()
    kinds = {name: getattr(spec, name) for name in spec.__all__}
    own = [name for name, kind in kinds.items() if kind is not getattr(aiocontainer, name, None)]
    shown = re.findall(r"^::: aiocontainer\.spec\.(\w+)$", page, re.MULTILINE)
    assert sorted(shown) == sorted(name for name in own if isinstance(kinds[name], StructMeta))


def test_list_of_the_reference_is_that_of_its_pages() -> None:
    index = (ROOT / "docs/reference/index.md").read_text()
    for page, names in re.findall(r"^- \[.*\]\((\w+\.md)\): (.*)$", index, re.MULTILINE):
        text = (ROOT / "docs/reference" / page).read_text()
        assert re.findall(r"`(\w+)`", names) == re.findall(r"^::: aiocontainer\.(\w+)$", text, re.MULTILINE)


def test_contents_of_the_site() -> None:
    """Every page, and what its builder makes of files beside docs, has its place."""
    placed = re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    programs = [f"examples/{path.stem}.md" for path in (ROOT / "examples").glob("*.py")]
    assert sorted(placed) == sorted((*pages, *programs, "examples/index.md", "benchmarks.md", "changelog.md"))


def test_contents_of_the_how_tos() -> None:
    text = (ROOT / "docs/howto.md").read_text()
    assert re.findall(r"^- \[(.*)\]\(#", text, re.MULTILINE) == re.findall(r"^## (.*)$", text, re.MULTILINE)


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
