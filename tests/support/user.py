"""Becoming an ordinary user for good, without execve(2).

The interpreter and the package may be where only root has a way to, as in a checkout below /root:
whatever will be read of them has to be read, or copied, before.
"""

from __future__ import annotations

import contextlib
import encodings.ascii
import encodings.idna  # noqa: F401 - codecs are imported when they are used
import importlib
import os
import pkgutil
import shutil

import aiocontainer
from aiocontainer.native import spawner

__all__ = ["become", "expose"]


def expose(directory: str) -> str:
    """Import the whole package, and use a copy of its helper in *directory*; the path of the original."""
    for module in pkgutil.walk_packages(aiocontainer.__path__, "aiocontainer."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ModuleNotFoundError):  # what needs an extra
                importlib.import_module(module.name)
    original: str = spawner._HELPER
    copy = os.path.join(directory, "helper")
    shutil.copyfile(original, copy)
    os.chmod(copy, 0o644)
    spawner._HELPER = copy  # type: ignore[misc]
    return original


def become(user: int, groups: list[int] | None = None) -> None:
    """Be that user and nothing else.  Who has changed his user without execve(2) is not dumpable."""
    os.setgroups(groups or [])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
