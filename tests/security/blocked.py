"""A program for which some system calls do not exist, as under a filter; it runs a container all the same.

Its argument is a `Request` as JSON, its output the report.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import struct
import sys
import threading
from asyncio.subprocess import DEVNULL
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from support.guest import mounts_of
from support.weak import weaken

from aiocontainer import ContainerError, Runtime, Spec, native
from aiocontainer.native.seccomp import call_number

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOW, REFUSE = 0x7FFF0000, 0x00050000
LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
PR_SET_SECCOMP, MODE_FILTER = 22, 2


class Request(Struct, forbid_unknown_fields=True):
    """What to do without which calls."""

    state: str
    spec: str = ""
    calls: list[str] = []
    """Nothing here has them."""
    helpers: list[str] = []
    """One after the other is missing, and only in the helper."""
    act: str = "create"
    id: str = "aioc-test-blocked"


def block(calls: list[str]) -> None:
    """Have these calls fail with ENOSYS, in this thread and what it starts.  seccomp(2)"""
    code = [struct.pack("=HBBI", LOAD, 0, 0, 0)]
    for call in calls:
        code.append(struct.pack("=HBBI", IF_EQUAL, 0, 1, call_number(call)))
        code.append(struct.pack("=HBBI", RETURN, 0, 0, REFUSE | errno.ENOSYS))
    code.append(struct.pack("=HBBI", RETURN, 0, 0, ALLOW))
    program = ctypes.create_string_buffer(b"".join(code))
    header = ctypes.create_string_buffer(struct.pack("@HxxxxxxP", len(code), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_SECCOMP, MODE_FILTER, header, 0, 0) == 0, os.strerror(ctypes.get_errno())


def start_without(call: str) -> Callable[[], Any]:
    """A way to start the helper: from a thread that lacks the call."""
    start = native.Spawner.start

    def started() -> Any:
        found: list[Any] = []

        def work() -> None:
            block([call])
            try:
                found.append(start())
            except ContainerError as exc:
                found.append(exc)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(found[0], ContainerError):
            raise found[0]
        return found[0]

    return started


def look(pid: int) -> dict[str, Any]:
    """What the container is, as seen from outside."""
    mounts = {place: [m["type"], m["options"]] for place, m in mounts_of(pid).items()}
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    kept = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
    status = {name: fields[name] for name in kept}
    return {"mounts": mounts, "status": status, "cwd": os.readlink(f"/proc/{pid}/cwd")}


async def act(request: Request) -> dict[str, Any]:
    lifetime = "detached" if request.act in ("leave", "end", "exec") else "owner"
    async with Runtime(request.state, lifetime=lifetime) as runtime:  # type: ignore[arg-type]
        if request.act in ("create", "leave"):
            container = await runtime.create(
                request.id, Spec.decode(request.spec), stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
            )
            await container.start()
            report = look(container.pid)
            if request.act == "create":
                await container.delete(force=True)
            return report
        container = await runtime.load(request.id)
        if request.act == "exec":
            process = await container.exec(["true"], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
            return {"exit": (await process.wait()).returncode}
        status = await container.status()
        await container.kill("KILL")
        await container.wait()
        await container.delete()
        return {"was": status.value}


async def attempt(request: Request) -> dict[str, Any]:
    """What came of it; a refusal by its fields."""
    try:
        return await act(request)
    except ContainerError as exc:
        names = ("needs", "errno", "call", "origin")
        report = {name: getattr(exc, name) for name in names if hasattr(exc, name)}
        return {**report, "error": type(exc).__name__, "message": str(exc)}


async def attempt_each(request: Request) -> dict[str, Any]:
    """The same for each call that the helper lacks, and what is left then in the state directory."""
    whole = native.Spawner.start
    reports = {"": await attempt(request)}
    for call in request.helpers:
        native.Spawner.start = start_without(call)  # type: ignore[method-assign]
        async with asyncio.timeout(20):
            reports[call] = {**await attempt(request), "left": os.listdir(request.state)}
        native.Spawner.start = whole  # type: ignore[method-assign]
    return reports


def main() -> None:
    request = Request(**json.loads(sys.argv[1]))
    weaken()
    native.libseccomp()  # which knows the numbers
    if request.calls:
        block(request.calls)
    json.dump(asyncio.run((attempt_each if request.helpers else attempt)(request)), sys.stdout)


if __name__ == "__main__":
    main()
