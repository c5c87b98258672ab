"""Which tests prove which field: ``@pytest.mark.proves("$.hostname")``, read without running them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["proofs"]

LANES = ("conformance", "integration")
"""What counts: tests that look at a container from inside, or at the machine."""

_Test = ast.FunctionDef | ast.AsyncFunctionDef


def proofs(tests: Path) -> dict[str, list[str]]:
    """Return the tests that say what they prove, as "lane/file::name", by address."""
    found: dict[str, list[str]] = {}
    for lane in LANES:
        for path in sorted((tests / lane).glob("test_*.py")):
            for address, test in _of_module(ast.parse(path.read_text())):
                found.setdefault(address, []).append(f"{lane}/{path.name}::{test}")
    return found


def _of_module(module: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(module):
        if isinstance(node, _Test):
            for decorator in node.decorator_list:
                for address in _addresses(decorator):
                    yield address, node.name


def _addresses(decorator: ast.expr) -> Iterator[str]:
    if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func) != "pytest.mark.proves":
        return
    for argument in decorator.args:
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            raise TypeError(f"line {argument.lineno}: proves() takes texts alone")
        yield argument.value
