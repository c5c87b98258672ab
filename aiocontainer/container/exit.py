"""What running a container to its end gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ..errors import ContainerExited

if TYPE_CHECKING:
    from ..events import ExitStatus
    from .stats import Stats

__all__ = ["Completed"]


class Completed(Struct, frozen=True, kw_only=True):
    """What `aiocontainer.run` gives: like `subprocess.CompletedProcess`."""

    args: tuple[str, ...]
    """What was run."""
    exit: ExitStatus
    stdout: bytes | None = None
    """None where it was not captured."""
    stderr: bytes | None = None
    """None where it was not captured, or went to standard output."""
    stats: Stats | None = None
    """Read when all its processes had ended: CPU, memory, pids, I/O; None where nothing was accounted."""

    @property
    def returncode(self) -> int | None:
        """See `ExitStatus.returncode`."""
        return self.exit.returncode

    def check(self) -> Completed:
        """Return self, or raise `ContainerExited` unless the exit is clean."""
        if not self.exit.clean:
            raise ContainerExited(self.exit, args=self.args, stderr=self.stderr or b"")
        return self
