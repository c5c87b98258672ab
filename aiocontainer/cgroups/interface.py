"""What every cgroup driver offers.  Calls block; a caller on the event loop makes them in a thread."""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING, Protocol

from ..errors import CgroupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..plan.devices import DeviceRule
    from ..plan.host import CgroupMode
    from ..plan.plan import CgroupWrite
    from .stats.reading import KeptFiles
    from .stats.values import CgroupStats, StatsMask

__all__ = ["Cgroup", "CgroupBusyError"]


class CgroupBusyError(CgroupError):
    """The cgroup could not be removed in time; `pids` are the processes that would not go."""

    def __init__(self, path: str, pids: Sequence[int]) -> None:
        super().__init__(path, errno.EBUSY)
        self.pids: tuple[int, ...] = tuple(pids)

    def __str__(self) -> str:
        return f"{super().__str__()} (processes: {', '.join(map(str, self.pids)) or 'none visible'})"


class Cgroup(Protocol):
    """The cgroup of one container, in every hierarchy that the machine has."""

    mode: CgroupMode

    @property
    def paths(self) -> Mapping[str, str]:
        """Hierarchy to absolute directory."""

    @property
    def made(self) -> Mapping[str, int]:
        """Hierarchy to how many directories, from the last one up, are ours to remove.

        Known after `survey` or `create`, or from the state that they were saved in.
        """

    def survey(self) -> None:
        """Find out what `create` will make, so that it can be written down before it is made."""

    def create(self) -> None:
        """Make the directories, all or none of them.

        ExistsError when somebody's processes are in it, or it is frozen, or about to be used by
        another container: then nothing that is done to this object reaches those.  Until `close`
        nobody else gets it.
        """

    def adopt(self, pid: int, *, ours: bool = True) -> None:
        """Take over what the service manager has made around process *pid*, and make what it has not.

        The process then is in it in every hierarchy.  *ours* says that it is ours to remove.
        """

    def disown(self) -> None:
        """Let nothing that is done to this object reach what is there: it is somebody else's."""

    def set_limits(self, writes: Sequence[CgroupWrite], *, fresh: bool = False) -> Callable[[], None]:
        """Write limits in order, all of them or none: what the last one refuses undoes the others.

        Returns what sets all back.  *fresh*: when that happens it is removed, and what we made ourselves
        need not be set back.
        CgroupError where the kernel refuses, UnsupportedError where it has no such file.
        """

    def delegate(self, uid: int) -> None:
        """Give it to a user of the host, so that he can make cgroups below it; v2."""

    def oom_kills(self) -> int:
        """Return how often the kernel has killed in it for want of memory; 0 when it is gone."""

    def set_devices(self, rules: Sequence[DeviceRule], program: bytes = b"") -> None:
        """Let only these devices be used: *rules* in v1, where the last match decides, *program* in v2."""

    def dirfd(self) -> int:
        """Return a descriptor of the cgroup2 directory, for CLONE_INTO_CGROUP; ours, until `close`."""

    def open_tasks(self, hierarchy: str) -> int:
        """Open the file through which a process joins by writing "0"; the caller closes it."""

    def tasks_fds(self) -> list[int]:
        """Open those of all hierarchies, in the order of `paths`; the caller closes them."""

    def inode(self) -> int:
        """Return the inode of the directory in which members are counted; 0 when it is gone.

        No other cgroup of this boot has the same.
        """

    def exists(self) -> bool:
        """Tell whether it is there, in any hierarchy."""

    def pids(self) -> list[int]:
        """List the processes in it and below it; none when it is gone."""

    def stats(self, mask: StatsMask | None = None, kept: KeptFiles | None = None) -> CgroupStats:
        """Read what the kernel accounts of it: all, or the parts of *mask*; *kept* are for reading again.

        CgroupError with ENOENT or ENODEV where it is gone, with EBADMSG where a file makes no sense.
        """

    def kill(self, signal: int = signal.SIGKILL) -> None:
        """Send a signal to everything in it and below it, without missing what is being forked.

        SIGKILL works on a frozen cgroup too; other signals arrive when it is thawed.
        """

    def freeze(self) -> None:
        """Stop everything in it; returns when it stands still."""

    def thaw(self) -> None:
        """Let it run again; no error when it is gone."""

    def is_frozen(self) -> bool:
        """Tell whether it, or one above it, is frozen or about to be."""

    def remove(self) -> None:
        """Kill what is in it and remove what we made; CgroupBusyError.  Can be called again."""

    def rest(self) -> None:
        """Close what is easily opened again, as most containers are left alone; the claim stays."""

    def close(self) -> None:
        """Give back descriptors, and the claim that `create` made.  It can still be used."""
