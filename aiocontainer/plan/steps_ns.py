# ruff: noqa: D102 - record() and advice() are told by Step
"""Steps of the dialogue with the parent, of namespaces and of placement."""

from __future__ import annotations

import errno as _errno
from typing import ClassVar, Final

from .flags import (
    PAUSE_CGROUP,
    PAUSE_CONSOLE,
    PAUSE_CREATED,
    PAUSE_HOOKS,
    PAUSE_MAPS,
    PAUSE_NETWORK,
    PAUSE_READY,
    RESET_AFFINITY,
    RESET_ALL,
    RESET_MEMPOLICY,
    RESET_PERSONALITY,
    RESET_SCHEDULER,
    RESET_SIGNALS,
    namespace_words,
)
from .steps_base import Record, Step

__all__ = [
    "Domainname",
    "Fork",
    "Gate",
    "Hostname",
    "JoinCgroup",
    "JoinNamespace",
    "Keyring",
    "Loopback",
    "NamespaceRoot",
    "OomScore",
    "Pause",
    "Reset",
    "SetSid",
    "Sysctl",
    "TimeNamespace",
    "Unshare",
    "VerifyNamespace",
]

_PAUSES: Final = {
    PAUSE_MAPS: "wait until the id maps are written",
    PAUSE_CGROUP: "wait until moved into the cgroup",
    PAUSE_CONSOLE: "hand over the terminal's master",
    PAUSE_CREATED: "report that the container is created",
    PAUSE_HOOKS: "wait until the hooks outside have run",
    PAUSE_NETWORK: "wait until network devices are moved in",
    PAUSE_READY: "wait until the state is saved",
}
_RESETS: Final = {
    RESET_SIGNALS: "signals",
    RESET_AFFINITY: "CPU affinity",
    RESET_SCHEDULER: "scheduling",
    RESET_PERSONALITY: "personality",
    RESET_MEMPOLICY: "memory policy",
}


class Pause(Step, frozen=True):
    """Stop until the parent has done its part; `kind` is one of PAUSE_*."""

    op: ClassVar[int] = 1
    kind: int
    dumpable: bool = False

    def record(self) -> Record:
        return Record(a=self.kind, b=int(self.dumpable))

    def __str__(self) -> str:
        return _PAUSES[self.kind] + (" (dumpable meanwhile)" if self.dumpable else "")


class Gate(Step, frozen=True):
    """Let whoever connects to the gate's socket start the container; only `uid` may."""

    op: ClassVar[int] = 2
    fd: int
    uid: int

    def record(self) -> Record:
        return Record(fd=self.fd, a=self.uid)

    def __str__(self) -> str:
        return f"wait at the gate for start, by uid {self.uid}"


class Fork(Step, frozen=True):
    """Go on in a new process: only a child is in a pid namespace that was joined or unshared."""

    op: ClassVar[int] = 3
    flags: int = 0

    def record(self) -> Record:
        return Record(a=self.flags)

    def __str__(self) -> str:
        new = f" with new namespaces: {namespace_words(self.flags)}" if self.flags else ""
        return f"go on in a new process{new}"


class JoinCgroup(Step, frozen=True):
    """Enter the cgroup, or the resctrl group, whose ``tasks`` or ``cgroup.procs`` file is passed."""

    op: ClassVar[int] = 10
    fd: int
    hierarchy: str

    def record(self) -> Record:
        return Record(fd=self.fd)

    def __str__(self) -> str:
        kind = "group" if self.hierarchy == "resctrl" else "cgroup"
        return f"enter the {kind} in {self.hierarchy or 'cgroup2'}"


class JoinNamespace(Step, frozen=True):
    """Enter the namespace of a passed file, or all in `flags` of a passed pidfd."""

    op: ClassVar[int] = 11
    fd: int
    flags: int
    path: str

    def record(self) -> Record:
        return Record(fd=self.fd, a=self.flags)

    def __str__(self) -> str:
        return f"join namespaces of {self.path}: {namespace_words(self.flags)}"


class VerifyNamespace(Step, frozen=True):
    """Prove that we are in the namespace that was recorded for the container."""

    op: ClassVar[int] = 12
    flag: int
    inode: int

    def record(self) -> Record:
        return Record(a=self.flag, b=self.inode)

    def __str__(self) -> str:
        return f"verify that the {namespace_words(self.flag)} namespace is {self.inode}"


class Unshare(Step, frozen=True):
    """Make and enter new namespaces."""

    op: ClassVar[int] = 13
    flags: int

    def record(self) -> Record:
        return Record(a=self.flags)

    def __str__(self) -> str:
        return f"make namespaces: {namespace_words(self.flags)}"


class TimeNamespace(Step, frozen=True):
    """Make a time namespace; `offsets` is the text for ``timens_offsets``, which may be empty."""

    op: ClassVar[int] = 14
    offsets: str = ""

    def record(self) -> Record:
        return Record(strings=(self.offsets,))

    def __str__(self) -> str:
        shift = ", ".join(self.offsets.splitlines())
        return f"make namespaces: time ({shift})" if shift else "make namespaces: time"


class NamespaceRoot(Step, frozen=True):
    """Become root of the user namespace just entered."""

    op: ClassVar[int] = 15
    drop_groups: bool

    def record(self) -> Record:
        return Record(a=int(self.drop_groups))

    def __str__(self) -> str:
        groups = "without supplementary groups" if self.drop_groups else "keeping supplementary groups"
        return f"become root of the user namespace, {groups}"


class OomScore(Step, frozen=True):
    """Set oom_score_adj."""

    op: ClassVar[int] = 16
    score: int

    def record(self) -> Record:
        return Record(a=self.score & (2**64 - 1))

    def advice(self, errno: int) -> str:
        return "to lower it needs CAP_SYS_RESOURCE" if errno == _errno.EACCES else ""

    def __str__(self) -> str:
        return f"set oom_score_adj to {self.score}"


class Loopback(Step, frozen=True):
    """Bring the interface `lo` up."""

    op: ClassVar[int] = 17

    def __str__(self) -> str:
        return "bring lo up"


class Hostname(Step, frozen=True):
    """Set the host name."""

    op: ClassVar[int] = 18
    name: str

    def record(self) -> Record:
        return Record(strings=(self.name,))

    def __str__(self) -> str:
        return f"set the host name to {self.name!r}"


class Domainname(Step, frozen=True):
    """Set the NIS domain name."""

    op: ClassVar[int] = 19
    name: str

    def record(self) -> Record:
        return Record(strings=(self.name,))

    def __str__(self) -> str:
        return f"set the domain name to {self.name!r}"


class SetSid(Step, frozen=True):
    """Lead a session of our own: no controlling terminal, no foreign process group."""

    op: ClassVar[int] = 20

    def __str__(self) -> str:
        return "start a session"


class Keyring(Step, frozen=True):
    """Join the session keyring of that name, made if there is none."""

    op: ClassVar[int] = 21
    name: str

    def record(self) -> Record:
        return Record(strings=(self.name,))

    def __str__(self) -> str:
        return f"join session keyring {self.name}"


class Reset(Step, frozen=True):
    """Undo what the caller of this library has set for itself; `what` is a mask of RESET_*."""

    op: ClassVar[int] = 22
    what: int = RESET_ALL

    def record(self) -> Record:
        return Record(a=self.what)

    def __str__(self) -> str:
        return "reset " + ", ".join(word for bit, word in _RESETS.items() if self.what & bit)


class Sysctl(Step, frozen=True):
    """Set a kernel parameter; `path` is below /proc/sys, without a leading slash."""

    op: ClassVar[int] = 23
    path: str
    value: str

    def record(self) -> Record:
        return Record(strings=(self.path, self.value))

    def __str__(self) -> str:
        return f"write {self.value!r} to /proc/sys/{self.path}"
