"""Run a command with a pure cgroup2 at /sys/fs/cgroup, whatever the machine has there.

    python benchmarks/view.py COMMAND...

The view is a private mount namespace; the machine's own mounts are never touched.
"""

from __future__ import annotations

import os
import sys

__all__ = ["wrap"]

# `--propagation private` comes before the first umount: it must not travel back.  mount_namespaces(7)
ENTER = (
    "unshare",
    "--mount",
    "--propagation=private",
    "sh",
    "-ec",
    'umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"',
    "view",
)


def is_pure() -> bool:
    """Whether /sys/fs/cgroup is a cgroup2 already."""
    return os.path.exists("/sys/fs/cgroup/cgroup.procs")


def wrap(command: list[str]) -> list[str]:
    """Make *command* one that runs inside the view."""
    return command if is_pure() else [*ENTER, *command]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    command = wrap(sys.argv[1:])
    os.execvp(command[0], command)
