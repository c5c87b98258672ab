"""Cgroups v2: one directory, written to without asking a service manager."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .. import native
from ..errors import CgroupError
from ..plan.host import CgroupMode
from . import unified
from .base import Hierarchical

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..plan.devices import DeviceRule
    from .directory import Directory
    from .stats.parts import Part
    from .stats.reading import KeptFiles, Reading

__all__ = ["Cgroup2"]


class Cgroup2(Hierarchical):
    """A cgroup in the one hierarchy of v2.  A process is born in it: clone3(2) CLONE_INTO_CGROUP."""

    mode = CgroupMode.V2

    def _prepare(self) -> None:
        """Have all controllers passed on to it, also those without limits: they count what is used."""
        self._main.pass_on()
        if self._main.is_nested:
            unified.join_threads(self._main)

    def _directory_of(self, controller: str) -> Directory:  # noqa: ARG002 - there is but one
        return self._main

    def delegate(self, uid: int) -> None:
        """Give it to a user, who may then make cgroups below it."""
        unified.delegate(self._main, uid)

    def oom_kills(self) -> int:
        """Return how often the kernel has killed in it for want of memory."""
        return unified.oom_kills(self._main)

    def set_devices(self, rules: Sequence[DeviceRule], program: bytes = b"") -> None:
        """Attach *program*, which says what *rules* say, in the place of an earlier one at once."""
        if not rules:
            return
        directory = self.dirfd()
        try:
            native.attach_device_filter(directory, self._mounts.device_filter(program))
        except OSError as exc:
            advice = "CAP_BPF and CAP_NET_ADMIN are needed" if exc.errno == errno.EPERM else ""
            raise CgroupError(
                self._main.path, exc.errno or 0, origin="$.linux.resources.devices", advice=advice
            ) from exc

    def freeze(self) -> None:
        """Stop everything in it; returns when it stands still."""
        unified.freeze(self._main)

    def thaw(self) -> None:
        """Let it run again; no error when it is gone."""
        unified.thaw(self._main)

    def _layouts(self, kept: KeptFiles | None) -> Iterable[tuple[tuple[Part, ...], Reading]]:
        from .stats.reading import Reading, parts2

        yield parts2(), Reading(lambda _: self._main, kept)

    def _is_frozen(self, directory: Directory) -> bool:
        return unified.is_frozen(directory)
