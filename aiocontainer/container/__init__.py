"""Containers and the processes in them: lifecycle, bootstrap dialogue, streams."""

from .container import Container
from .exit import Completed
from .process import Process
from .status import Status

__all__ = ["Completed", "Container", "Process", "Status"]
