"""Id maps of a new user namespace, written by the parent.  user_namespaces(7).

Runs in a thread, while the helper waits at its first pause.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from typing import TYPE_CHECKING

from .._aio import OwnedFd
from ..errors import HelperError, SpecError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..plan.host import Host
    from ..plan.plan import IdMaps, Plan
    from ..plan.steps import Rlimit

__all__ = ["prepare_namespace"]

_TOOL_S = 30.0

IdMap = tuple[tuple[int, int, int], ...]


def prepare_namespace(plan: Plan, host: Host, pid: int, pidfd: int) -> None:
    """Write maps and limits for the process *pid*, which *pidfd* proves to be still the one."""
    if plan.maps is not None:
        with OwnedFd(os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as proc:
            _check_alive(pidfd)  # so that *proc* is the directory of no later process
            _write_maps(plan.maps, host, pid, proc.fileno())
            if plan.oom_score_adj is not None:
                _write_oom_score(proc.fileno(), plan.oom_score_adj)
    for limit in plan.limits_by_parent:
        _limit(pid, limit)


def _check_alive(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        raise HelperError("the helper ended before its ids were mapped") from None


def _write_maps(maps: IdMaps, host: Host, pid: int, proc: int) -> None:
    if maps.deny_setgroups:
        _write(proc, "setgroups", "deny")
    for name, ranges, tool in (
        ("uid_map", maps.uid, host.newuidmap),
        ("gid_map", maps.gid, host.newgidmap),
    ):
        text = "".join(f"{inside} {outside} {size}\n" for inside, outside, size in ranges)
        origin = f"$.linux.{name[:3]}Mappings"
        if len(text) >= resource.getpagesize():
            raise SpecError(
                f"{len(text)} bytes as text, and the kernel takes less than a page", origin=origin
            )
        if maps.use_tools:
            _run_tool(tool, pid, ranges, origin=origin)
        else:
            _write(proc, name, text)
        _check(proc, name, ranges)


def _write(proc: int, name: str, text: str) -> None:
    """Write in one call, as the kernel wants a map written."""
    with OwnedFd(os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=proc)) as file:
        data = text.encode("ascii")
        if os.write(file.fileno(), data) != len(data):
            raise HelperError(f"{name} was written in part")


def _write_oom_score(proc: int, score: int) -> None:
    try:
        _write(proc, "oom_score_adj", str(score))
    except PermissionError as exc:
        raise UnsupportedError(
            f"to lower it to {score}", needs="CAP_SYS_RESOURCE", origin="$.process.oomScoreAdj"
        ) from exc


def _check(proc: int, name: str, ranges: IdMap) -> None:
    """Read a map back: a tool may have written less than it was asked for."""
    with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=proc), "rb") as file:
        text = file.read()
    got = sorted(tuple(map(int, line.split())) for line in text.splitlines())
    if got != sorted(ranges):
        raise HelperError(f"{name} is not what was written")


def _run_tool(tool: str | None, pid: int, ranges: Iterable[Sequence[int]], *, origin: str) -> None:
    """Map ids that are not ours alone by newuidmap(1) or newgidmap(1)."""
    if tool is None:
        raise UnsupportedError("mapping more than the own id", needs="newuidmap and newgidmap", origin=origin)
    numbers = [str(number) for entry in ranges for number in entry]
    done = subprocess.run(
        [tool, str(pid), *numbers],
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TOOL_S,
        check=False,
    )
    if done.returncode != 0:
        problem = done.stderr.decode(errors="backslashreplace").strip() or f"ended with {done.returncode}"
        raise HelperError(f"{tool}: {problem}")


def _limit(pid: int, limit: Rlimit) -> None:
    soft, hard = (-1 if value == 2**64 - 1 else value for value in (limit.soft, limit.hard))
    resource.prlimit(pid, limit.resource, (soft, hard))
