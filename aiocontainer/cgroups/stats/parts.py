"""A part of a reading: which file tells that its controller is there, and who makes a value of its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from .text import Texts
    from .values import StatsMask

__all__ = ["Part"]


class Part(NamedTuple):
    """One field of `CgroupStats`."""

    mask: StatsMask
    field: str
    signs: tuple[str, ...]
    """Files that only an enabled controller has; one of them is enough."""
    parse: Callable[[Texts], object]
