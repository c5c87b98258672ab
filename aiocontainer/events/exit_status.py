"""How a process ended, as a value."""

from __future__ import annotations

import signal as _signal
from typing import Any

from msgspec import Struct

__all__ = ["ExitStatus", "OomVerdict"]


class OomVerdict(Struct, frozen=True, kw_only=True):
    """What the kernel's out-of-memory killer did to a container.  cgroup-v2.rst "memory.events"."""

    kills: int
    """Processes of the container that it has killed since create."""
    init_killed: bool
    """Whether the container's first process was among them."""
    group: bool
    """The cgroup was killed as a whole: memory.oom.group."""
    limit: str
    """Whose limit was hit: "container", "ancestor" or "host"."""
    peak_bytes: int | None = None
    """The most memory that was in use; None where the kernel does not keep it."""


class ExitStatus(Struct, frozen=True, kw_only=True):
    """How a process ended: exactly one of `code` and `signal`, or neither where `known` is False."""

    code: int | None = None
    """0 to 255; None where a signal ended it."""
    signal: _signal.Signals | int | None = None
    """A plain number for the realtime signals that have no name."""
    core_dumped: bool = False
    """Whether the kernel has written a core dump; core(5)."""
    oom: OomVerdict | None = None
    """Of the container's init: what was read before the cgroup went; None where nothing was killed."""
    timed_out: bool = False
    """It was killed because its deadline had come."""
    rusage: Any = None
    """`resource.struct_rusage` of the process and the descendants that it waited for; wait4(2)."""
    started_at: float | None = None
    """Seconds since the epoch, when execve(2) was known to have worked."""
    exited_at: float | None = None
    """Seconds since the epoch, when the exit was noticed."""
    duration_s: float | None = None
    """By the monotonic clock."""
    known: bool = True
    """False where only the fact of the exit could be observed: the process was another's child."""

    @property
    def returncode(self) -> int | None:
        """As in `subprocess`: the code, or the negative number of the signal; None if not known."""
        return self.code if self.signal is None else -self.signal

    @property
    def shell_code(self) -> int:
        """As a shell shows it: the code, or 128 + signal; 255 if not known."""
        if self.signal is not None:
            return 128 + self.signal
        return 255 if self.code is None else self.code

    @property
    def clean(self) -> bool:
        """Whether the process is known to have ended by itself with 0."""
        return self.code == 0

    def __str__(self) -> str:
        if not self.known:
            return "ended, how is not known"
        if self.signal is None:
            return f"ended with status {self.code}"
        name = self.signal.name if isinstance(self.signal, _signal.Signals) else f"signal {self.signal}"
        return f"killed by {name}" + (", core dumped" if self.core_dumped else "")
