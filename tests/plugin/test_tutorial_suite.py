"""The tests that the tutorial shows pass."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest
from support.documents import Program, programs

import aiocontainer

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.needs("root", "compiled", "overlay"), pytest.mark.usefixtures("snap")]

INSTALLED = any(point.name == "aiocontainer" for point in importlib.metadata.entry_points(group="pytest11"))
LOAD = () if INSTALLED else ("-p", "aiocontainer.pytest_plugin")
"""A checkout has no entry points."""


@pytest.mark.parametrize("program", programs("plugin"), ids=lambda program: program.id)
def test_suite(program: Program, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    package = str(Path(aiocontainer.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (os.getenv("PYTHONPATH"), package))))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(program.text)
    done = pytester.runpytest_subprocess(*LOAD, "-p", "no:cacheprovider", timeout=90)
    assert program.output is not None
    done.stdout.fnmatch_lines(f"*{program.output.strip()}*")
