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


def adopt_orphans(init: int) -> None:
    """Become a subreaper, and wait for every orphan that ends; *init* is waited for by its container."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    catch([signal.SIGCHLD], lambda _: _reap(init))


def _reap(init: int) -> None:
    """Take what has ended, up to the *init*: before Linux 6.15 its status could be learned only once."""
    try:
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid == init:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)
    except ChildProcessError:
        return
