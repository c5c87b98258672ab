"""Groups of the resctrl file system: shares of cache and memory bandwidth.  Linux resctrl.rst.

Everything blocks, and is for a worker.  What the file system holds is the kernel's; the names below its
root are checked when the plan is made.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from ._aio import OwnedFd
from .errors import ExistsError, ResctrlError, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .plan.resctrl import ResctrlGroup

__all__ = ["RdtStats", "change", "create", "remove", "stats", "survey"]

_ORIGIN: Final = "$.linux.intelRdt"
_DECIMAL: Final = frozenset({"MB", "SMBA"})
"""Bandwidth is a number; everything else is a bit mask in hexadecimal."""

_Values = dict[tuple[str, str], int]
"""(resource, domain) to the value."""


def survey(group: ResctrlGroup) -> ResctrlGroup:
    """Return *group* with `made` as it will be: so it can be recorded before it is made.

    Raises `SpecError` where a group that has to be there is not, or says something else.
    """
    if os.path.isdir(group.directory):
        if not group.named:
            raise ExistsError(group.name, what="resctrl group")
        _compare(group)
        return replace(group, made=False)
    if group.named and not group.lines:
        raise SpecError(
            f"there is no group {group.name!r}, and no schema to make it", origin=f"{_ORIGIN}.closID"
        )
    return replace(group, made=True)


def create(group: ResctrlGroup) -> None:
    """Make what `survey` found to be missing; what fails leaves nothing."""
    with contextlib.ExitStack() as undo:
        if group.made:
            _make(group.directory, group)  # and never one that somebody has made meanwhile
            undo.callback(_remove, group.directory)
            for line in group.lines:
                _write(f"{group.directory}/schemata", line, group)
        if group.monitor:
            _make(group.monitor_directory, group)
        undo.pop_all()


def change(group: ResctrlGroup, lines: Sequence[str]) -> Callable[[], None]:
    """Write *lines* to the group's schemata, all or none; returns what sets them back."""
    path = f"{group.directory}/schemata"
    names = {line.partition(":")[0].strip() for line in lines}
    try:
        with open(path) as file:
            before = [line.strip() for line in file if line.partition(":")[0].strip() in names]
    except OSError as exc:
        raise ResctrlError(path, exc.errno or 0) from exc

    def undo() -> None:
        for line in before:
            _write(path, line, group)

    try:
        for line in lines:
            _write(path, line, group)
    except BaseException:
        undo()
        raise
    return undo


def remove(group: ResctrlGroup) -> None:
    """Remove what was made for the container alone; no error where it is gone.

    A group that the specification names stays while others are in it: they would lose their share.
    """
    if group.monitor:
        _remove(group.monitor_directory)
    if group.made and not (group.named and _has_tasks(group)):
        _remove(group.directory)


def _make(path: str, group: ResctrlGroup) -> None:
    try:
        os.mkdir(path, 0o755)
    except OSError as exc:
        raise ResctrlError(path, exc.errno or 0, status=_last_status(group)) from exc


def _remove(path: str) -> None:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise ResctrlError(path, exc.errno or 0) from exc


def _write(path: str, line: str, group: ResctrlGroup) -> None:
    try:
        with OwnedFd(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)) as file:
            os.write(file.fileno(), f"{line}\n".encode())
    except OSError as exc:
        raise ResctrlError(path, exc.errno or 0, value=line, status=_last_status(group)) from exc


def _last_status(group: ResctrlGroup) -> str:
    """Return the kernel's own words about the last failure: "ok" is none."""
    with contextlib.suppress(OSError), open(f"{group.root}/info/last_cmd_status") as file:
        status = file.read().strip()
        return "" if status == "ok" else status
    return ""


def _has_tasks(group: ResctrlGroup) -> bool:
    with contextlib.suppress(FileNotFoundError), open(f"{group.directory}/tasks") as file:
        return bool(file.read(1))
    return False


def _compare(group: ResctrlGroup) -> None:
    """Refuse a group that is there with another share: who else is in it is not ours to say."""
    if not group.lines:
        return
    with open(f"{group.directory}/schemata") as file:
        present = _values(file.read().splitlines(), f"{group.directory}/schemata")
    for key, value in _values(group.lines, _ORIGIN).items():
        if present.get(key) != value:
            resource, domain = key
            has = "has none" if key not in present else f"is {present[key]:#x}, not {value:#x}"
            raise SpecError(
                f"group {group.name or '/'!r} exists, and its {resource}:{domain} {has}", origin=_ORIGIN
            )


def _values(lines: Iterable[str], origin: str) -> _Values:
    """Read schemata whatever their order, blanks, leading zeros and case; a later value overrides."""
    return {key: value for line in lines for key, value in _line(line, origin)}


def _line(line: str, origin: str) -> Iterator[tuple[tuple[str, str], int]]:
    resource, _, domains = line.partition(":")
    resource = resource.strip()
    for part in filter(None, (each.strip() for each in domains.split(";"))):
        domain, _, value = part.partition("=")
        try:
            yield (resource, domain.strip()), int(value, 10 if resource in _DECIMAL else 16)
        except ValueError as exc:
            raise SpecError(f"{line!r} is not a line of schemata", origin=origin) from exc


# What a group has used ----------------------------------------------------------------------------------


class RdtStats(Struct, frozen=True, kw_only=True):
    """What the CPU counts of a group, by monitored domain, and what it shares out.  resctrl.rst."""

    llc_occupancy_bytes: Mapping[int, int] = {}
    """Domain of the last-level cache to the bytes in it; what the hardware cannot tell now is left out."""
    mbm_total_bytes: Mapping[int, int] = {}
    """Domain to the bytes transferred."""
    mbm_local_bytes: Mapping[int, int] = {}
    schemata: tuple[str, ...] = ()
    """Of the group, without leading blanks."""
    root_schemata: tuple[str, ...] = ()
    info: Mapping[str, Mapping[str, str]] = {}
    """Resource, as "L3", to the files that say what it can do, as "cbm_mask"."""


_MONITORED: Final = {
    "llc_occupancy": "llc_occupancy_bytes",
    "mbm_total_bytes": "mbm_total_bytes",
    "mbm_local_bytes": "mbm_local_bytes",
}
_INFO: Final = {
    "L3": ("cbm_mask", "min_cbm_bits", "num_closids"),
    "MB": ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"),
}


def stats(group: ResctrlGroup) -> RdtStats:
    """Read the counters of a group, the container's own if it has one; nothing where it is gone."""
    return RdtStats(
        **_monitored(group.monitor_directory if group.monitor else group.directory),
        schemata=_schemata(group.directory),
        root_schemata=_schemata(group.root),
        info={name: found for name, files in _INFO.items() if (found := _info(group.root, name, files))},
    )


def _monitored(directory: str) -> dict[str, dict[int, int]]:
    """Read ``mon_data``: its directories are named by resource and domain, as in mon_L3_00."""
    found: dict[str, dict[int, int]] = {}
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(f"{directory}/mon_data")):
            domain = name.rpartition("_")[2]
            if not name.startswith("mon_L3_") or not domain.isdecimal():
                continue
            for file, field in _MONITORED.items():
                value = _text(f"{directory}/mon_data/{name}/{file}")
                if value.isdecimal():  # and not "Unavailable" or "Error"
                    found.setdefault(field, {})[int(domain)] = int(value)
    return found


def _schemata(directory: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in _text(f"{directory}/schemata").splitlines())


def _info(root: str, resource: str, files: Iterable[str]) -> dict[str, str]:
    return {file: text for file in files if (text := _text(f"{root}/info/{resource}/{file}"))}


def _text(path: str) -> str:
    """Read a small file; "" where there is none, or where the kernel cannot tell now."""
    with contextlib.suppress(OSError), open(path) as file:
        return file.read().strip()
    return ""
