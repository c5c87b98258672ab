"""A program that becomes an ordinary user and reports the id maps and groups of a container.

ordinary.py STATE DUMPABLE [GROUP...] < config.json > report

Who has changed his user without exec(2) is not dumpable; DUMPABLE 1 makes him so again.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
from asyncio.subprocess import DEVNULL
from typing import Any

from support.guest import status_ids
from support.user import become, expose
from support.weak import weaken

from aiocontainer import ContainerError, Runtime, Spec

USER = 1000
FIRST = 2000
"""Subordinate ids of the user, from here on: small numbers, for the kernel takes one page of text."""

_PR_SET_DUMPABLE = 4


def of_process(pid: int, name: str) -> list[list[int]]:
    with open(f"/proc/{pid}/{name}") as file:
        return sorted([int(word) for word in line.split()] for line in file)


async def work(state: str, spec: Spec) -> dict[str, Any]:
    async with (
        Runtime(state) as runtime,
        runtime.container(spec, stdin=DEVNULL, stdout=DEVNULL) as container,
    ):
        report: dict[str, Any] = {name: of_process(container.pid, name) for name in ("uid_map", "gid_map")}
        report["groups"] = status_ids(container.pid)["Groups"]
        with open(f"/proc/{container.pid}/setgroups") as file:
            report["setgroups"] = file.read().strip()
        return report


def main() -> None:
    state, dumpable, *groups = sys.argv[1:]
    weaken()
    expose(os.path.dirname(state))
    become(USER, [int(group) for group in groups])
    assert ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, int(dumpable), 0, 0, 0) == 0
    try:
        report = asyncio.run(work(state, Spec.decode(sys.stdin.buffer.read())))
    except ContainerError as exc:
        report = {"error": type(exc).__name__, "origin": getattr(exc, "origin", ""), "message": str(exc)}
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
