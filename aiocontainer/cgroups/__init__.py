"""Cgroups: made, joined, listed, frozen, killed and removed, whatever the machine has of them."""

from .files import CgroupFiles
from .interface import Cgroup, CgroupBusyError
from .mounts import MANAGED, Mounts, may_move, read_hierarchies, where_is
from .open import open_cgroup

__all__ = [
    "MANAGED",
    "Cgroup",
    "CgroupBusyError",
    "CgroupFiles",
    "Mounts",
    "may_move",
    "open_cgroup",
    "read_hierarchies",
    "where_is",
]
