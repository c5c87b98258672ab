"""What the fuzzer starts from, and every input that once was a finding, without a fuzzer."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from random import Random

import pytest

pytestmark = pytest.mark.needs("compiled")

TESTS = Path(__file__).parents[1]
TARGETS = sorted(path.stem for path in (TESTS / "fuzz").glob("f[0-9]*.py"))
ANY = 200
"""Inputs of arbitrary bytes besides the corpus."""


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(TESTS / "unit" / "plan"), *sys.path])
    one = importlib.import_module(f"fuzz.{name}").one
    inputs = sorted((TESTS / "fuzz" / "corpus" / name).iterdir())
    assert inputs
    for path in inputs:
        one(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(TESTS / "unit" / "plan"), *sys.path])
    one = importlib.import_module(f"fuzz.{name}").one
    random = Random(20)  # the same ones each time
    for _ in range(ANY):
        one(random.randbytes(random.randrange(300)))


def test_runner_knows_all() -> None:
    run = importlib.import_module("fuzz.run")
    names = {target.name for target in run.TARGETS if not target.sources}
    assert names == set(TARGETS)
    sources = {source for target in run.TARGETS for source in target.sources}
    assert {f"fuzz/{path.name}" for path in (run.NATIVE / "fuzz").glob("*.c")} <= sources
