"""Cgroups v2: one directory, written to without asking a service manager.

The controllers that limits need are enabled on the way down by the driver of those limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import native
from ..plan.host import CgroupMode
from . import unified
from .base import Hierarchical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.devices import DeviceRule
    from .directory import Directory

__all__ = ["Cgroup2"]


class Cgroup2(Hierarchical):
    """A cgroup in the one hierarchy of v2.  A process is born in it: clone3(2) CLONE_INTO_CGROUP."""

    mode = CgroupMode.V2

    def set_devices(self, rules: Sequence[DeviceRule], program: bytes = b"") -> None:
        """Attach *program*, which says what *rules* say."""
        if rules:
            native.attach_device_filter(self.dirfd(), self._mounts.device_filter(program))

    def freeze(self) -> None:
        """Stop everything in it; returns when it stands still."""
        unified.freeze(self._main)

    def thaw(self) -> None:
        """Let it run again; no error when it is gone."""
        unified.thaw(self._main)

    def _is_frozen(self, directory: Directory) -> bool:
        return unified.is_frozen(directory)
