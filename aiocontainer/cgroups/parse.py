"""The text in cgroup files, parsed purely."""

from __future__ import annotations

import os

__all__ = ["parse_keyed", "parse_pids"]


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
