"""Keep an event of perf open, one that never happens: perf_event_open(2)."""

from __future__ import annotations

import ctypes
import os
import signal
import struct

PERF_EVENT_OPEN = 298  # on x86_64
PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY = 1, 9
SIZE = 64  # of the first version of struct perf_event_attr

if __name__ == "__main__":
    attributes = struct.pack("IIQ", PERF_TYPE_SOFTWARE, SIZE, PERF_COUNT_SW_DUMMY).ljust(SIZE, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(PERF_EVENT_OPEN, attributes, os.getpid(), -1, -1, 0) < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    signal.pause()
