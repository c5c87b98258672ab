"""Limits as people say them: sizes, shares of CPUs, numbers of tasks."""

from __future__ import annotations

import math
import re
from typing import Final

from msgspec.structs import replace

from .._lazy import pattern
from ..errors import SpecError
from .resources import Cpu, Memory, Pids, Resources

__all__ = ["parse_size", "with_limits"]

_SIZE: Final = pattern(r"([0-9]{1,19})(?:([KMGTP])i?)?B?", re.ASCII | re.IGNORECASE)
_PERIOD_US: Final = 100_000


def parse_size(size: int | str, *, origin: str) -> int:
    """Return bytes; "256M" is 256 MiB (K, M, G, T, P: powers of 1024), -1 and "-1" are no limit."""
    if isinstance(size, int) and not isinstance(size, bool):
        found = size
    elif size == "-1":
        found = -1
    else:
        match = _SIZE.fullmatch(size) if isinstance(size, str) else None
        if match is None:
            raise SpecError(f"{size!r} is not a size", origin=origin)
        found = int(match[1]) << (10 * ("KMGTP".index(match[2].upper()) + 1) if match[2] else 0)
    if not -1 <= found < 2**63:
        raise SpecError(f"{size!r} is not a size", origin=origin)
    return found


def with_limits(
    resources: Resources,
    *,
    memory: int | str | None = None,
    swap: int | str | None = None,
    pids: int | None = None,
    cpus: float | None = None,
) -> Resources:
    """Return *resources* with these limits in the place of theirs; None leaves one alone.

    *memory* and *swap*, which includes memory, are sizes; *cpus* is how many to use at most, 0.5 is
    half of one.  -1 takes a limit away.
    """
    if memory is not None or swap is not None:
        resources = replace(resources, memory=_memory(resources.memory or Memory(), memory, swap))
    if pids is not None:
        if isinstance(pids, bool) or not isinstance(pids, int) or (pids != -1 and pids < 1):
            raise SpecError(f"{pids!r} is not a number of tasks", origin="pids")
        resources = replace(resources, pids=Pids(limit=pids))
    if cpus is not None:
        resources = replace(resources, cpu=_cpu(resources.cpu or Cpu(), cpus))
    return resources


def _memory(had: Memory, memory: int | str | None, swap: int | str | None) -> Memory:
    if memory is not None:
        limit = parse_size(memory, origin="memory")
        if limit == 0:
            raise SpecError("nothing can run in 0 bytes", origin="memory")
        had = replace(had, limit=limit, swap=None)
    if swap is not None:
        had = replace(had, swap=parse_size(swap, origin="swap"))
    return had


def _cpu(had: Cpu, cpus: float) -> Cpu:
    if isinstance(cpus, bool) or not isinstance(cpus, int | float) or not math.isfinite(cpus):
        raise SpecError(f"{cpus!r} is not a number of CPUs", origin="cpus")
    if cpus == -1:
        return replace(had, quota=-1)
    quota = round(cpus * _PERIOD_US)
    if not 1000 <= quota < 2**43:  # the kernel takes no less than 1 ms
        raise SpecError(f"{cpus!r} is not from 0.01 on", origin="cpus")
    return replace(had, quota=quota, period=_PERIOD_US)
