"""Somebody else, in namespaces of his own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["user_namespace"]

CLONE_NEWUSER = 0x10000000


@contextlib.contextmanager
def user_namespace() -> Iterator[int]:
    """A process in a new user namespace, which has no maps yet; for the length of a block."""
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).unshare(CLONE_NEWUSER)
        os.write(ready[1], b".")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (*ready, *done):
            os.close(fd)
