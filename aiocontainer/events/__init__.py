"""What happens to containers, told without polling: exits by pidfd, calls that a filter asks about."""

from .exits import Ended, Exits
from .seccomp import SeccompNotifications, SeccompRequest

__all__ = ["Ended", "Exits", "SeccompNotifications", "SeccompRequest"]
