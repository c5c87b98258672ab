"""Rounds of measurements as a table of medians, and of ratios formed within each round."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Cell", "Spread", "ratios", "render"]


class Cell(NamedTuple):
    """One competitor at one concurrency in one round."""

    concurrency: int
    name: str
    samples_ns: list[int]
    wall_ns: int

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.samples_ns) / 1e6

    @property
    def p90_ms(self) -> float:
        return sorted(self.samples_ns)[(len(self.samples_ns) - 1) * 9 // 10] / 1e6

    @property
    def per_second(self) -> float:
        return len(self.samples_ns) * 1e9 / self.wall_ns


class Spread(NamedTuple):
    """A median with its quartiles."""

    low: float
    middle: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spread(values: Sequence[float]) -> Spread:
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def find(cells: Sequence[Cell], concurrency: int, name: str) -> Cell:
    return next(cell for cell in cells if (cell.concurrency, cell.name) == (concurrency, name))


def ratios(
    rounds: Sequence[Sequence[Cell]],
    concurrency: int,
    name: str,
    base: str,
    value: Callable[[Cell], float] = lambda cell: cell.p50_ms,
) -> Spread:
    """How *name* compares with *base*: one ratio per round, because the machine changes between them."""
    pairs = [(find(cells, concurrency, name), find(cells, concurrency, base)) for cells in rounds]
    return spread([value(one) / value(other) for one, other in pairs])


def row(rounds: Sequence[Sequence[Cell]], concurrency: int, name: str, base: str) -> str:
    cells = [find(one, concurrency, name) for one in rounds]
    p50 = statistics.median(cell.p50_ms for cell in cells)
    p90 = statistics.median(cell.p90_ms for cell in cells)
    rate = statistics.median(cell.per_second for cell in cells)
    slower = ratios(rounds, concurrency, name, base)
    faster = ratios(rounds, concurrency, name, base, lambda cell: cell.per_second)
    return f"| {concurrency} | {name} | {p50:.2f} | {p90:.2f} | {rate:.0f} | {slower} | {faster} |"


def render(rounds: Sequence[Sequence[Cell]], base: str) -> str:
    """Markdown: times in ms (median of the rounds), ratios to *base* with their quartiles."""
    head = f"| at once | who | p50 ms | p90 ms | per second | p50 / {base} | per second / {base} |"
    lines = [head, "|---:|---|---:|---:|---:|---|---|"]
    lines += [row(rounds, cell.concurrency, cell.name, base) for cell in rounds[0]]
    return "\n".join(lines)
