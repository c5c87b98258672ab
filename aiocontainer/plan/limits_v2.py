"""Files of the controllers of cgroup v2, with values converted from what v1 called by the same names.

cgroup-v2.rst "Controllers".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ..errors import UnsupportedError
from .limits_v1 import NO_LIMIT, THROTTLES, Ask, check_swap, cpu_idle, swap_origin
from .plan import CgroupWrite, UsageBelow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..spec import Cpu, Memory, Resources

__all__ = [
    "block_io",
    "block_io_warnings",
    "cpu",
    "cpu_weight",
    "io_weight",
    "memory",
    "nothing",
    "swap_max",
]

_DEFAULT_PERIOD_US: Final = 100_000
_MOST_SHARES: Final = 2**18
_MOST_WEIGHT: Final = 10_000


def nothing(_: Ask) -> Iterator[CgroupWrite]:
    """Yield none: v2 has no such controller."""
    return iter(())


def _max(value: int) -> str:
    return "max" if value == NO_LIMIT else str(value)


# Memory ---------------------------------------------------------------------------------------------


def swap_max(memory: Memory, origin: str) -> int | None:
    """Return what v2 limits, swap alone; -1 is no limit, None leaves it alone."""
    check_swap(memory, origin)
    if memory.swap is None or memory.swap == NO_LIMIT or memory.limit in (None, NO_LIMIT):
        return memory.swap
    return memory.swap - memory.limit if memory.limit is not None else None


def memory(ask: Ask) -> Iterator[CgroupWrite]:
    """Limits of memory; swap first, so that a lower limit finds room there."""
    wanted, whole_memory = ask.wanted.memory, ask.whole.memory
    if wanted is None or whole_memory is None:
        return
    _refuse_v1(wanted, f"{ask.origin}.memory")
    # Of a sum that stays the same while memory gets more, less is left.
    swap = swap_max(whole_memory, ask.origin) if (wanted.limit, wanted.swap) != (None, None) else None
    only = _usage(wanted, whole_memory, swap)
    if swap is not None:
        place, none = swap_origin(wanted, ask.origin), swap in (NO_LIMIT, 0)
        yield CgroupWrite(place, "memory", "memory.swap.max", _max(swap), optional=none, only=only)
        only = ()
    if wanted.limit is not None:
        place, none = f"{ask.origin}.memory.limit", wanted.limit == NO_LIMIT
        yield CgroupWrite(place, "memory", "memory.max", _max(wanted.limit), optional=none, only=only)
    if wanted.reservation is not None:
        place, none = f"{ask.origin}.memory.reservation", wanted.reservation == NO_LIMIT
        yield CgroupWrite(place, "memory", "memory.low", _max(wanted.reservation), optional=none)


def _usage(wanted: Memory, whole: Memory, swap: int | None) -> tuple[UsageBelow, ...]:
    """Return what must hold where limits are not to kill: v2 makes room for a lower limit that way."""
    limit = whole.limit
    if not whole.check_before_update or limit in (None, NO_LIMIT):
        return ()
    checks = [UsageBelow(("memory.current",), limit)] if wanted.limit is not None else []
    if swap not in (None, NO_LIMIT):
        checks.append(UsageBelow(("memory.current", "memory.swap.current"), limit + swap))
    return tuple(checks)


def _refuse_v1(memory: Memory, origin: str) -> None:
    for asks, name in (
        (memory.swappiness is not None, "swappiness"),
        (memory.disable_oom_killer, "disableOOMKiller"),
    ):
        if asks:
            raise UnsupportedError(f"memory.{name}", needs="cgroup v1", origin=f"{origin}.{name}")


# CPU ------------------------------------------------------------------------------------------------


def cpu_weight(shares: int) -> int:
    """Return v2's weight (1-10000) for v1's shares (2-262144): a curve through 1024 -> 100.

    The smallest, default and largest of one are those of the other.  OCI runtimes agreed on it in
    2025, because on a straight line 1024 shares are no more than a weight of 39.
    """
    if shares <= 2:
        return 1
    if shares >= _MOST_SHARES:
        return _MOST_WEIGHT
    exponent = math.log2(shares)
    return math.ceil(10 ** ((exponent**2 + 125 * exponent) / 612 - 7 / 34))


def cpu(ask: Ask) -> Iterator[CgroupWrite]:
    """Weight and bandwidth; real-time budgets are not part of v2."""
    wanted = ask.wanted.cpu
    if wanted is None or ask.whole.cpu is None:
        return
    for value, name in (
        (wanted.realtime_runtime, "realtimeRuntime"),
        (wanted.realtime_period, "realtimePeriod"),
    ):
        if value is not None:
            raise UnsupportedError(f"cpu.{name}", needs="cgroup v1", origin=f"{ask.origin}.cpu.{name}")
    yield from cpu_idle(wanted, ask.whole.cpu, ask.origin)
    if wanted.shares is not None and ask.whole.cpu.idle != 1:
        weight = str(cpu_weight(wanted.shares))
        yield CgroupWrite(f"{ask.origin}.cpu.shares", "cpu", "cpu.weight", weight)
    if wanted.quota is not None or wanted.period is not None:
        member = "quota" if wanted.quota is not None else "period"
        quota, period = _bandwidth(ask.whole.cpu, ask.whole.unified.get("cpu.max", "").split())
        yield CgroupWrite(
            f"{ask.origin}.cpu.{member}",
            "cpu",
            "cpu.max",
            f"{quota} {period}",
            optional=quota == "max",
            group="bandwidth",
        )
    if wanted.burst is not None:
        burst, none = str(wanted.burst), wanted.burst == 0
        yield CgroupWrite(
            f"{ask.origin}.cpu.burst", "cpu", "cpu.max.burst", burst, optional=none, group="bandwidth"
        )


def _bandwidth(cpu: Cpu, given: list[str]) -> tuple[str, str]:
    """Return the two words of ``cpu.max``; *given* are those that hold by the file's own name."""
    quota, period = [*given[:2], *("max", str(_DEFAULT_PERIOD_US))[len(given) :]]
    if cpu.quota is not None:
        quota = "max" if cpu.quota < 0 else str(cpu.quota)
    return quota, period if cpu.period is None else str(cpu.period)


# Block devices --------------------------------------------------------------------------------------


def io_weight(weight: int) -> int:
    """Return ``io.weight`` (1-10000) for a weight of v1 (10-1000)."""
    return 1 + (weight - 10) * 9999 // 990


def block_io(ask: Ask) -> Iterator[CgroupWrite]:
    """Weights, of BFQ or else of the cost model, and rates."""
    wanted = ask.wanted.block_io
    if wanted is None:
        return
    place = f"{ask.origin}.blockIO"
    if wanted.weight is not None:
        yield _weight(f"{place}.weight", "", wanted.weight)
    for index, device in enumerate(wanted.weight_device):
        if device.weight is not None:
            numbers = f"{device.major}:{device.minor} "
            yield _weight(f"{place}.weightDevice[{index}].weight", numbers, device.weight)
    for member, name, _, key in THROTTLES:
        for index, limit in enumerate(getattr(wanted, member)):
            line = f"{limit.major}:{limit.minor} {key}={limit.rate or 'max'}"
            yield CgroupWrite(f"{place}.{name}[{index}]", "io", "io.max", line)


def _weight(origin: str, device: str, weight: int) -> CgroupWrite:
    cost = CgroupWrite(origin, "io", "io.weight", f"{device}{io_weight(weight)}")
    return CgroupWrite(origin, "io", "io.bfq.weight", f"{device}{weight}", otherwise=cost)


def block_io_warnings(asked: Resources, origin: str) -> Iterator[str]:
    """Tell of weights against children, which v2 has not."""
    wanted, place = asked.block_io, f"{origin}.blockIO"
    if wanted is None:
        return
    leaves = [(f"{place}.leafWeight", wanted.leaf_weight)]
    leaves += [
        (f"{place}.weightDevice[{index}].leafWeight", device.leaf_weight)
        for index, device in enumerate(wanted.weight_device)
    ]
    for origin_of_leaf, weight in leaves:
        if weight is not None:
            yield f"{origin_of_leaf}: cgroup v2 has no counterpart, ignored"
