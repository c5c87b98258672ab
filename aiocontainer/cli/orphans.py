"""Being the parent of processes whose parents have ended.

A container without a pid namespace of its own may leave such processes behind; the nearest subreaper
among its ancestors gets them, and has to wait for them.  prctl(2) "PR_SET_CHILD_SUBREAPER"
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

from .signals import catch

__all__ = ["adopt_orphans"]

_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt_orphans() -> None:
    """Become a subreaper, and wait for every orphan that ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    catch([signal.SIGCHLD], _reap)


def _reap(_: int) -> None:
    """Take what has ended; processes of containers do not count here, see `docs/architecture.md`."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return
