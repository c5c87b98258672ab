"""A plan depends on nothing but its arguments: no module in plan/ can ask the machine."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import aiocontainer.plan

ROOM = Path(aiocontainer.plan.__file__).parent
PURE = {
    "__future__",
    "collections.abc",
    "enum",
    "functools",
    "itertools",
    "math",
    "msgspec",
    "errno",
    "msgspec.structs",
    "posixpath",
    "re",
    "struct",
    "typing",
    ".._lazy",
    ".._tuples",
    "..errors",
    "..gvariant",
    "..gvariant.types",
    "..spec",
}


# What of `os` is only about text and numbers.
PURE_OS = {"fsdecode", "fsencode", "major", "makedev", "minor"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr in PURE_OS, f"{path.name}: os.{node.attr}"
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level != 1:
            found.add("." * node.level + (node.module or ""))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "input", "print", "eval", "exec", "__import__"}, path.name
    return found


@pytest.mark.parametrize("path", sorted(ROOM.glob("**/*.py")), ids=lambda path: path.name)
def test_imports_are_pure(path: Path) -> None:
    assert imported(path) - {"os"} <= PURE
