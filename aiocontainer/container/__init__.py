"""Containers and the processes in them: lifecycle, bootstrap dialogue, streams."""

from .container import Container
from .exit import Completed, ExitStatus, OomVerdict
from .process import Process
from .status import Status

__all__ = ["Completed", "Container", "ExitStatus", "OomVerdict", "Process", "Status"]
