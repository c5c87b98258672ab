"""The lifecycle table, and the only copy.  OCI runtime.md "State" and "Operations"."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from ..errors import NotRunningError, PausedError, StateError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Status", "after", "require"]


class Status(StrEnum):
    """Where a container is in its life; `PAUSED` is runc's extension of the OCI's four."""

    CREATING = "creating"
    """Being made; nothing of the user's runs."""
    CREATED = "created"
    """Everything is there, and its program waits for `start`."""
    RUNNING = "running"
    """Its program runs."""
    PAUSED = "paused"
    """All its processes stand still."""
    STOPPED = "stopped"
    """Its init has ended; it waits to be deleted."""


_CREATING, _CREATED, _RUNNING, _PAUSED, _STOPPED = Status

NEXT: Mapping[tuple[Status, str], Status] = {
    (_CREATING, "created"): _CREATED,
    (_CREATED, "start"): _RUNNING,
    (_CREATED, "pause"): _PAUSED,
    (_RUNNING, "pause"): _PAUSED,
    (_PAUSED, "resume"): _RUNNING,
    (_CREATED, "exec"): _CREATED,
    (_RUNNING, "exec"): _RUNNING,
    (_CREATED, "update"): _CREATED,
    (_RUNNING, "update"): _RUNNING,
    (_PAUSED, "update"): _PAUSED,
    (_RUNNING, "checkpoint"): _RUNNING,
    (_PAUSED, "checkpoint"): _PAUSED,
    (_CREATED, "kill"): _CREATED,
    (_RUNNING, "kill"): _RUNNING,
    (_PAUSED, "kill"): _PAUSED,
    (_CREATED, "delete"): _STOPPED,  # kills the init that nobody started
    (_STOPPED, "delete"): _STOPPED,
    **{(status, "exited"): _STOPPED for status in Status},
}
"""(status, operation) -> status afterwards; what is not here is refused."""

_REASONS = {
    (_RUNNING, "start"): "already started",
    (_STOPPED, "start"): "its process has ended",
    (_CREATED, "checkpoint"): "its program does not run yet",
    (_RUNNING, "delete"): "kill it first, or delete with force",
    (_PAUSED, "exec"): "a process that joined it would hang",
}


def after(status: Status, operation: str, *, id: str = "") -> Status:
    """Return the status after *operation*.

    Raises `PausedError` or `NotRunningError` where the status is the whole reason for refusing, and
    plain `StateError` otherwise.
    """
    follows = NEXT.get((status, operation))
    if follows is not None:
        return follows
    reason = _REASONS.get((status, operation), "")
    if status is _PAUSED:
        raise PausedError(operation, status=status, id=id, reason=reason)
    if status is _STOPPED or (operation == "resume" and status is not _RUNNING):
        raise NotRunningError(operation, status=status, id=id, reason=reason)
    raise StateError(operation, status=status, id=id, reason=reason)


def require(status: Status, operation: str, *, id: str = "") -> None:
    """Raise as `after` does if *operation* is not allowed now."""
    after(status, operation, id=id)
