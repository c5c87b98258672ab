"""events and ps: what a running container uses, and which processes it has."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any, Final

from aiocontainer import Oom, UnsupportedError

from .arguments import UsageError
from .drive import drive

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from aiocontainer import Container, Runtime, Stats

    from .arguments import Invocation

__all__ = ["duration_s", "events", "ps", "rows_of"]

_UNITS_S: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_TERM: Final = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)", re.ASCII)


def duration_s(text: str) -> float:
    """Understand a duration as Go writes it, "1m30s" or "500ms", in seconds; UsageError unless positive."""
    terms = list(_TERM.finditer(text))
    seconds = sum(float(term[1]) * _UNITS_S[term[2]] for term in terms)
    if "".join(term[0] for term in terms) != text or not seconds > 0:
        raise UsageError(f"{text!r} is no duration above zero, such as 500ms, 5s or 1m30s")
    return seconds


def events(call: Invocation) -> int:
    """Print what the container uses, now or at intervals until it stops, one JSON object a line."""
    interval_s = duration_s(call.options.interval)

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(call.operands[0])
        if call.options.stats:
            _print_stats(await container.stats())
            return 0
        kills = asyncio.create_task(_print_kills(container))
        try:
            async for stats in container.stats_stream(interval_s):
                _print_stats(stats)
            await kills  # they are told to the end, too
        finally:
            kills.cancel()
        return 0

    return drive(call.program, work)


async def _print_kills(container: Container) -> None:
    """Print what the out-of-memory killer does; nothing where nobody counts that."""
    with contextlib.suppress(UnsupportedError):
        async for event in container.oom_events():
            if isinstance(event, Oom):
                _print("oom", event.id, {"kills": event.kills, "below": event.below, "group": event.group})
            else:
                _print("lost", container.id, {"count": event.count})


def _print_stats(stats: Stats) -> None:
    from .usage import stats_document

    _print("stats", stats.id, stats_document(stats))


def _print(type: str, id: str, data: dict[str, Any]) -> None:
    print(json.dumps({"type": type, "id": id, "data": data}, separators=(",", ":")), flush=True)


def ps(call: Invocation) -> int:
    """Print the numbers of the processes, or the lines that ps has for them."""
    id, *arguments = call.operands

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(id)
        if call.options.format == "json":
            print(json.dumps(await container.processes(), separators=(",", ":")))
            return 0
        # Listed first: what is in neither list has ended.
        text = await _host_ps(arguments or ["-ef"])
        print(*rows_of(text, await container.processes()), sep="\n")
        return 0

    return drive(call.program, work)


async def _host_ps(arguments: Sequence[str]) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            "ps", *arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
    except FileNotFoundError:
        raise UsageError("there is no ps(1) here; --format json needs none") from None
    out, err = await process.communicate()
    if process.returncode != 0:
        raise UsageError(f"ps: {err.decode(errors='replace').strip() or f'status {process.returncode}'}")
    return out.decode(errors="surrogateescape")


def rows_of(text: str, pids: Collection[int]) -> Iterator[str]:
    """Yield the titles and the rows of *pids* from what ps(1) printed; UsageError without a PID column."""
    titles, *rows = text.splitlines() or [""]
    try:
        column = titles.split().index("PID")
    except ValueError:
        raise UsageError("ps prints no column PID with these options") from None
    wanted = set(map(str, pids))
    yield titles
    for row in rows:
        fields: list[Any] = row.split()
        if len(fields) > column and fields[column] in wanted:
            yield row
