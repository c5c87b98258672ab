"""Room to make cgroups in, in one that a service manager has delegated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..plan.mountinfo import parse_own
from .directory import Directory
from .mounts import Mounts, where_is

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["own_cgroups", "step_aside"]


def own_cgroups(pid: int) -> dict[str, str]:
    """Return the cgroup of a process in each hierarchy."""
    with open(f"/proc/{pid}/cgroup", "rb") as file:
        return parse_own(file.read())


def step_aside(pid: int, hierarchies: Mapping[str, str], name: str) -> None:
    """Move a process from its cgroup2 cgroup to one below it, which is called *name*.

    A cgroup with processes can pass no controllers on.  cgroup-v2.rst "No Internal Process Constraint".
    """
    here = where_is(pid, {key: path for key, path in hierarchies.items() if not key}).get("")
    if here is not None:
        with Mounts() as mounts:
            directory = Directory(mounts, "", f"{here}/{name}")
            try:
                directory.make()
                directory.write("cgroup.procs", str(pid))
            finally:
                directory.close()
