"""One command in a throw-away container, like `subprocess.run`."""

from __future__ import annotations

from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

from .container.source import Command
from .runtime import Runtime

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from .container import Completed
    from .container.stdio import Redirect

__all__ = ["run"]


async def run(
    args: Sequence[str],
    *,
    rootfs: str | os.PathLike[str] | None = None,
    input: bytes | None = None,
    stdout: Redirect = PIPE,
    stderr: Redirect = PIPE,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    hostname: str | None = None,
    timeout_s: float | None = None,
    memory: int | str | None = None,
    pids: int | None = None,
    cpus: float | None = None,
) -> Completed:
    """Run one command in a throw-away container and return what it wrote and how it ended.

    Without *rootfs* it sees this machine's own root, read-only under a throw-away layer, as a user
    namespace of its own may see it; there is no network but ``lo`` and no way to new privileges.
    *env* adds to a small default environment.  *memory* is "256M" or a number of bytes, *cpus* how many
    to use at most, 0.5 is half of one: limits need root, or a cgroup delegated to us.
    Raises `TimeoutError` after *timeout_s*; whatever is raised, nothing is left behind.
    """
    command = Command(
        args, rootfs=rootfs, hostname=hostname, env=env or {}, cwd=cwd, memory=memory, pids=pids, cpus=cpus
    )
    async with Runtime() as runtime:
        return await runtime.run(command, input=input, stdout=stdout, stderr=stderr, timeout_s=timeout_s)
