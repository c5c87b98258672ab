# ruff: noqa: D102 - record() is told by Step.record
"""The step that runs a hook in the container's own process.  OCI config.md "POSIX-platform Hooks"."""

from __future__ import annotations

from typing import ClassVar

from .steps_base import Record, Step

__all__ = ["Hook"]


class Hook(Step, frozen=True):
    """Run a program to its end, which must be status 0.

    `state` is the state document in two pieces: between them belongs the pid, which only the process
    itself knows as its namespace has it.  Neither arguments nor environment are listed: they can be
    secrets.
    """

    op: ClassVar[int] = 70
    path: str
    args: tuple[str, ...]
    env: tuple[str, ...]
    state: tuple[bytes, bytes]
    directory: str = ""
    """Where it runs, if the user may enter it; "" is where the process itself is."""
    timeout_ms: int = 0
    """0 is no limit."""

    def record(self) -> Record:
        before, after = self.state
        strings = (self.path, self.directory, *self.args, *self.env)
        return Record(
            a=len(self.args), b=self.timeout_ms, c=len(before), strings=strings, data=before + after
        )

    def __str__(self) -> str:
        within = f", at most {self.timeout_ms / 1000:g} s" if self.timeout_ms else ""
        return f"run the hook {self.path}{within}"
