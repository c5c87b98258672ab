# ruff: noqa: D102 - record() is told by Step.record
"""The step that runs a hook in the container's own process.  OCI config.md "POSIX-platform Hooks"."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..spec import encode
from .steps_base import Record, Step

if TYPE_CHECKING:
    from ..spec import State

__all__ = ["Hook"]

_PID = b'"pid":0'
"""Cannot be part of a string, where quotes are escaped."""


class Hook(Step, frozen=True):
    """Run a program to its end, which must be status 0.

    `document` has the pid 0: only the process itself knows it as its pid namespace has it.  Neither
    arguments nor environment are listed: they can be secrets.
    """

    op: ClassVar[int] = 70
    path: str
    args: tuple[str, ...]
    env: tuple[str, ...]
    document: State
    directory: str = ""
    """Where it runs, if the user may enter it; "" is where the process itself is."""
    timeout_ms: int = 0
    """0 is no limit."""

    def record(self) -> Record:
        before, pid, after = encode(self.document).partition(_PID)
        before += pid[:-1]
        return Record(
            a=len(self.args),
            b=self.timeout_ms,
            c=len(before),
            strings=(self.path, self.directory, *self.args, *self.env),
            data=before + after,
        )

    def __str__(self) -> str:
        limit = f", at most {self.timeout_ms / 1000:g} s" if self.timeout_ms else ""
        return f"run the hook {self.path}{limit}"
