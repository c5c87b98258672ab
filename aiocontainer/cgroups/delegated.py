"""Room to make cgroups in, in one that a service manager has delegated."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ..plan.mountinfo import parse_own
from . import unified
from .directory import Directory
from .mounts import Mounts, where_is

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["own_cgroups", "step_aside", "step_down"]


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
        with Mounts() as mounts, contextlib.closing(Directory(mounts, "", f"{here}/{name}")) as below:
            _move_down(pid, below)


def step_down(pid: int, path: str, name: str, *, owner: int | None = None) -> None:
    """Move a process from the cgroup2 cgroup *path* to one below it, *name*, which gets all controllers.

    And is its *owner*'s then, a user of the host.  What is above has the limits, and no processes:
    cgroup-v2.rst "Delegation".
    """
    with Mounts() as mounts, contextlib.closing(Directory(mounts, "", f"{path}/{name}")) as below:
        _move_down(pid, below)
        below.pass_on()  # not sooner: what has processes passes nothing on
        if owner is not None:
            unified.delegate(below, owner)


def _move_down(pid: int, below: Directory) -> None:
    below.make()
    below.write("cgroup.procs", str(pid))
