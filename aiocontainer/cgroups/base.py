"""What the drivers of real hierarchies share: being made, claimed, listed and removed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from ..errors import CgroupError, ExistsError, UnsupportedError
from ..plan.host import CgroupMode
from . import unified
from .interface import CgroupBusyError
from .limits import Limits
from .members import signal_members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..plan.plan import CgroupWrite
    from .directory import Directory
    from .mounts import Mounts
    from .stats.parts import Part
    from .stats.reading import KeptFiles, Reading
    from .stats.values import CgroupStats, StatsMask

__all__ = ["Hierarchical"]

_REMOVE_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.0005
_LONGEST_PAUSE_S: Final = 0.05
_KILL_PASSES: Final = 64
_SIGKILL: Final = signal.SIGKILL


class Hierarchical(ABC):
    """A cgroup of one directory in each hierarchy.  Drivers add freezing, devices and joining."""

    mode: CgroupMode

    def __init__(self, directories: Mapping[str, Directory], mounts: Mounts, *, close_mounts: bool) -> None:
        """Use *directories* in *mounts*, which are closed with us or are somebody else's."""
        self._directories = dict(directories)
        self._mounts = mounts
        self._close_mounts = close_mounts
        self._unified = self._directories.get("")
        # Where members are counted and the claim is made: what every process of ours is in.
        self._main = self._unified or next(iter(self._directories.values()))
        # Between `survey` and a `create` that worked, what is there is somebody else's.
        self._is_ours = True

    @property
    def paths(self) -> Mapping[str, str]:
        """Hierarchy to absolute directory."""
        return {key: directory.path for key, directory in self._directories.items()}

    @property
    def made(self) -> Mapping[str, int]:
        """Hierarchy to how many directories, from the last one up, are ours to remove."""
        return {key: directory.made for key, directory in self._directories.items()}

    def survey(self) -> None:
        """Find out what `create` will make."""
        self._is_ours = False
        for directory in self._all():
            directory.survey()

    def create(self) -> None:
        """Make the directories, all or none of them, and claim them."""
        done: list[Directory] = []
        self._is_ours = False
        try:
            for directory in self._main_first():
                directory.make()
                done.append(directory)
                self._check_unused(directory)
            self._prepare()
        except BaseException:
            self._undo(done)
            raise
        self._is_ours = True

    def adopt(self, pid: int, *, ours: bool = True) -> None:
        """Take over what the service manager has made around process *pid*, and make what it has not."""
        done: list[Directory] = []
        self._is_ours = False
        try:
            for directory in self._main_first():
                if directory.exists():
                    directory.made = int(ours)  # those above it stay the manager's
                else:  # v1: a hierarchy that it leaves alone
                    directory.make()
                done.append(directory)
            self._main.claim()
            self._prepare()
            for directory in self._all():
                directory.write("cgroup.procs", str(pid))
        except BaseException:
            self._undo(done)
            raise
        self._is_ours = True

    def disown(self) -> None:
        """Reach nothing any more: what is there has become somebody else's."""
        self._is_ours = False

    def _main_first(self) -> list[Directory]:
        return [self._main, *(each for each in self._all() if each is not self._main)]

    def _check_unused(self, directory: Directory) -> None:
        if directory is self._main:
            directory.claim()
        if directory.made == 0 and directory.pids():
            raise ExistsError(directory.path, what="cgroup with processes")
        # What joins a frozen cgroup, or one below it, would never get to run.
        if (directory.made == 0 or directory.is_nested) and self._is_frozen(directory):
            raise ExistsError(directory.path, what="frozen cgroup")

    def _undo(self, done: Iterable[Directory]) -> None:
        """Remove what a failed `create` made, unless another container has claimed it."""
        if self._main.claimed:
            for directory in done:
                if directory.made:
                    directory.remove()
        self.close()

    @abstractmethod
    def _prepare(self) -> None:
        """Make what was created fit for processes."""

    def set_limits(self, writes: Sequence[CgroupWrite], *, fresh: bool = False) -> Callable[[], None]:
        """Write limits in order, all of them or none; returns what sets all back."""
        limits = Limits(self._directory_of, self._enable)
        limits.set(writes, fresh=fresh)
        return limits.undo

    def _enable(self, directory: Directory, controller: str) -> bool:
        if directory is not self._unified:
            return False
        directory.pass_on(controller)
        return True

    def dirfd(self) -> int:
        """Return a descriptor of the cgroup2 directory; ours, until `close`."""
        if self._unified is None:
            raise UnsupportedError("starting in a cgroup", needs="cgroup2 for this container")
        return self._unified.descriptor()

    def tasks_fds(self) -> list[int]:
        """Open the joining files of all hierarchies, in the order of `paths`; the caller closes them."""
        with contextlib.ExitStack() as undo:
            fds = []
            for key in self._directories:
                fds.append(self.open_tasks(key))
                undo.callback(os.close, fds[-1])
            undo.pop_all()
        return fds

    def open_tasks(self, hierarchy: str) -> int:
        """Open the file through which a process joins one hierarchy; the caller closes it."""
        file = "tasks" if hierarchy else "cgroup.procs"
        return self._directories[hierarchy].open_to_write(file)

    def inode(self) -> int:
        """Return the inode of the main directory; 0 when it is gone."""
        return self._main.inode()

    def exists(self) -> bool:
        """Tell whether it is there, in any hierarchy."""
        return any(directory.exists() for directory in self._all())

    def pids(self) -> list[int]:
        """List the processes in it and below it; none when it is gone."""
        for directory in self._main_first():
            if directory.exists():
                return directory.pids()
        return []

    def stats(self, mask: StatsMask | None = None, kept: KeptFiles | None = None) -> CgroupStats:
        """Read what the kernel accounts of it."""
        from .stats.reading import read_stats
        from .stats.values import StatsMask

        version = 2 if self.mode is CgroupMode.V2 else 1
        return read_stats(version, self._layouts(kept), StatsMask.ALL if mask is None else mask, self.pids)

    def kill(self, signal: int = signal.SIGKILL) -> None:
        """Send a signal to everything in it and below it."""
        if not self._is_ours:
            return
        if signal == _SIGKILL and self._unified is not None and unified.kill(self._unified):
            self.thaw()  # what v1 has frozen dies only when it runs again
            return
        was_frozen = self.is_frozen()
        try:
            # What stands still cannot fork; otherwise until nothing new is found.
            still = was_frozen or self._try_freeze()
            passes = _KILL_PASSES if signal == _SIGKILL and not still else 1
            while passes and signal_members(self.pids, signal):
                passes -= 1
        finally:
            if signal == _SIGKILL or not was_frozen:
                self.thaw()

    def remove(self) -> None:
        """Kill what is in it and remove what we made; CgroupBusyError."""
        if not self._is_ours:
            return
        busy = [directory for directory in self._all() if not _is_settled(directory)]
        if busy:
            with unified.Emptying(self._unified) as emptying:
                self.kill()
                self._remove_busy(busy, emptying)

    def _remove_busy(self, busy: list[Directory], emptying: unified.Emptying) -> None:
        """Try again whenever the cgroup has become empty, at the latest after a pause."""
        deadline, pause_s = time.monotonic() + _REMOVE_S, _FIRST_PAUSE_S
        while busy := [directory for directory in busy if not _is_settled(directory)]:
            if time.monotonic() >= deadline:
                raise CgroupBusyError(busy[0].path, busy[0].pids())
            for directory in busy:
                _kill_directory(directory)
            emptying.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def rest(self) -> None:
        """Close the directories above, which are opened again when needed; the claim stays."""
        for directory in self._all():
            directory.rest()

    def close(self) -> None:
        """Give descriptors back, and the claim that `create` made."""
        for directory in self._all():
            directory.close()
        if self._close_mounts:
            self._mounts.close()

    def _all(self) -> Iterable[Directory]:
        return self._directories.values()

    def is_frozen(self) -> bool:
        """Tell whether it, or one above it, is frozen or about to be."""
        return any(self._is_frozen(directory) for directory in self._all())

    def _try_freeze(self) -> bool:
        try:
            self.freeze()
        except (CgroupError, UnsupportedError):
            return False
        return True

    # What the drivers add ---------------------------------------------------------------------------

    @abstractmethod
    def _directory_of(self, controller: str) -> Directory | None:
        """Return where a controller's files are; None where it is missing."""

    @abstractmethod
    def _is_frozen(self, directory: Directory) -> bool:
        """Tell whether one hierarchy has it frozen; False when it is gone or cannot freeze there."""

    @abstractmethod
    def _layouts(self, kept: KeptFiles | None) -> Iterable[tuple[tuple[Part, ...], Reading]]:
        """Give the parts of a reading and where their files are; what comes first is preferred."""

    @abstractmethod
    def freeze(self) -> None:
        """Stop everything in it; returns when it stands still."""

    @abstractmethod
    def thaw(self) -> None:
        """Let it run again; no error when it is gone."""


def _is_settled(directory: Directory) -> bool:
    """Remove what we made; what was there before only has to be empty."""
    return directory.remove() if directory.made else not directory.pids()


def _kill_directory(directory: Directory) -> None:
    """Kill what is in one hierarchy: somebody may have moved it out of the others."""
    signal_members(directory.pids, _SIGKILL)
