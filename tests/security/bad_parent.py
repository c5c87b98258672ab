"""A program that is careless in every way, and then runs a container.

Its argument is a `Request` as JSON; what it found goes to the file that the request names.  It leaks
descriptors of the host (3 to 6 and 500, without close-on-exec), may have strange attributes and
groups, closed standard streams, and ignore SIGCHLD.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import secrets
import signal
import socket
import sys
import tempfile
from typing import Any

from msgspec import Struct
from support.weak import weaken

from aiocontainer import ContainerError, Runtime, Spec

ADDR_NO_RANDOMIZE = 0x0040000
SYS = {"x86_64": (251, 238, 250), "aarch64": (30, 237, 219)}
"""ioprio_set(2), set_mempolicy(2), keyctl(2)."""


class Request(Struct, forbid_unknown_fields=True):
    """What to do."""

    state: str
    report: str
    spec: str
    """config.json; its program is expected to write what `support.guest` writes."""
    leak: bool = True
    strange: bool = False
    groups: list[int] = []
    closed: list[int] = []
    ignore_children: bool = False
    preserve_fds: int = 0
    exec: dict[str, Any] | None = None
    """Options of a second process, by exec."""
    user: int | None = None
    detached: bool = False


def leak() -> None:
    """Open what a container must never get hold of, for every child to inherit."""
    for number, opened in (
        (3, os.open("/etc", os.O_RDONLY)),
        (4, os.open("/", os.O_PATH)),
        (5, os.memfd_create("leaked")),
        (6, socket.socket().detach()),
        (500, os.open("/root", os.O_RDONLY)),
    ):
        os.dup2(opened, number, inheritable=True)


def be_strange() -> None:
    """Have everything that children inherit set to something unusual."""
    ioprio_set, set_mempolicy, keyctl = SYS[os.uname().machine]
    libc = ctypes.CDLL(None, use_errno=True)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, 0, 7)
    assert libc.syscall(ioprio_set, 1, 0, 3 << 13 | 7) == 0  # idle
    assert libc.syscall(set_mempolicy, 3, ctypes.byref(ctypes.c_ulong(1)), 8) == 0  # interleave
    assert libc.syscall(keyctl, 1, b"aioc-test-strange", 0, 0, 0) > 0  # join
    assert libc.personality(ADDR_NO_RANDOMIZE) >= 0
    assert libc.prctl(4, 0, 0, 0, 0) == 0  # not dumpable
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("321")
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (123456, 654321))
    resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, 64 << 20))
    for ignored in (signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1, signal.SIGRTMIN):
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2, signal.SIGRTMAX})


def descriptors(pid: int) -> dict[str, str]:
    """Descriptors of another process: number to what it is."""
    directory = f"/proc/{pid}/fd"
    return {name: os.readlink(f"{directory}/{name}") for name in os.listdir(directory)}


async def descriptors_when_created(pid: int) -> dict[str, str]:
    """The same of an init at its gate: it still has to close the other end of our dialogue."""
    found = descriptors(pid)
    for _ in range(200):
        if sum(target.startswith("socket:") for target in found.values()) <= 1:
            break
        await asyncio.sleep(0.01)
        found = descriptors(pid)
    return found


async def work(request: Request) -> dict[str, Any]:
    lifetime = "detached" if request.detached else "owner"
    id = f"aioc-test-{secrets.token_hex(4)}"
    report: dict[str, Any] = {"id": id}
    async with Runtime(request.state, lifetime=lifetime) as runtime:  # type: ignore[arg-type]
        with tempfile.TemporaryFile() as output:
            container = await runtime.create(
                id,
                Spec.decode(request.spec),
                stdout=output,
                preserve_fds=request.preserve_fds,
            )
            report["created"] = await descriptors_when_created(container.pid)
            await container.start()
            if request.exec is not None:
                report["exec"] = await run_in(container, request.exec)
                await container.kill("KILL")
            exit = await container.wait()
            report["exit"] = exit.returncode
            output.seek(0)
            report["guest"] = json.loads(output.read().partition(b"\n")[0] or b"null")
            await container.delete()
    return report


async def run_in(container: Any, options: dict[str, Any]) -> Any:
    with tempfile.TemporaryFile() as output:
        process = await container.exec(["/bin/guest"], stdout=output, **options)
        exit = await process.wait()
        output.seek(0)
        return {"exit": exit.returncode, "guest": json.loads(output.read())}


def main() -> None:
    raw = json.loads(sys.argv[1])
    request = Request(**raw)
    if request.user is not None:
        os.setresgid(request.user, request.user, request.user)
        os.setgroups([])
        os.setresuid(request.user, request.user, request.user)
    if request.groups:
        os.setgroups(request.groups)
    if request.leak:
        leak()
    if request.strange:
        be_strange()
    if request.ignore_children:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for number in request.closed:
        os.close(number)
    weaken()
    try:
        report = asyncio.run(work(request))
    except (ContainerError, OSError) as exc:
        report = {"error": type(exc).__name__, "message": str(exc)}
    with open(request.report, "w") as file:
        json.dump(report, file)


if __name__ == "__main__":
    main()
