"""The bytes of a fuzzer as choices: what a target makes its input of."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Source"]

T = TypeVar("T")


class Source:
    """Reads the input from its beginning; after the end everything is 0, so every input is whole."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return len(self._data) - self._at

    def raw(self, size: int) -> bytes:
        """At most so many bytes as they are."""
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        return self.raw(self.left)

    def integer(self, size: int) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.raw(size), "little")

    def below(self, end: int) -> int:
        """One of range(end)."""
        return self.integer((max(end - 1, 1).bit_length() + 7) // 8) % end

    def flag(self) -> bool:
        return bool(self.integer(1) & 1)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def number(self) -> int:
        """A number, more often than not one at some edge."""
        edges = (
            0,
            1,
            2,
            63,
            64,
            2**16 - 1,
            2**16,
            2**31 - 1,
            2**31,
            2**32 - 2,
            2**32 - 1,
            2**32,
            2**63,
            2**64 - 1,
        )
        kind = self.integer(1)
        return edges[kind % len(edges)] if kind < 128 else self.integer(kind % 8 + 1)

    def text(self, most: int) -> str:
        """Up to so many characters, each of one byte of input."""
        return self.raw(self.below(most + 1)).decode("latin-1")
