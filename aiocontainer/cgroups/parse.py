"""The text in cgroup files, parsed purely."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["parse_keyed", "parse_pids", "restoring", "written"]

_BY_KEY: Final[Mapping[str, str]] = {
    "blkio.throttle.read_bps_device": "0",
    "blkio.throttle.write_bps_device": "0",
    "blkio.throttle.read_iops_device": "0",
    "blkio.throttle.write_iops_device": "0",
    "blkio.weight_device": "0",
    "blkio.leaf_weight_device": "0",
    "blkio.bfq.weight_device": "default",
    "io.bfq.weight": "default",
    "io.weight": "default",
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.latency": "target=0",
    "misc.max": "max",
    "net_prio.ifpriomap": "0",
    "rdma.max": "hca_handle=max hca_object=max",
}
"""Files of "key value" lines, and the value of a key that they do not show."""


def parse_pids(text: bytes) -> list[int]:
    """Read ``cgroup.procs``; a process of another pid namespace is shown as 0 and left out."""
    return [pid for pid in map(int, text.split()) if pid > 0]


def parse_keyed(text: bytes) -> dict[str, int]:
    """Read "key number" lines, such as ``cgroup.events``; what is not of that form is left out."""
    values = {}
    for line in text.splitlines():
        fields = line.split(b" ")
        if len(fields) == 2 and fields[1].isdigit():
            values[os.fsdecode(fields[0])] = int(fields[1])
    return values


def restoring(file: str, value: str, text: bytes) -> tuple[str, ...]:
    """Return what to write to *file* to undo the writing of *value*, by its *text* before."""
    lines = os.fsdecode(text).splitlines()
    if file == "memory.oom_control":  # cgroup-v1/memory.rst 10
        return tuple(line.split()[1] for line in lines if line.startswith("oom_kill_disable "))
    key, separator, _ = value.partition(" ")
    if file not in _BY_KEY:
        return tuple(line.strip() or "\n" for line in lines) or ("\n",)
    if not separator:  # what holds for all devices that have no line of their own
        return tuple(line.removeprefix("default ") for line in lines if line.startswith("default "))
    for line in lines:
        if line.partition(" ")[0] == key:
            return (line,)
    return (f"{key} {_BY_KEY[file]}",)


def written(file: str, text: str, value: str) -> str:
    """Return what a file that held *text* holds once *value* was written, as the kernel would show it."""
    if file not in _BY_KEY:
        return value
    lines = dict(line.split(" ", 1) for line in text.splitlines())
    if _BY_KEY[file] == "default":
        lines = {"default": _WEIGHT, **lines}
    key, _, given = value.rpartition(" ") if _BY_KEY[file] == "default" else value.partition(" ")
    lines[key or "default"] = _settings(file, lines.get(key, ""), given)
    return "\n".join(f"{key} {held}" for key, held in lines.items() if held != _BY_KEY[file])


_WEIGHT: Final = "100"
"""Of a device that no line is about."""


def _settings(file: str, held: str, given: str) -> str:
    """Put "name=value" words in the place of those of the same names; any other value takes it all."""
    if "=" not in given:
        return given
    names = (each.split("=") for words in (_BY_KEY[file], held, given) for each in words.split())
    return " ".join(f"{name}={value}" for name, value in dict(names).items())
