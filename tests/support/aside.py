"""Run a coroutine aside: in a process whose mounts are its own, so that it may make some.

    await aside(function, *arguments)

The function is of a module's top level; its arguments and its result are what JSON can say.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["aside", "mount"]

ENTER = ("unshare", "--mount", "--propagation=private")
PURE = (  # as benchmarks/view.py does it
    *("sh", "-ec"),
    'umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"',
    "view",
)


def aside(
    function: Callable[..., Coroutine[Any, Any, Any]],
    *arguments: Any,
    pure_cgroup2: bool = False,
    timeout_s: float = 60,
) -> Any:
    """Return what it returned; with *pure_cgroup2* nothing else is at /sys/fs/cgroup."""
    view = PURE if pure_cgroup2 else ()
    request = [inspect.getfile(function), function.__name__, arguments]
    path = os.pathsep.join([os.path.dirname(os.path.dirname(__file__)), *sys.path])
    done = subprocess.run(
        [*ENTER, *view, sys.executable, __file__, json.dumps(request)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def mount(kind: str, target: str, *options: str) -> None:
    """Make a tmpfs, or bind a directory, or change the propagation of a mount.  mount(8)"""
    subprocess.run(
        ["mount", *(("-t", "tmpfs", "tmpfs") if kind == "tmpfs" else (f"--{kind}",)), *options, target],
        check=True,
    )


def main() -> None:
    file, name, arguments = json.loads(sys.argv[1])
    spec = importlib.util.spec_from_file_location("aside_of", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    print(json.dumps(asyncio.run(getattr(module, name)(*arguments))))


if __name__ == "__main__":
    main()
