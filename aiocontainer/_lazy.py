"""Regular expressions that are compiled when they are first used.

Compiling one takes longer than loading a module, and a command meets few of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, AnyStr, Generic, cast

if TYPE_CHECKING:
    from re import Pattern

__all__ = ["pattern"]


def pattern(text: AnyStr, flags: int = 0) -> Pattern[AnyStr]:
    """Return what `re.compile` would, later."""
    return cast("Pattern[AnyStr]", _Lazy(text, flags))


class _Lazy(Generic[AnyStr]):
    """Stands for the pattern; each method is looked up once."""

    def __init__(self, text: AnyStr, flags: int) -> None:
        self._text: AnyStr = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        value = getattr(re.compile(self._text, self._flags), name)  # which remembers what it has compiled
        setattr(self, name, value)
        return value
