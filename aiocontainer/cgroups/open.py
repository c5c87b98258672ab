"""From paths to a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..plan.host import CgroupMode
from .directory import Directory
from .mounts import Mounts
from .none import NoCgroup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .fs1 import Cgroup1
    from .fs2 import Cgroup2
    from .interface import Cgroup

__all__ = ["open_cgroup"]


def open_cgroup(
    mode: CgroupMode,
    paths: Mapping[str, str],
    *,
    made: Mapping[str, int] | None = None,
    mounts: Mounts | None = None,
) -> Cgroup:
    """Give the driver of a cgroup, from a plan or, with *made*, from saved state; touches nothing yet.

    *paths* map hierarchy to absolute directory.  A hierarchy that *made* does not know counts as one
    in which the last directory is ours.  *mounts* that containers share save
    20 us; they stay the caller's.  CgroupError for a path outside its hierarchy, or that
    is its root: killing and removing there would not stop at the container.
    """
    if mode is CgroupMode.NONE or not paths:
        return NoCgroup()
    known = made or {}
    opened = mounts or Mounts()
    directories = {key: Directory(opened, key, path, known.get(key, 1)) for key, path in paths.items()}
    return _driver(mode)(directories, opened, close_mounts=mounts is None)


def _driver(mode: CgroupMode) -> type[Cgroup1 | Cgroup2]:
    """Load the one that this machine needs."""
    if mode is CgroupMode.V1:
        from .fs1 import Cgroup1

        return Cgroup1
    from .fs2 import Cgroup2

    return Cgroup2
