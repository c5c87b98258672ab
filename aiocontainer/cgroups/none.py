"""No cgroup: for an ordinary user to whom none was delegated, or a caller who wants none."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NoReturn

from ..errors import UnsupportedError
from ..plan.host import CgroupMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..plan.devices import DeviceRule
    from ..plan.plan import CgroupWrite
    from .stats.reading import KeptFiles
    from .stats.values import CgroupStats, StatsMask

__all__ = ["NoCgroup"]


class NoCgroup:
    """Makes nothing and holds nothing.  What needs a cgroup raises UnsupportedError.

    Nothing is known to be in it, so killing it kills nothing: with a pid namespace of its own, the
    container ends with its init.
    """

    mode = CgroupMode.NONE
    paths: Mapping[str, str] = {}
    made: Mapping[str, int] = {}

    def survey(self) -> None:
        """Find nothing."""

    def create(self) -> None:
        """Make nothing."""

    def adopt(self, pid: int, *, ours: bool = True) -> None:  # noqa: ARG002
        """Refuse."""
        _refuse("a unit of the service manager")

    def disown(self) -> None:
        """Do nothing: it never had any."""

    def set_limits(
        self,
        writes: Sequence[CgroupWrite],
        *,
        fresh: bool = False,  # noqa: ARG002
    ) -> Callable[[], None]:
        """Refuse limits; what asks for none is done."""
        for write in writes:
            if not write.optional:
                _refuse(write.file, write.origin)
        return lambda: None

    def delegate(self, uid: int) -> None:  # noqa: ARG002
        """Refuse."""
        _refuse("giving a cgroup away")

    def oom_kills(self) -> int:
        """Return 0: nobody counts."""
        return 0

    def set_devices(self, rules: Sequence[DeviceRule], program: bytes = b"") -> None:  # noqa: ARG002
        """Refuse rules; without any nothing is asked."""
        if rules:
            _refuse("device rules")

    def dirfd(self) -> int:
        """Refuse."""
        _refuse("starting in a cgroup")

    def open_tasks(self, hierarchy: str) -> int:  # noqa: ARG002
        """Refuse."""
        _refuse("joining a cgroup")

    def tasks_fds(self) -> list[int]:
        """Return none."""
        return []

    def inode(self) -> int:
        """Tell that there is none."""
        return 0

    def exists(self) -> bool:
        """Tell that it does not."""
        return False

    def pids(self) -> list[int]:
        """Refuse: there are processes, but nothing lists them."""
        _refuse("listing processes")

    def stats(self, mask: StatsMask | None = None, kept: KeptFiles | None = None) -> CgroupStats:  # noqa: ARG002
        """Refuse: nothing is accounted."""
        _refuse("reading usage")

    def kill(self, signal: int = signal.SIGKILL) -> None:
        """Send nothing to nobody."""

    def freeze(self) -> None:
        """Refuse."""
        _refuse("pausing")

    def thaw(self) -> None:
        """Do nothing: it never stood still."""

    def is_frozen(self) -> bool:
        """Tell that it is not."""
        return False

    def remove(self) -> None:
        """Remove nothing."""

    def rest(self) -> None:
        """Do nothing: nothing is kept open."""

    def close(self) -> None:
        """Close nothing."""


def _refuse(what: str, origin: str = "") -> NoReturn:
    needs = "a cgroup for the container (root, or a delegated one)"
    raise UnsupportedError(what, needs=needs, origin=origin)
