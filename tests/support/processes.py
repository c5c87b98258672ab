"""Whether processes still live."""

from __future__ import annotations

__all__ = ["is_alive"]


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is not a zombie.  proc_pid_stat(5)"""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
