"""Limits on top of limits: what holds after an update, and what a zero means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ..spec import BlockIO, Cpu, HugepageLimit, InterfacePriority, Memory, ThrottleDevice, WeightDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..spec import Resources
    from .plan import CgroupWrite

__all__ = ["meant", "merged", "updated"]

# Go writers of configurations leave these at 0 for "not set", and no kernel takes it for anything else.
_ZERO_IS_UNSET: Final[Mapping[type, tuple[str, ...]]] = {
    Memory: ("limit", "reservation", "swap"),
    Cpu: ("shares", "quota", "period", "realtime_runtime", "realtime_period"),
    BlockIO: ("weight", "leaf_weight"),
    WeightDevice: ("weight", "leaf_weight"),
}

# What makes two entries of a list entries for the same thing.
_KEYS: Final[Mapping[type, Callable[[Any], object]]] = {
    WeightDevice: lambda each: (each.major, each.minor),
    ThrottleDevice: lambda each: (each.major, each.minor),
    HugepageLimit: lambda each: each.page_size,
    InterfacePriority: lambda each: each.name,
}


def meant(resources: Resources) -> Resources:
    """Return what is meant: zeros for "not set" are not set, and memory without limit is one of swap, too."""
    found: Resources = _without_zeros(resources)
    memory = found.memory
    if memory is not None and memory.limit == -1 and memory.swap is None:
        found = replace(found, memory=replace(memory, swap=-1))
    return found


def _without_zeros(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_without_zeros(each) for each in value)
    if not isinstance(value, Struct):
        return value
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    unset = _ZERO_IS_UNSET.get(type(value), ())
    changed = {
        name: None if name in unset and each == 0 else _without_zeros(each) for name, each in fields.items()
    }
    return replace(value, **changed) if changed != fields else value


def merged(current: Resources, asked: Resources) -> Resources:
    """Return *current* with everything that *asked* says in its place."""
    found: Resources = _merged(current, asked)
    return found


def _merged(current: Any, asked: Any) -> Any:
    if asked is None or asked == "" or asked == () or asked == {}:
        return current
    if current is None:
        return asked
    if isinstance(asked, Struct):
        fields = asked.__struct_fields__
        return replace(
            current, **{name: _merged(getattr(current, name), getattr(asked, name)) for name in fields}
        )
    if isinstance(asked, Mapping):
        return {**current, **{key: _merged(current.get(key), value) for key, value in asked.items()}}
    if isinstance(asked, tuple) and type(asked[0]) in _KEYS:
        return _by_key(_KEYS[type(asked[0])], current, asked)
    return asked


def _by_key(key: Callable[[Any], object], current: Iterable[Any], asked: Iterable[Any]) -> tuple[Any, ...]:
    entries = {key(each): each for each in current}
    for each in asked:
        entries[key(each)] = _merged(entries.get(key(each)), each)
    return tuple(entries.values())


def updated(current: Resources, asked: Resources, writes: Iterable[CgroupWrite]) -> Resources:
    """Return what holds after an update: what was given by a file's name and is overwritten is forgotten."""
    whole = merged(current, meant(asked))
    stale = {write.file for write in writes} - asked.unified.keys()
    unified = {file: value for file, value in whole.unified.items() if file not in stale}
    return replace(whole, unified=unified)
