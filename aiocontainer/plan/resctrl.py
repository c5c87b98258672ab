"""A group of resctrl as a value; apart, because whoever reads the state of a container reads it."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["ResctrlGroup"]


class ResctrlGroup(Struct, frozen=True, kw_only=True):
    """A group, as far as it has to be remembered to find and remove it.  resctrl.rst."""

    root: str
    """Where the file system is mounted."""
    name: str
    """Of its directory; "" is the root group."""
    named: bool
    """By the specification, so others may be in it."""
    monitor: str = ""
    """Name of the container's own monitoring group, if it has one."""
    lines: tuple[str, ...] = ()
    """For ``schemata``, in order."""
    made: bool = False
    """By us."""

    @property
    def directory(self) -> str:
        """Return the absolute path of the group."""
        return f"{self.root}/{self.name}" if self.name else self.root

    @property
    def monitor_directory(self) -> str:
        """Return the absolute path of the monitoring group."""
        return f"{self.directory}/mon_groups/{self.monitor}"

    @property
    def task_files(self) -> tuple[str, ...]:
        """Return the files through which a process joins, in order."""
        monitor = (f"{self.monitor_directory}/tasks",) if self.monitor else ()
        return (f"{self.directory}/tasks", *monitor)
