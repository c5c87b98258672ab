"""update: other limits for a container that is there, by options or by a JSON document."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from .arguments import UsageError
from .drive import drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiocontainer import Runtime
    from aiocontainer.spec import IntelRdt

    from .arguments import Invocation, Namespace

__all__ = ["update"]

_MAX_BYTES: Final = 4 * 2**20


def update(call: Invocation) -> int:
    """Change limits: those of --resources, and over them those of single options."""
    resources = _document(call.options.resources)
    for name, (section, member, read) in _OPTIONS.items():
        text = getattr(call.options, name)
        if text is not None:
            resources.setdefault(section, {})[member] = read(f"--{name.replace('_', '-')}", text)
    rdt = _rdt(call.options)

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(call.operands[0])
        await container.update(resources, intel_rdt=rdt)
        return 0

    return drive(call.program, work)


def _document(path: str | None) -> dict[str, Any]:
    """Read the JSON document; "-" is standard input."""
    if path is None:
        return {}
    from aiocontainer.spec import decode_resources, encode

    if path == "-":
        data = sys.stdin.buffer.read(_MAX_BYTES + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    document: dict[str, Any] = json.loads(encode(decode_resources(data)))
    return document


def _rdt(options: Namespace) -> IntelRdt | None:
    if options.l3_cache_schema is None and options.mem_bw_schema is None:
        return None
    from aiocontainer.spec import IntelRdt

    return IntelRdt(l3_cache_schema=options.l3_cache_schema or "", mem_bw_schema=options.mem_bw_schema or "")


def _size(option: str, text: str) -> int:
    from aiocontainer import SpecError
    from aiocontainer.spec import parse_size

    try:
        return parse_size(text, origin=option)
    except SpecError as exc:
        raise UsageError(str(exc)) from None


def _number(option: str, text: str) -> int:
    if re.fullmatch("-?[0-9]{1,19}", text) is None:
        raise UsageError(f"{option}: {text!r} is not a number")
    return int(text)


def _list(option: str, text: str) -> str:
    if not text:
        raise UsageError(f"{option}: give a list such as 0-3,7")
    return text


_OPTIONS: Final[dict[str, tuple[str, str, Callable[[str, str], int | str]]]] = {
    "blkio_weight": ("blockIO", "weight", _number),
    "cpu_period": ("cpu", "period", _number),
    "cpu_quota": ("cpu", "quota", _number),
    "cpu_burst": ("cpu", "burst", _number),
    "cpu_share": ("cpu", "shares", _number),
    "cpu_rt_period": ("cpu", "realtimePeriod", _number),
    "cpu_rt_runtime": ("cpu", "realtimeRuntime", _number),
    "cpu_idle": ("cpu", "idle", _number),
    "cpuset_cpus": ("cpu", "cpus", _list),
    "cpuset_mems": ("cpu", "mems", _list),
    "memory": ("memory", "limit", _size),
    "memory_reservation": ("memory", "reservation", _size),
    "kernel_memory": ("memory", "kernel", _size),
    "kernel_memory_tcp": ("memory", "kernelTCP", _size),
    "memory_swap": ("memory", "swap", _size),
    "pids_limit": ("pids", "limit", _number),
}
"""Option to object, member of it, and how its value is read."""
