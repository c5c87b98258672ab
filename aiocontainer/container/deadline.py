"""A deadline of an exec: when it comes, everything dies that the process has started, wherever that went.

The process is born in a cgroup of its own, below the container's, which nothing leaves that cannot write
to cgroups.  One hierarchy is enough for that; in the others it is where the container is.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from .._aio import finish, in_thread
from ..cgroups import open_cgroup
from ..errors import SpecError, UnsupportedError
from ..plan.host import CgroupMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..cgroups import Cgroup, Mounts
    from .process import Process

__all__ = ["Deadline"]

_PREFIX = "aioc-exec-"


class Deadline:
    """The cgroup of one exec, and the moment when it is emptied; removed as soon as it is empty.

    For exec it stands in the place of the container's cgroup: `paths`, `dirfd` and `open_tasks`.
    """

    def __init__(self, cgroup: Cgroup, timeout_s: float, mounts: Mounts) -> None:
        if timeout_s <= 0:
            raise SpecError(f"{timeout_s} s have passed already", origin="timeout_s")
        if cgroup.mode is CgroupMode.NONE:
            raise UnsupportedError(
                "a deadline for exec", needs="a cgroup for the container", origin="timeout_s"
            )
        self._whole = cgroup
        self._timeout_s = timeout_s
        self._key = _hierarchy(cgroup.paths)
        path = f"{cgroup.paths[self._key]}/{_PREFIX}{os.urandom(4).hex()}"
        self._own = open_cgroup(cgroup.mode, {self._key: path}, mounts=mounts)
        self._process: Process | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._over: Callable[[Deadline], object] = lambda _: None

    # In a thread ------------------------------------------------------------------------------------

    @property
    def paths(self) -> Mapping[str, str]:
        """Hierarchy to directory, as exec joins them."""
        return {**self._whole.paths, self._key: self._own.paths[self._key]}

    @property
    def made(self) -> Mapping[str, int]:
        """Hierarchy to how many directories, from the last one up, are ours."""
        return {**self._whole.made, self._key: 1}

    def create(self) -> None:
        """Make the cgroup."""
        self._own.create()

    def dirfd(self) -> int:
        """Return a descriptor of the cgroup2 directory, still ours."""
        return self._own.dirfd() if self._key == "" else self._whole.dirfd()

    def open_tasks(self, hierarchy: str) -> int:
        """Open the file through which a process joins; the caller closes it."""
        return (self._own if hierarchy == self._key else self._whole).open_tasks(hierarchy)

    def remove(self) -> None:
        """Kill what is in it, and remove it."""
        self._own.kill()
        self._own.remove()
        self._own.close()

    def _remove_empty(self) -> bool:
        if self._own.pids():
            return False
        self._own.remove()
        self._own.close()
        return True

    # On the loop ------------------------------------------------------------------------------------

    def begin(self, process: Process, over: Callable[[Deadline], object]) -> None:
        """Start the clock of *process*; *over* is called when there is nothing left of it."""
        self._process = process
        self._over = over
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._expire)
        process.when_ended(self._ended)

    async def end(self) -> None:
        """Let it come now."""
        if self._timer is not None:
            self._stop_timer()
            self._spawn(self.remove)
        if self._ending is not None:
            ending = self._ending
            await finish(lambda: _wait(ending))

    def _expire(self) -> None:
        self._stop_timer()
        if self._process is not None and self._process.exit is None:
            self._process.timed_out = True
        self._spawn(self.remove)

    def _ended(self) -> None:
        if self._timer is not None:
            self._spawn(self._remove_empty)

    def _spawn(self, work: Callable[[], bool | None]) -> None:
        before = self._ending

        async def run() -> None:
            if before is not None:
                await _wait(before)
            if await in_thread(work) is not False:
                self._stop_timer()
                self._over(self)

        self._ending = asyncio.get_running_loop().create_task(run())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _wait(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])


def _hierarchy(paths: Mapping[str, str]) -> str:
    """Choose where the cgroup is made: where it can be killed at once, or else frozen and killed."""
    if "" in paths:
        return ""
    return next((key for key in paths if "freezer" in key.split(",")), next(iter(paths)))
