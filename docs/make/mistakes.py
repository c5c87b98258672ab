"""The public exceptions, from their docstrings and from what their `__init__` sets."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING

from aiocontainer import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["errors_page"]

_HEAD = """\
# Errors

Made by `python docs/make` from the exceptions' docstrings; a unit test compares it. All of them are `ContainerError`, and
each is also the builtin that one would catch for the same event. Fields come before text: the sentence is made of them.
`asyncio.CancelledError` and `TimeoutError` pass through unchanged, after what was begun has been undone.

- `origin` is an address in `config.json`, such as `$.mounts[3].options[0]`, or the name of an argument.
- `errno` is a number of errno(3), on each that is an `OSError`.
- `id` is that of the container.

| error | also | when | fields |
| --- | --- | --- | --- |
"""


def errors_page() -> str:
    """Return the page of errors: subclasses behind their bases."""
    return _HEAD + "".join(_rows(errors.ContainerError, 0))


def _rows(error: type[BaseException], depth: int) -> Iterator[str]:
    own = [base for base in error.__bases__ if base.__module__ == "builtins" and base is not Exception]
    also = ", ".join(f"`{base.__name__}`" for base in own) or (
        f"`{error.__bases__[0].__name__}`" if depth else ""
    )
    fields = ", ".join(f"`{name}`" for name in _fields(error))
    lead = "\u2003" * max(0, depth - 1)
    yield f"| {lead}`{error.__name__}` | {also} | {_doc(error)} | {fields} |\n"
    public = {getattr(errors, name): number for number, name in enumerate(errors.__all__)}
    for each in sorted(public.keys() & set(error.__subclasses__()), key=public.__getitem__):
        yield from _rows(each, depth + 1)


def _doc(error: type[BaseException]) -> str:
    return " ".join((inspect.getdoc(error) or "").split()).replace("``", "`").replace("|", "\\|")


def _fields(error: type[BaseException]) -> list[str]:
    """Return what `__init__` sets, that of its bases first."""
    found: dict[str, None] = {}
    for kind in reversed(error.__mro__):
        if kind.__module__ == errors.__name__ and "__init__" in vars(kind):
            found |= dict.fromkeys(_set_by(kind))
    return list(found)


def _set_by(kind: type) -> Iterator[str]:
    for node in ast.walk(ast.parse(inspect.getsource(kind))):
        targets = node.targets if isinstance(node, ast.Assign) else ()
        for target in (*targets, *((node.target,) if isinstance(node, ast.AnnAssign) else ())):
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                yield target.attr
