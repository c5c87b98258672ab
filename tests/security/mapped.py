"""A program that becomes an ordinary user and reports the id maps of a container.

mapped.py UID STATE < config.json > report
"""

from __future__ import annotations

import asyncio
import ctypes
import encodings.ascii
import encodings.idna  # noqa: F401 - while its file can still be read, see `become`
import json
import os
import sys
from asyncio.subprocess import DEVNULL
from typing import Any

from support.weak import weaken

from aiocontainer import ContainerError, Runtime, Spec


def of_process(pid: int, name: str) -> list[list[int]]:
    with open(f"/proc/{pid}/{name}") as file:
        return sorted([int(word) for word in line.split()] for line in file)


async def work(state: str, spec: Spec) -> dict[str, Any]:
    async with (
        Runtime(state) as runtime,
        runtime.container(spec, stdin=DEVNULL, stdout=DEVNULL) as container,
    ):
        return {name: of_process(container.pid, name) for name in ("uid_map", "gid_map")}


def become(user: int) -> None:
    """Change the user for good, without exec(2): the interpreter may be where the user has no way to."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    assert ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) == 0  # dumpable again, as a process of that user is


def main() -> None:
    user, state = int(sys.argv[1]), sys.argv[2]
    weaken()
    become(user)
    try:
        report = asyncio.run(work(state, Spec.decode(sys.stdin.buffer.read())))
    except ContainerError as exc:
        report = {"error": type(exc).__name__, "origin": getattr(exc, "origin", ""), "message": str(exc)}
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
