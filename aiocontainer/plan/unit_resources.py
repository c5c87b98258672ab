"""Limits as properties of a unit, so that the manager keeps what the files of the cgroup say.

They are made from what is written to the files, whatever asked for it: the two cannot differ.  What
the manager has no property for, or is too old for, the files alone carry.  systemd.resource-control(5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from .._lazy import pattern
from .._tuples import NamedTuple
from ..errors import SpecError
from ..spec import parse_list
from .host import CgroupMode
from .limits_merge import meant, merged
from .unit import UnitProperty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..spec import Cpu, Resources
    from .devices import DeviceRule
    from .host import Host
    from .plan import CgroupWrite

__all__ = ["UnitLimits", "device_properties", "device_warnings", "unit_limits"]

INFINITY: Final = 2**64 - 1

# Versions of systemd that brought a property.
_PERIOD_SINCE: Final = 242
_CPUSET_SINCE: Final = 244
_IDLE_SINCE: Final = 252
_ZSWAP_SINCE: Final = 253
_DEVICE_MAJORS_SINCE: Final = 240

_USEC: Final = 10**6
_DEFAULT_PERIOD_US: Final = 100_000
_QUOTA_GRAIN_US: Final = 10_000
"""Of a second: the manager keeps a quota in whole percents."""


class UnitLimits(NamedTuple):
    """What to write, with quotas as the manager would have them; what to tell it; what is done without."""

    writes: tuple[CgroupWrite, ...]
    properties: tuple[UnitProperty, ...]
    warnings: tuple[str, ...] = ()


def unit_limits(
    writes: Sequence[CgroupWrite], resources: Resources | None, host: Host, current: Resources | None = None
) -> UnitLimits:
    """Return the properties for *writes*, which *resources* ask for, with *current* holding already."""
    asked = meant(resources) if resources is not None else None
    whole = merged(current, asked) if current is not None and asked is not None else asked
    cpu = whole.cpu if whole is not None else None
    explicit_period = asked is not None and asked.cpu is not None and asked.cpu.period is not None
    writes = [_rounded(write, cpu) for write in writes]
    found: dict[str, UnitProperty] = {}
    for write in writes:
        for each in _properties(write, host, cpu, explicit_period=explicit_period):
            found[each.name] = _joined(found.get(each.name), each)
    warnings = []
    idle = _idle(writes, host, current)
    if idle is not None:
        if "CPUWeight" in found and idle.value == 0:
            warnings.append(f"{found['CPUWeight'].origin}: ignored, idle has no weight")
        if idle.value == 0 or "CPUWeight" not in found:
            found["CPUWeight"] = idle
    return UnitLimits(tuple(writes), tuple(found.values()), tuple(warnings))


def _joined(before: UnitProperty | None, each: UnitProperty) -> UnitProperty:
    """Put the lines of several devices into one list."""
    if before is None or not isinstance(before.value, list) or not isinstance(each.value, list):
        return each
    return replace(before, value=[*before.value, *each.value])


# One write ------------------------------------------------------------------------------------------


def _properties(
    write: CgroupWrite, host: Host, cpu: Cpu | None, *, explicit_period: bool
) -> Iterator[UnitProperty]:
    if write.file in _SIMPLE:
        name, read, since = _SIMPLE[write.file]
        if host.systemd >= since:
            yield UnitProperty(name, "ay" if read is _bitmap else "t", read(write), write.origin)
    elif write.file in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"):
        yield from _bandwidth(write, host, cpu, explicit_period=explicit_period)
    elif write.file in _DEVICE_LINES:
        yield from _DEVICE_LINES[write.file](write)


def _number(write: CgroupWrite) -> int:
    """Read a number of bytes or tasks as the kernel does: -1 and "max" are no limit."""
    value = write.value.strip()
    if value in ("max", "-1"):
        return INFINITY
    found = _SIZE.fullmatch(value)
    if found is None:
        raise SpecError(f"{write.value!r} is no number for {write.file}", origin=write.origin)
    return min(int(found[1]) << 10 * _SUFFIXES.index(found[2].upper()), INFINITY)


_SIZE: Final = pattern(r"([0-9]{1,20})([KMGTPEkmgtpe]?)")
_SUFFIXES: Final = ("", "K", "M", "G", "T", "P", "E")


def _bitmap(write: CgroupWrite) -> bytes:
    """Turn a list into bits, CPU 0 in the lowest of the first byte."""
    numbers = parse_list(write.value, origin=write.origin)
    bits = 0
    for each in numbers:
        bits |= (1 << each.stop) - (1 << each.start)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


_SIMPLE: Final[dict[str, tuple[str, Callable[[CgroupWrite], object], int]]] = {
    "memory.limit_in_bytes": ("MemoryLimit", _number, 0),
    "memory.max": ("MemoryMax", _number, 0),
    "memory.low": ("MemoryLow", _number, 0),
    "memory.min": ("MemoryMin", _number, 0),
    "memory.high": ("MemoryHigh", _number, 0),
    "memory.swap.max": ("MemorySwapMax", _number, 0),
    "memory.zswap.max": ("MemoryZSwapMax", _number, _ZSWAP_SINCE),
    "cpu.shares": ("CPUShares", _number, 0),
    "cpu.weight": ("CPUWeight", _number, 0),
    "pids.max": ("TasksMax", _number, 0),
    "blkio.weight": ("BlockIOWeight", _number, 0),
    "cpuset.cpus": ("AllowedCPUs", _bitmap, _CPUSET_SINCE),
    "cpuset.mems": ("AllowedMemoryNodes", _bitmap, _CPUSET_SINCE),
}
"""File to property, how its value is read, and the first version that has it; -1 has none of those."""


# CPU ------------------------------------------------------------------------------------------------


class _Quota(NamedTuple):
    """CPU time, in microseconds; None is no limit."""

    quota: int | None
    period: int
    explicit: bool
    """The period was asked for."""


def _quota(write: CgroupWrite, cpu: Cpu | None) -> _Quota:
    """Return what holds once all is written; v1 has a file for each of the two."""
    if write.file == "cpu.max":
        words = write.value.split()
        if (
            not 1 <= len(words) <= 2
            or not all(_COUNT.fullmatch(word) for word in words)
            or words[1:] == ["max"]
        ):
            raise SpecError(f"{write.value!r} is not a quota and a period", origin=write.origin)
        quota = None if words[0] == "max" else int(words[0])
        return _Quota(quota, int(words[1]) if len(words) == 2 else _DEFAULT_PERIOD_US, len(words) == 2)
    quota = cpu.quota if cpu is not None else None
    period = cpu.period if cpu is not None else None
    return _Quota(
        quota if quota is not None and quota > 0 else None, period or _DEFAULT_PERIOD_US, period is not None
    )


_COUNT: Final = pattern(r"[0-9]{1,19}|max")


def _per_second(quota: int, period: int) -> int:
    """Return microseconds in each second, rounded up to what the manager can keep."""
    exact = quota * _USEC
    grain = period * _QUOTA_GRAIN_US
    return (exact + grain - 1) // grain * _QUOTA_GRAIN_US


def _rounded(write: CgroupWrite, cpu: Cpu | None) -> CgroupWrite:
    """Write the quota that the manager will keep, lest it change when that writes it again."""
    if write.file not in ("cpu.max", "cpu.cfs_quota_us"):
        return write
    each = _quota(write, cpu)
    if each.quota is None or each.period == 0:
        return write
    quota = _per_second(each.quota, each.period) * each.period // _USEC
    rest = "".join(f" {word}" for word in write.value.split()[1:]) if write.file == "cpu.max" else ""
    return write if quota == each.quota else replace(write, value=f"{quota}{rest}")


def _bandwidth(
    write: CgroupWrite, host: Host, cpu: Cpu | None, *, explicit_period: bool
) -> Iterator[UnitProperty]:
    each = _quota(write, cpu)
    if each.period == 0:
        raise SpecError("a period is not 0", origin=write.origin)
    named = explicit_period or (write.origin.endswith('["cpu.max"]') and each.explicit)
    if (named or each.period != _DEFAULT_PERIOD_US) and host.systemd >= _PERIOD_SINCE:
        yield UnitProperty("CPUQuotaPeriodUSec", "t", each.period, write.origin)
    per_second = INFINITY if each.quota is None else _per_second(each.quota, each.period)
    yield UnitProperty("CPUQuotaPerSecUSec", "t", per_second, write.origin)


def _idle(writes: Iterable[CgroupWrite], host: Host, current: Resources | None) -> UnitProperty | None:
    """Return the weight that stands for idleness, or for its end; older managers know neither."""
    if host.systemd < _IDLE_SINCE or host.cgroup_mode is not CgroupMode.V2:
        return None
    for write in writes:
        if write.file == "cpu.idle":
            if write.value.strip() == "1":
                return UnitProperty("CPUWeight", "t", 0, write.origin)
            if current is not None and current.cpu is not None and current.cpu.idle == 1:
                return UnitProperty("CPUWeight", "t", INFINITY, write.origin)
    return None


# Block devices --------------------------------------------------------------------------------------


def _io_weight(write: CgroupWrite) -> Iterator[UnitProperty]:
    """``io.weight`` and ``io.bfq.weight``: a line is the weight of all devices, or of one."""
    device, _, number = write.value.strip().rpartition(" ")
    if device and number == "default":
        return  # the manager has no word for taking one back
    weight = _number(replace(write, value=number))
    if write.file == "io.bfq.weight":
        weight = _from_bfq(weight)
    if device not in ("", "default"):
        yield UnitProperty("IODeviceWeight", "a(st)", [(_device_path(device, write), weight)], write.origin)
    elif write.otherwise is not None:
        yield UnitProperty("IOWeight", "t", _number(write.otherwise), write.origin)
    else:
        yield UnitProperty("IOWeight", "t", weight, write.origin)


def _from_bfq(weight: int) -> int:
    """Return the weight (1-10000) of which the manager makes this one (1-1000) for BFQ."""
    return weight if weight <= _BFQ_DEFAULT else _BFQ_DEFAULT + (weight - _BFQ_DEFAULT) * 11


_BFQ_DEFAULT: Final = 100


def _io_max(write: CgroupWrite) -> Iterator[UnitProperty]:
    """``io.max``: a line is a device and some of four rates."""
    device, *limits = write.value.split()
    for limit in limits:
        key, _, rate = limit.partition("=")
        if key not in _RATES:
            raise SpecError(f"{key!r} is no limit of io.max", origin=write.origin)
        value = [(_device_path(device, write), _number(replace(write, value=rate)))]
        yield UnitProperty(_RATES[key], "a(st)", value, write.origin)


_RATES: Final = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}
_DEVICE: Final = pattern(r"[0-9]{1,10}:[0-9]{1,10}")


def _device_path(numbers: str, write: CgroupWrite) -> str:
    if not _DEVICE.fullmatch(numbers):
        raise SpecError(f"{numbers!r} is not the number of a device", origin=write.origin)
    return f"/dev/block/{numbers}"


_DEVICE_LINES: Final[dict[str, Callable[[CgroupWrite], Iterator[UnitProperty]]]] = {
    "io.weight": _io_weight,
    "io.bfq.weight": _io_weight,
    "io.max": _io_max,
}


# Devices that may be used -----------------------------------------------------------------------------


_DEVICES: Final = "$.linux.resources.devices"


def device_properties(
    rules: Sequence[DeviceRule] | None, host: Host, origin: str = _DEVICES
) -> Iterator[UnitProperty]:
    """Yield the manager's own filter, which must not be stricter than ours, and is laxer where it has to be.

    Both filters of v2 have to agree, so ours decides in the end; in v1 there is one list for both,
    and what the manager cannot say is not allowed to it.
    """
    if rules is None:
        return
    entries = _allowed(rules, host)
    yield UnitProperty("DevicePolicy", "s", "auto" if entries is None else "strict", origin)
    yield UnitProperty("DeviceAllow", "a(ss)", [], origin)  # first take back what there is
    if entries:
        yield UnitProperty("DeviceAllow", "a(ss)", list(entries.items()), origin)


def device_warnings(rules: Sequence[DeviceRule] | None, host: Host, origin: str = _DEVICES) -> Iterator[str]:
    """Tell of devices that are allowed, and that the manager takes away again when it writes its own list."""
    for rule in rules or ():
        if rule.allow and rule.type != "a" and not _entry(rule, host):
            yield f"{origin}: {rule}: not expressible as DeviceAllow, kept in the cgroup alone"


def _allowed(rules: Iterable[DeviceRule], host: Host) -> dict[str, str] | None:
    """Return path to accesses; None is everything, with exceptions that the manager cannot make."""
    entries: dict[str, str] | None = {}
    for rule in rules:
        if rule.type == "a":
            entries = None if rule.allow else {}
        elif entries is not None:
            name = _entry(rule, host)
            if rule.allow and name:
                entries[name] = _accesses(entries.get(name, "") + rule.access)
            elif not rule.allow and _is_exact(rule, host):
                entries[name] = "".join(each for each in entries.get(name, "") if each not in rule.access)
    return None if entries is None else {name: accesses for name, accesses in entries.items() if accesses}


def _accesses(letters: str) -> str:
    return "".join(each for each in "rwm" if each in letters)


def _is_exact(rule: DeviceRule, host: Host) -> bool:
    """Whether the entry of a rule is about the same devices as the rule."""
    if rule.major is None or rule.minor is not None:
        return (rule.major is None) == (rule.minor is None)
    return host.systemd >= _DEVICE_MAJORS_SINCE


def _entry(rule: DeviceRule, host: Host) -> str:
    """Return what `DeviceAllow` calls the devices of a rule; empty if it cannot."""
    kind = "char" if rule.type == "c" else "block"
    if rule.major is not None and rule.minor is not None:
        return f"/dev/{kind}/{rule.major}:{rule.minor}"
    if rule.major is None and rule.minor is None:
        return f"{kind}-*"
    if rule.major is not None and host.systemd >= _DEVICE_MAJORS_SINCE:
        return f"{kind}-{rule.major}"
    return f"{kind}-*" if host.cgroup_mode is CgroupMode.V2 else ""
