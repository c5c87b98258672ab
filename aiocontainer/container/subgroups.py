"""Cgroups below the container's: where its processes live, and which one a further process enters."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from ..cgroups import open_cgroup, where_is
from ..errors import SpecError
from ..plan.host import CgroupMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..cgroups import Cgroup, Mounts
    from ..store import State

__all__ = ["entered", "home_name", "home_of", "home_paths"]

_ORIGIN: Final = "cgroup_paths"


def home_name(state: State) -> str:
    """Return the name of the cgroup below the container's in which its processes live; "": its own."""
    return str(state.facts.get("subgroup", ""))


def home_paths(paths: Mapping[str, str], name: str) -> dict[str, str]:
    """Return where the processes live of a container whose cgroup is at *paths*; "": there itself."""
    return {key: f"{path}/{name}" if name else path for key, path in paths.items()}


def home_of(cgroup: Cgroup, name: str, mounts: Mounts) -> Cgroup:
    """Return the cgroup *name* below the container's, to be closed; with "" that is the container's own."""
    if not name:
        return cgroup
    return open_cgroup(cgroup.mode, home_paths(cgroup.paths, name), mounts=mounts)


@contextlib.contextmanager
def entered(cgroup: Cgroup, asked: Mapping[str, str], init: int) -> Iterator[Cgroup]:
    """Give the cgroup to enter, for as long as the block; *asked* is as `Container.exec` takes it.

    Where nothing is asked for and the container's own cgroup takes no processes any more, because its
    *init* has moved down and passed controllers on, it is the one that the init is in.  `SpecError`.
    """
    paths = _below(cgroup, asked) if asked else _taken(cgroup, init)
    if paths == dict(cgroup.paths):
        yield cgroup
        return
    below = open_cgroup(cgroup.mode, paths)
    try:
        if asked and not below.exists():
            raise SpecError("no such cgroup below the container's", origin=_ORIGIN)
        yield below
    finally:
        below.close()


def _below(cgroup: Cgroup, asked: Mapping[str, str]) -> dict[str, str]:
    paths = dict(cgroup.paths)
    if not paths:
        raise SpecError("the container has no cgroup", origin=_ORIGIN)
    for controller, sub in asked.items():
        origin = f"{_ORIGIN}[{controller!r}]"
        names = [name for name in sub.split("/") if name not in ("", ".")]
        if ".." in names:
            raise SpecError(f"{sub!r} leaves the container's cgroup", origin=origin)
        keys = [key for key in paths if not controller or controller in _controllers(key)]
        if not keys:
            raise SpecError(f"there is no hierarchy of {controller!r}", origin=origin)
        for key in keys:
            paths[key] = "/".join((cgroup.paths[key], *names))
    return paths


def _controllers(hierarchy: str) -> list[str]:
    return [each.removeprefix("name=") for each in hierarchy.split(",")]


def _taken(cgroup: Cgroup, init: int) -> dict[str, str]:
    """Return the container's own cgroup, if it still takes processes.

    cgroup-v2.rst "No Internal Process Constraint": EBUSY.
    """
    paths = dict(cgroup.paths)
    if cgroup.mode is not CgroupMode.V2 or not _passes_on(cgroup):
        return paths
    now = where_is(init, paths)
    is_below = all(now[key] == path or now[key].startswith(path + "/") for key, path in paths.items())
    return now if is_below else paths


def _passes_on(cgroup: Cgroup) -> bool:
    """Tell whether any controller is enabled for the cgroups below."""
    fd = os.open("cgroup.subtree_control", os.O_RDONLY | os.O_CLOEXEC, dir_fd=cgroup.dirfd())
    try:
        return bool(os.read(fd, 4096).strip())
    finally:
        os.close(fd)
