"""Plain values to Structs, from any thread."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, TypeVar

import msgspec

__all__ = ["convert", "learn"]

T = TypeVar("T")

_known: set[object] = set()
_learning = threading.Lock()


def convert(value: Any, type: type[T]) -> T:
    """Return `msgspec.convert` of it, with its errors."""
    learn(type)
    return msgspec.convert(value, type)


def learn(type: type[T]) -> None:
    """Let msgspec know all of a type before values of it are made in any way.

    msgspec learns a type, and all that it is made of, when it is first asked for it, and crashes where two
    threads have it learn the same: it runs Python code meanwhile.  So that is done by one at a time.
    """
    if type not in _known:
        with _learning:
            with contextlib.suppress(msgspec.ValidationError):
                msgspec.convert(None, type)
            _known.add(type)
