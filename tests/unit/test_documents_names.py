"""Python in documents speaks of names that there are: modules, attributes of what is called so, keywords."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.documents import TUTORIALS, programs

import aiocontainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# What documents call what: a program in them is easier to read if a name is always the same thing.
CALLED = {
    "runtime": "Runtime",
    "others": "Runtime",
    "c": "Container",
    "container": "Container",
    "p": "Process",
    "process": "Process",
    "spec": "Spec",
    "farm": "Farm",
    "pool": "WarmPool",
    "image": "Image",
    "done": "Completed",
    "exit": "ExitStatus",
    "result": "JobResult",
    "request": "SeccompRequest",
    "s": "Stats",
    "stats": "Stats",
    "r": "Rates",
}

# Whose keywords are meant by ``**options``.
OPTIONS = {
    "container": "Runtime.create",
    "WarmPool": "Runtime.create",
    "checkpoint": "CheckpointOptions",
    "checkpoint_in_rounds": "CheckpointOptions",
    "restore": "RestoreOptions",
}


def blocks() -> Iterator[tuple[Path, ast.Module]]:
    for document in DOCUMENTS:
        for text in re.findall(r"^```python\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE):
            flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            yield document, compile(text, document.name, "exec", flags=flags)


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[Path, Any]]:
    return (
        (document, node) for document, tree in blocks() for node in ast.walk(tree) if isinstance(node, kinds)
    )


def public(path: str) -> Any:
    found: Any = aiocontainer
    for name in path.split("."):
        found = getattr(found, name)
    return found


def has(kind: type, name: str) -> bool:
    """Whether an object of this class has it: defined, a field, or set by `__init__`."""
    if hasattr(kind, name):
        return True
    text = textwrap.dedent(inspect.getsource(kind))
    return re.search(rf"^ +self\.{name}(:.*)? = ", text, re.MULTILINE) is not None


def kind_of(node: ast.expr) -> type | None:
    """What an expression is, as far as its name, and the fields of structs, tell."""
    if isinstance(node, ast.Name) and node.id in CALLED:
        return public(CALLED[node.id])  # type: ignore[no-any-return]
    if isinstance(node, ast.Attribute) and (outer := kind_of(node.value)) is not None:
        return field_of(outer, node.attr)
    return None


def field_of(kind: type, name: str) -> type | None:
    """What a field is whose annotation is the name of a class, or that and None."""
    for each in kind.__mro__:
        text = str(inspect.get_annotations(each).get(name, "")).removesuffix(" | None")
        found = getattr(sys.modules[each.__module__], text, None) if text.isidentifier() else None
        if isinstance(found, type):
            return found
    return None


def keywords(function: Callable[..., Any], name: str) -> set[str] | None:
    """Names that it takes; None for any."""
    if isinstance(function, type) and issubclass(function, msgspec.Struct):
        return set(function.__struct_fields__)
    parameters = inspect.signature(function).parameters
    names = set(parameters)
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return names | (keywords(public(OPTIONS[name]), "") or set()) if name in OPTIONS else None
    return names


def test_imports() -> None:
    for _, node in nodes(ast.ImportFrom):
        if node.module.split(".")[0] == "aiocontainer":
            module = importlib.import_module(node.module)
            for each in node.names:
                if not hasattr(module, each.name):
                    importlib.import_module(f"{node.module}.{each.name}")


def test_attributes() -> None:
    seen = 0
    for document, node in nodes(ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == "aiocontainer":
            assert node.attr in aiocontainer.__all__, document
        elif (kind := kind_of(node.value)) is not None:
            assert has(kind, node.attr), f"{document.name}: {ast.unparse(node)}"
            seen += 1
    assert seen > 100


def test_keywords() -> None:
    seen = 0
    for document, node in nodes(ast.Call):
        name, function = "", None
        if isinstance(node.func, ast.Name) and node.func.id in aiocontainer.__all__:
            name, function = node.func.id, public(node.func.id)
        elif isinstance(node.func, ast.Attribute) and (kind := kind_of(node.func.value)) is not None:
            name, function = node.func.attr, getattr(kind, node.func.attr, None)
        known = keywords(function, name) if callable(function) else None
        if known is not None:
            given = {each.arg for each in node.keywords if each.arg}
            assert given <= known, f"{document.name}: {ast.unparse(node)}"
            seen += len(given)
    assert seen > 50


def test_a_wrong_name_is_found() -> None:
    assert not has(aiocontainer.Container, "stat")
    assert has(aiocontainer.Process, "pid")
    assert kind_of(ast.parse("s.memory.events", mode="eval").body) is not None
    assert "memory" not in (keywords(aiocontainer.Runtime.create, "create") or ())


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorials_say_what_they_print(page: Path) -> None:
    mine = [program for program in programs() if program.page == page]
    assert len(mine) >= 5
    assert [program.id for program in mine if not (program.output or "").strip()] == []
