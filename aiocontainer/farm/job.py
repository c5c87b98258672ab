"""What a farm is asked to do, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..container import Completed  # noqa: TC001

if TYPE_CHECKING:
    from ..container.source import Source

__all__ = ["Job", "JobResult"]


class Job(Struct, frozen=True, kw_only=True):
    """One container to run to its end."""

    source: Any  # Source | Sequence[str]
    """A bundle directory, a `Spec`, a `Command`, or a list of arguments, short for a `Command` of it."""
    name: str = ""
    """For people; not the container's id, which is made up."""
    input: bytes | None = None
    """What it reads; None: nothing."""
    priority: int = 0
    """Higher ones are started first, equal ones in the order of their submission."""
    timeout_s: float | None = None
    """Of one attempt, from the moment when its container is made; it is killed then."""
    retries: int = 0
    """Further attempts after one that failed: could not be started, ran out of time, or was not clean."""
    memory_bytes: int = 0
    """What it counts for against the farm's memory; the limit itself belongs into the specification."""
    output_bytes: int | None = None
    """How much of the end of each output is kept; None: all of it."""

    def __str__(self) -> str:
        if self.name:
            return self.name
        if isinstance(self.source, Sequence) and not isinstance(self.source, str | bytes):
            return " ".join(map(str, self.source))
        return type(self.source).__name__ if not isinstance(self.source, str) else self.source


class JobResult(Struct, frozen=True, kw_only=True):
    """How a job ended, with its last attempt."""

    job: Job
    completed: Completed | None = None
    """None where the last attempt did not come to the end of its program."""
    error: Exception | None = None
    """Why it did not: a `ContainerError`, or `TimeoutError`."""
    attempts: int = 1
    """How many there were."""
    waited_s: float = 0.0
    """From submission to the first attempt."""
    took_s: float = 0.0
    """Of all attempts together."""

    @property
    def ok(self) -> bool:
        """Whether the program ended with status 0."""
        return self.completed is not None and self.completed.exit.clean

    def check(self) -> Completed:
        """Return what it wrote; raise what kept it from its end, or `ContainerExited` if not clean."""
        if self.error is not None:
            raise self.error
        assert self.completed is not None
        return self.completed.check()


def as_source(source: Source | Sequence[str]) -> Source:
    """Return the source of a container; a list of arguments is a command."""
    from ..container.source import Command

    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        return Command(source)
    return source
