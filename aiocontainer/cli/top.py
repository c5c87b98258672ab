"""top: what the running containers use, live in the terminal or as one plain table."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiocontainer import StatsMask, UnsupportedError

from .drive import drive
from .signals import catch
from .terminal import STDIN, is_hung_up, key_by_key
from .watch import duration_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aiocontainer import Rates, Runtime

    from .arguments import Invocation

__all__ = ["ORDERS", "TITLES", "ordered", "rows", "size_text", "table", "top"]

_PARTS: Final = StatsMask.CPU | StatsMask.MEMORY | StatsMask.PIDS | StatsMask.IO
_ABSENT: Final = "-"
_AROUND: Final = 3  # lines of the screen that are not containers
_WORDS: Final = "q ends; sorted by c CPU, m memory, i input and output, n name"


def top(call: Invocation) -> int:
    """Show all running containers until a key or a signal ends it, or print them once."""
    interval_s = duration_s(call.options.interval)
    screen = None if call.options.once or not _is_terminal() else _Screen()  # first: rich may be missing

    async def work(runtime: Runtime) -> int:
        if screen is not None:
            await _follow(runtime, interval_s, screen)
        else:
            print(*table(rows(ordered(await anext(runtime.sample(interval_s, mask=_PARTS)), "c"))), sep="\n")
        return 0

    return drive(call.program, work)


def _is_terminal() -> bool:
    """Whether we write to a terminal that can be drawn on."""
    capable = os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    return capable and sys.stdout is not None and sys.stdout.isatty()


async def _follow(runtime: Runtime, interval_s: float, screen: _Screen) -> None:
    """Show a new picture at each interval, key and change of size, until the key that ends it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def typed() -> None:
        keys = os.read(STDIN, 64).decode("ascii", "ignore")
        for key in filter(ORDERS.__contains__, keys):
            screen.show(order=key)
        if ("q" in keys or (not keys and is_hung_up(STDIN))) and not ended.done():
            ended.set_result(None)

    async def sample() -> None:
        async for rates in runtime.sample(interval_s, mask=_PARTS):
            screen.show(rates=rates)

    with screen, key_by_key(STDIN) as has_keys:
        catch((signal.SIGWINCH,), lambda _: screen.show())
        sampling = asyncio.create_task(sample())
        if has_keys:
            loop.add_reader(STDIN, typed)
        try:
            await asyncio.wait((sampling, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(STDIN)
            sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampling


# What is shown ------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    title: str
    text: Callable[[Rates], str]


def _if_there(part: StatsMask, text: Callable[[Rates], str]) -> Callable[[Rates], str]:
    return lambda rates: text(rates) if part in rates.stats.parts else _ABSENT


def _limit(rates: Rates) -> str:
    limit = rates.stats.memory.limit_bytes
    return _ABSENT if limit is None else size_text(limit)


def _pressure(rates: Rates) -> str:
    stats = rates.stats
    parts = {"cpu": stats.cpu.pressure, "memory": stats.memory.pressure, "io": stats.io.pressure}
    shares = {name: each.some.avg10 for name, each in parts.items() if each is not None}
    if not shares:
        return _ABSENT
    worst = max(shares, key=lambda name: shares[name])
    return f"{worst} {shares[worst]:.0f}%" if shares[worst] >= 0.5 else "0%"


_COLUMNS: Final = (
    _Column("CONTAINER", lambda rates: rates.stats.id),
    _Column("CPU %", _if_there(StatsMask.CPU, lambda rates: f"{100 * rates.cpu:.1f}")),
    _Column("MEMORY", _if_there(StatsMask.MEMORY, lambda rates: size_text(rates.stats.memory.usage_bytes))),
    _Column("LIMIT", _if_there(StatsMask.MEMORY, _limit)),
    _Column("PIDS", _if_there(StatsMask.PIDS, lambda rates: str(rates.stats.pids.current))),
    _Column("READ/s", _if_there(StatsMask.IO, lambda rates: size_text(rates.read_bytes))),
    _Column("WRITE/s", _if_there(StatsMask.IO, lambda rates: size_text(rates.write_bytes))),
    _Column("PRESSURE", _pressure),
    _Column("OOM", _if_there(StatsMask.MEMORY, lambda rates: str(rates.stats.memory.events.oom_kill))),
)
TITLES: Final = tuple(column.title for column in _COLUMNS)

ORDERS: Final[Mapping[str, Callable[[Rates], float]]] = {
    "c": lambda rates: -rates.cpu,
    "m": lambda rates: -rates.stats.memory.usage_bytes,
    "i": lambda rates: -rates.read_bytes - rates.write_bytes,
    "n": lambda _: 0,
}
"""By key: what comes first; equal ones by name."""


def size_text(size_bytes: float) -> str:
    """Return a size in the largest unit of which there is one whole, "1.5G"; bytes have no unit."""
    for unit in ("", "K", "M", "G", "T"):
        if size_bytes < 1024 or unit == "T":
            break
        size_bytes /= 1024
    return f"{size_bytes:.1f}{unit}" if unit and size_bytes < 100 else f"{size_bytes:.0f}{unit}"


def ordered(rates: Mapping[str, Rates], order: str) -> list[Rates]:
    """Return them in the order of a key."""
    return sorted(rates.values(), key=lambda each: (ORDERS[order](each), each.stats.id))


def rows(rates: Sequence[Rates]) -> list[tuple[str, ...]]:
    """Return the cells of each, as text."""
    return [tuple(column.text(each) for column in _COLUMNS) for each in rates]


def table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Lay out rows under their titles: names to the left, numbers to the right."""
    lines = [TITLES, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(TITLES))]
    for name, *numbers in lines:
        right = (number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True))
        yield "   ".join((name.ljust(widths[0]), *right))


# The screen ---------------------------------------------------------------------------------------------


class _Screen:
    """The terminal while it is ours: another screen, which is gone in the end; ``with``."""

    def __init__(self) -> None:
        try:
            from rich.console import Console
            from rich.live import Live
        except ImportError as exc:
            raise UnsupportedError(
                "the live view", needs="rich: pip install 'aiocontainer[rich]', or --once", origin="top"
            ) from exc
        self._console = Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._rates: Mapping[str, Rates] | None = None
        self._order = "c"

    def show(self, *, rates: Mapping[str, Rates] | None = None, order: str | None = None) -> None:
        """Draw what was measured last, as large as the terminal is now."""
        self._rates = self._rates if rates is None else rates
        self._order = order or self._order
        self._live.update(self._picture(), refresh=True)

    def _picture(self) -> Any:
        from rich.table import Table

        self._console.size = os.get_terminal_size(sys.stdout.fileno())  # not $COLUMNS, which does not change
        found = ordered(self._rates or {}, self._order)
        room = max(1, self._console.size.height - _AROUND)
        count = "…" if self._rates is None else str(len(found))
        hidden = f"; {len(found) - room} more do not fit" if len(found) > room else ""
        picture = Table(
            title=f"{count} containers", caption=_WORDS + hidden, box=None, expand=True, title_justify="left"
        )
        for number, title in enumerate(TITLES):
            picture.add_column(title, justify="right" if number else "left", no_wrap=True)
        for row in rows(found[:room]):
            picture.add_row(*row)
        return picture

    def __enter__(self) -> None:
        self._live.start()
        self.show()

    def __exit__(self, *_: object) -> None:
        self._live.stop()
