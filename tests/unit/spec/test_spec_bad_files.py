"""Broken configurations: each is refused before anything is made, and the field is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiocontainer.errors import SpecError
from aiocontainer.spec import check, decode_spec

BAD = Path(__file__).parents[2] / "data" / "specs" / "bad"
EXPECTED: dict[str, str] = json.loads((BAD / "EXPECTED.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_field_is_named(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        check(decode_spec((BAD / f"{name}.json").read_bytes()))
    assert caught.value.origin == EXPECTED[name]
    assert str(caught.value).startswith(EXPECTED[name])


def test_every_file_is_expected() -> None:
    assert {path.stem for path in BAD.glob("*.json")} - {"EXPECTED"} == EXPECTED.keys()
    assert len(EXPECTED) >= 40
