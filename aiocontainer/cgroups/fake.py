"""A cgroup of the mind, for tests of what uses one: no kernel, no privilege, nobody dies."""

from __future__ import annotations

import errno
import functools
import operator
import os
import signal
from typing import TYPE_CHECKING, Any

from ..errors import CgroupError, ExistsError
from ..plan.host import CgroupMode
from .interface import CgroupBusyError
from .parse import written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence

    from ..plan.devices import DeviceRule
    from ..plan.plan import CgroupWrite
    from .stats.reading import KeptFiles
    from .stats.values import CgroupStats, StatsMask

__all__ = ["FakeCgroup"]


class FakeCgroup:
    """Behaves as a cgroup; *world* holds what exists, by path: share it to let two meet.

    Tests put pids into `members`, parts of `CgroupStats` into `usage`, and read `devices`, `files` and
    `signals`.  A SIGKILL empties it, unless `stubborn`.
    """

    mode = CgroupMode.V2

    def __init__(
        self, path: str = "/sys/fs/cgroup/fake", world: MutableMapping[str, FakeCgroup] | None = None
    ) -> None:
        self.path = path
        self.world: MutableMapping[str, FakeCgroup] = {} if world is None else world
        self.members: list[int] = []
        self.frozen: bool = False
        self.stubborn = False
        self.devices: Sequence[DeviceRule] = ()
        self.signals: list[int] = []
        self.files: dict[str, str] = {}
        self.refused: set[str] = set()
        self.owner: int | None = None
        self.killed = 0
        self.usage: dict[str, Any] = {}
        self._made = 1

    @property
    def paths(self) -> Mapping[str, str]:
        """One path, of the unified hierarchy."""
        return {"": self.path}

    @property
    def made(self) -> Mapping[str, int]:
        """1 unless it was there before."""
        return {"": self._made}

    def survey(self) -> None:
        """Find out what `create` will make."""
        self._made = 0 if self.path in self.world else 1

    def create(self) -> None:
        """Make it; ExistsError."""
        self.survey()
        before = self.world.setdefault(self.path, self)
        if before.members:
            raise ExistsError(self.path, what="cgroup with processes")
        if before.frozen:
            raise ExistsError(self.path, what="frozen cgroup")
        self.world[self.path] = self

    def adopt(self, pid: int, *, ours: bool = True) -> None:
        """Have it, with the process in it."""
        self.world[self.path] = self
        self._made = int(ours)
        if pid not in self.members:
            self.members.append(pid)

    def set_limits(
        self,
        writes: Sequence[CgroupWrite],
        *,
        fresh: bool = False,  # noqa: ARG002
    ) -> Callable[[], None]:
        """Note what the files hold now; CgroupError for those in `refused`, with nothing changed."""
        before = self.files
        files = {**self.files}
        for write in writes:
            if write.file in self.refused:
                raise CgroupError(
                    f"{self.path}/{write.file}", errno.EINVAL, value=write.value, origin=write.origin
                )
            files[write.file] = written(write.file, files.get(write.file, ""), write.value)
        self.files = files

        def undo() -> None:
            self.files = before

        return undo

    def delegate(self, uid: int) -> None:
        """Note the owner."""
        self.owner = uid

    def oom_kills(self) -> int:
        """Return what a test has set."""
        return self.killed

    def set_devices(self, rules: Sequence[DeviceRule], program: bytes = b"") -> None:  # noqa: ARG002
        """Note the rules."""
        self.devices = rules

    def dirfd(self) -> int:
        """Return no descriptor."""
        return -1

    def open_tasks(self, hierarchy: str) -> int:  # noqa: ARG002
        """Open what takes any write."""
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def tasks_fds(self) -> list[int]:
        """Open that of its one hierarchy."""
        return [self.open_tasks("")]

    def inode(self) -> int:
        """Return a number of this very object."""
        return id(self.world[self.path]) if self.exists() else 0

    def exists(self) -> bool:
        """Tell whether it was made and not removed."""
        return self.path in self.world

    def pids(self) -> list[int]:
        """Return the members."""
        return list(self.members) if self.exists() else []

    def disown(self) -> None:
        """Have nothing to do with what is there."""
        self.world, self.members = {}, []

    def stats(self, mask: StatsMask | None = None, kept: KeptFiles | None = None) -> CgroupStats:  # noqa: ARG002
        """Return `usage`, as much of it as is asked for, and the number of members; CgroupError when gone."""
        from .stats.reading import parts2
        from .stats.values import CgroupStats, PidsStats, StatsMask

        if not self.exists():
            raise CgroupError(self.path, errno.ENOENT)
        usage = {"pids": PidsStats(current=len(self.members)), **self.usage}
        parts = [p for p in parts2() if p.field in usage and (mask is None or p.mask in mask)]
        fields: dict[str, Any] = {part.field: usage[part.field] for part in parts}
        there = functools.reduce(operator.or_, (part.mask for part in parts), StatsMask(0))
        return CgroupStats(version=2, parts=there, **fields)

    def kill(self, signal: int = signal.SIGKILL) -> None:
        """Note the signal."""
        if self.members:
            self.signals.append(signal)
        if signal == _SIGKILL:
            self.frozen = False
            if not self.stubborn:
                self.members.clear()

    def freeze(self) -> None:
        """Freeze it; CgroupError when it is gone."""
        if not self.exists():
            raise CgroupError(self.path, 2)
        self.frozen = True

    def thaw(self) -> None:
        """Thaw it."""
        self.frozen = False

    def is_frozen(self) -> bool:
        """Tell whether it is frozen."""
        return self.frozen and self.exists()

    def remove(self) -> None:
        """Kill and remove; CgroupBusyError when stubborn."""
        if self.members:
            self.kill()
        if self.members:
            raise CgroupBusyError(self.path, self.members)
        if self._made:
            self.world.pop(self.path, None)

    def rest(self) -> None:
        """Do nothing: nothing is kept open."""

    def close(self) -> None:
        """Close nothing."""


_SIGKILL = signal.SIGKILL
