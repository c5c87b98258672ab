# ruff: noqa: D102 - record() is told by Step.record
"""Steps that make the process what the specification wants it to be, up to execve(2)."""

from __future__ import annotations

import struct
from typing import ClassVar

from .filter import Filter  # noqa: TC001 - msgspec reads the annotations
from .flags import RLIM_INFINITY, SECCOMP_FLAG_NEW_LISTENER, capability_words
from .steps_base import Record, Step, ids

__all__ = [
    "Bounding",
    "Capabilities",
    "Credentials",
    "Cwd",
    "Exec",
    "NoNewPrivs",
    "PassFd",
    "Program",
    "Rlimit",
    "Seccomp",
    "Umask",
]


class PassFd(Step, frozen=True):
    """Give the passed descriptor to the payload as `number`; `owner` makes it the new owner's."""

    op: ClassVar[int] = 50
    fd: int
    number: int
    owner: tuple[int, int] | None = None

    def record(self) -> Record:
        if self.owner is None:
            return Record(fd=self.fd, a=self.number)
        return Record(fd=self.fd, a=self.number, b=1, c=ids(*self.owner))

    def __str__(self) -> str:
        owner = "" if self.owner is None else f", owner {self.owner[0]}:{self.owner[1]}"
        return f"keep descriptor {self.number}{owner}"


def _limit(value: int) -> str:
    return "unlimited" if value == RLIM_INFINITY else str(value)


class Rlimit(Step, frozen=True):
    """One resource limit; 2**64 - 1 is infinity."""

    op: ClassVar[int] = 51
    resource: int
    name: str
    soft: int
    hard: int

    def record(self) -> Record:
        return Record(a=self.resource, b=self.soft, c=self.hard)

    def __str__(self) -> str:
        return f"limit {self.name} to {_limit(self.soft)}, at most {_limit(self.hard)}"


class Umask(Step, frozen=True):
    """The payload's umask."""

    op: ClassVar[int] = 52
    mask: int

    def record(self) -> Record:
        return Record(a=self.mask)

    def __str__(self) -> str:
        return f"set the umask to {self.mask:04o}"


class Bounding(Step, frozen=True):
    """Keep only these capabilities in the bounding set."""

    op: ClassVar[int] = 53
    mask: int

    def record(self) -> Record:
        return Record(a=self.mask)

    def __str__(self) -> str:
        return f"bound capabilities to: {capability_words(self.mask)}"


class Credentials(Step, frozen=True):
    """Become the user; `groups` None leaves the supplementary groups alone."""

    op: ClassVar[int] = 54
    uid: int
    gid: int
    groups: tuple[int, ...] | None

    def record(self) -> Record:
        if self.groups is None:
            return Record(a=self.uid, b=self.gid, c=1)
        return Record(a=self.uid, b=self.gid, data=struct.pack(f"={len(self.groups)}I", *self.groups))

    def __str__(self) -> str:
        if self.groups is None:
            groups = "keeping supplementary groups"
        elif self.groups:
            groups = "groups " + ",".join(map(str, self.groups))
        else:
            groups = "no supplementary groups"
        return f"become {self.uid}:{self.gid}, {groups}"


class Capabilities(Step, frozen=True):
    """Four capability sets, exactly."""

    op: ClassVar[int] = 55
    effective: int
    permitted: int
    inheritable: int
    ambient: int

    def record(self) -> Record:
        sets = (self.effective, self.permitted, self.inheritable, self.ambient)
        return Record(data=struct.pack("=4Q", *sets))

    def __str__(self) -> str:
        # Equal sets are told once: mostly the permitted are effective, and the others empty.
        names: dict[int, list[str]] = {}
        for name in ("permitted", "effective", "inheritable", "ambient"):
            names.setdefault(getattr(self, name), []).append(name)
        sets = (f"{' and '.join(each)} {capability_words(mask)}" for mask, each in names.items())
        return f"set capabilities: {'; '.join(sets)}"


class Cwd(Step, frozen=True):
    """Change to a directory and prove that it is inside the root.

    `lenient` is for the first of two tries, before the change of user: what only the user can enter
    is left to the second, what only root can enter has been entered.
    """

    op: ClassVar[int] = 56
    path: str
    make: bool = False
    lenient: bool = False

    def record(self) -> Record:
        return Record(a=int(self.make), b=int(self.lenient), strings=(self.path,))

    def __str__(self) -> str:
        made = ", made if missing" if self.make else ""
        lenient = ", if root may" if self.lenient else ""
        return f"change to directory {self.path}{made}{lenient}"


class NoNewPrivs(Step, frozen=True):
    """Set no_new_privs: execve(2) grants nothing from here on."""

    op: ClassVar[int] = 57

    def __str__(self) -> str:
        return "set no_new_privs"


class Program(Step, frozen=True):
    """Find the program: the first of the candidates that is an executable file."""

    op: ClassVar[int] = 58
    candidates: tuple[str, ...]

    def record(self) -> Record:
        return Record(strings=self.candidates)

    def __str__(self) -> str:
        return f"find the program: {', '.join(self.candidates)}"


class Exec(Step, frozen=True):
    """Close everything else and run the program.

    The listing names neither arguments nor values of the environment: they can be secrets.
    """

    op: ClassVar[int] = 59
    args: tuple[str, ...]
    env: tuple[str, ...]

    def record(self) -> Record:
        return Record(a=len(self.args), strings=(*self.args, *self.env))

    def __str__(self) -> str:
        rest = f" with {len(self.args) - 1} arguments" if len(self.args) > 1 else ""
        names = ", ".join(entry.partition("=")[0] for entry in self.env)
        return f"run {self.args[0]}{rest}" + (f" in the environment {names}" if names else "")


class Seccomp(Step, frozen=True):
    """Load a filter of system calls, at once or, `late`, as the last call before execve(2).

    `program` is what the kernel executes; the plan is made without, because only libseccomp knows the
    numbers of the calls.
    """

    op: ClassVar[int] = 60
    filter: Filter
    flags: int
    late: bool
    program: bytes = b""

    @property
    def listens(self) -> bool:
        """The step pauses, and hands over a listener."""
        return bool(self.flags & SECCOMP_FLAG_NEW_LISTENER)

    def record(self) -> Record:
        return Record(a=self.flags, b=int(self.late), data=self.program)

    def __str__(self) -> str:
        when = "last of all" if self.late else "now"
        listener = ", hand over the listener" if self.listens else ""
        return f"filter system calls, {when}: {self.filter}{listener}"
