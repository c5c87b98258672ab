"""A hierarchy on an ordinary file system."""

from __future__ import annotations

import os

from aiocontainer.cgroups.mounts import Mounts


class Stand(Mounts):
    """A hierarchy that is only a directory."""

    def __init__(self, point: str) -> None:
        super().__init__()
        self._point = point

    def point(self, key: str) -> str:
        return self._point

    def fd(self, key: str) -> int:
        if key not in self._fds:
            self._fds[key] = os.open(self._point, os.O_RDONLY)
        return self._fds[key]
