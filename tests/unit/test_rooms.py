"""The architecture: imports go down, rooms on one level do not see each other, packages have one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "aiocontainer"

LEVELS = {
    "errors": 0,
    "_aio": 0,
    "_convert": 0,
    "_digest": 0,
    "_finders": 0,
    "_lazy": 0,
    "_tuples": 0,
    "gvariant": 0.5,
    "spec": 1,
    "plan": 2,
    "native": 3,
    "_features": 3,
    "probe": 4,
    "cgroups": 4,
    "events": 4,
    "network": 4,
    "resctrl": 4,
    "hooks": 4,
    "store": 4,
    "console": 4,
    "images": 4,
    "criu": 4,
    "container": 5,
    "glance": 5.5,
    "runtime": 6,
    "oneshot": 6.5,
    "farm": 6.5,
    "pytest_plugin": 7,
    "cli": 7,
    "__main__": 8,
}
PUBLIC = {"errors", "glance", "gvariant", "network", "spec"}
"""Modules that users may import from, besides the package itself; `glance` is the command line's alone."""
USERS = {"cli", "pytest_plugin"}
"""Rooms that use only what users may use."""

DOORS = {
    "dbus_fast": {"cgroups/connection.py", "cgroups/bus.py", "cgroups/manager.py"},
    "pyroute2": {"network/netlink.py"},
    "pyinotify": {"events/inotify.py"},
    "distributed": {"farm/dask.py", "farm/_worker.py"},
    "rich": {"cli/top.py", "farm/progress.py"},
    "zstandard": {"images/streams.py"},
    "google": {"criu/schema.py", "criu/messages.py"},
}


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported(path: Path) -> list[str]:
    """Absolute dotted names of everything that a module imports, wherever in it."""
    names = []
    package = ("aiocontainer", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join((*base, *(node.module or "").split("."))).strip(".")
            names += [f"{prefix}.{alias.name}" for alias in node.names]
    return names


MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    for name in imported(path):
        package, _, rest = name.partition(".")
        if package != "aiocontainer":
            continue
        there = rest.split(".")[0]
        if there not in LEVELS or there == here:
            assert here == there or here in USERS or there == "__version__", f"{path.name} imports {name}"
            continue
        assert here not in USERS or there in PUBLIC, f"{here} uses only public names, not {name}"
        assert LEVELS[there] < LEVELS[here], f"{here} (level {LEVELS[here]}) imports {name}"


@pytest.mark.parametrize("package", sorted(DOORS))
def test_packages_have_one_door(package: str) -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if any(name.split(".")[0] == package for name in imported(path))
    }
    assert users <= DOORS[package]


def test_importing_stays_light() -> None:
    code = "import aiocontainer, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"dbus_fast", "pyroute2", "rich", "google", "asyncio", "pyinotify", "cffi"}
    assert not heavy & {name.split(".")[0] for name in loaded}
