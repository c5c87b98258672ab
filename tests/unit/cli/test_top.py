"""What `top` shows of readings, in which order, and what it says without rich."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from aiocontainer import Rates, Stats, StatsMask, UnsupportedError
from aiocontainer.cgroups.stats.values import (
    IoStats,
    MemoryEvents,
    MemoryStats,
    PidsStats,
    Pressure,
    PressureLine,
)
from aiocontainer.cli.arguments import parse
from aiocontainer.cli.top import ORDERS, ordered, rows, size_text, table, top

if TYPE_CHECKING:
    from collections.abc import Mapping


def rates(id: str, *, cpu: float = 0, read: float = 0, **parts: Any) -> Rates:
    fields: Mapping[str, float] = dict.fromkeys(Rates.__struct_fields__, 0.0)
    stats = Stats(**{"id": id, "time_ns": 1, "monotonic_ns": 1, "parts": StatsMask.ALL, **parts})
    return Rates(**{**fields, "interval_s": 1, "stats": stats, "cpu": cpu, "read_bytes": read})


def psi(share: float) -> Pressure:
    return Pressure(some=PressureLine(avg10=share))


def test_everything_of_a_container() -> None:
    busy = rates(
        "busy",
        cpu=1.5,
        read=2048,
        memory=MemoryStats(
            usage_bytes=3 << 20, limit_bytes=64 << 20, events=MemoryEvents(oom_kill=2), pressure=psi(40.4)
        ),
        pids=PidsStats(current=7),
        io=IoStats(pressure=psi(12)),
    )
    assert rows([busy]) == [("busy", "150.0", "3.0M", "64.0M", "7", "2.0K", "0", "memory 40%", "2")]


def test_what_is_not_accounted_is_no_zero() -> None:
    assert rows([rates("none", parts=StatsMask(0))]) == [("none", *"--------")]
    calm = rates("calm", parts=StatsMask.PIDS | StatsMask.MEMORY, memory=MemoryStats(pressure=psi(0.2)))
    assert rows([calm]) == [("calm", "-", "0", "-", "0", "-", "-", "0%", "0")]


def test_orders() -> None:
    all = {
        "b": rates("b", cpu=0.5, memory=MemoryStats(usage_bytes=1)),
        "a": rates("a", memory=MemoryStats(usage_bytes=1)),
        "c": rates("c", read=1, memory=MemoryStats(usage_bytes=9)),
    }
    found = {key: "".join(each.stats.id for each in ordered(all, key)) for key in ORDERS}
    assert found == {"c": "bac", "m": "cab", "i": "cab", "n": "abc"}


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1.0K"),
        (1536 << 20, "1.5G"),
        (100 << 10, "100K"),
        (3 << 50, "3072T"),
        (0.4, "0"),
    ],
)
def test_sizes(size_bytes: float, text: str) -> None:
    assert size_text(size_bytes) == text


def test_columns_are_aligned() -> None:
    lines = list(table(rows([rates("a-rather-long-name"), rates("b", cpu=12)])))
    assert len({len(line) for line in lines}) == 1
    assert lines[0].startswith("CONTAINER ")
    assert [line.split()[1] for line in lines[1:]] == ["0.0", "1200.0"]


def test_without_rich_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(UnsupportedError, match=r"pip install 'aiocontainer\[rich\]', or --once"):
        top(parse(["top"]))
