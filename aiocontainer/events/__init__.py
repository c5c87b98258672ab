"""What happens to containers, told without polling: exits by pidfd."""

from .exits import Ended, Exits

__all__ = ["Ended", "Exits"]
