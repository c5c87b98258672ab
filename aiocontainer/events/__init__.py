"""What happens to containers, told without polling: by pidfd, inotify and eventfd; and what filters ask."""

from .counters import Counters
from .exit_status import ExitStatus, OomVerdict
from .exits import Ended, Exits
from .monitor import Monitor, first_reading
from .notices import (
    Created,
    Deleted,
    Empty,
    Event,
    ExecExited,
    Exited,
    Frozen,
    LimitHit,
    Lost,
    Oom,
    Pressure,
    PressureLevel,
    Started,
    Thawed,
    Updated,
)
from .seccomp import SeccompNotifications, SeccompRequest
from .stream import LIMIT, Events, Interest
from .triggers import threshold
from .watcher import Watcher

__all__ = [
    "LIMIT",
    "Counters",
    "Created",
    "Deleted",
    "Empty",
    "Ended",
    "Event",
    "Events",
    "ExecExited",
    "ExitStatus",
    "Exited",
    "Exits",
    "Frozen",
    "Interest",
    "LimitHit",
    "Lost",
    "Monitor",
    "Oom",
    "OomVerdict",
    "Pressure",
    "PressureLevel",
    "SeccompNotifications",
    "SeccompRequest",
    "Started",
    "Thawed",
    "Updated",
    "Watcher",
    "first_reading",
    "threshold",
]
