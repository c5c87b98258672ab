"""Detached trees of the host's directories, mapped to other owners if need be."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from .. import native
from .._aio import OwnedFd
from ..errors import HelperError, UnsupportedError
from .joined import sourced

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..plan.plan import MountMap, Tree

__all__ = ["open_tree"]

_OVERFLOW_FILES: Final = ("/proc/sys/fs/overflowuid", "/proc/sys/fs/overflowgid")


def open_tree(item: Tree) -> int:
    """Return a detached clone of what *item* names; `SpecError`, `UnsupportedError`."""

    def clone() -> int:
        return native.open_tree(item.path, item.recursive, nofollow=item.nofollow)

    with OwnedFd(sourced(clone, item.origin, item.path)) as fd:
        if item.map is not None:
            _map_tree(fd.fileno(), item, item.map)
        return fd.detach()


def _map_tree(tree: int, item: Tree, map: MountMap) -> None:
    """Map the tree, and look at an owner in it to see that it is.  mount_setattr(2) MOUNT_ATTR_IDMAP."""
    before = os.fstat(tree)
    try:
        with OwnedFd(native.user_namespace(map.uid, map.gid)) as namespace:
            native.map_mount(tree, namespace.fileno(), map.recursive)
    except OSError as exc:
        raise _refusal(item, exc) from exc
    after = os.fstat(tree)
    expected = (_mapped(before.st_uid, map.uid, 0), _mapped(before.st_gid, map.gid, 1))
    if (after.st_uid, after.st_gid) != expected:
        raise HelperError(f"{item.path} shows owner {after.st_uid}:{after.st_gid}, and not as it was mapped")


def _refusal(item: Tree, exc: OSError) -> UnsupportedError:
    needs = {
        errno.EINVAL: "a file system that can be mapped, and is not mapped already",
        errno.EPERM: "CAP_SYS_ADMIN over the file system, and that it is not mapped already",
    }.get(exc.errno or 0, f"mount_setattr(2) to work: {exc.strerror}")
    return UnsupportedError(f"mapping the owners of {item.path}", needs=needs, origin=item.origin)


def _mapped(id: int, ranges: Iterable[tuple[int, int, int]], kind: int) -> int:
    """Return how an owner on disk looks through the maps."""
    for inside, outside, size in ranges:
        if inside <= id < inside + size:
            return outside + id - inside
    with open(_OVERFLOW_FILES[kind], "rb", buffering=0) as file:
        return int(file.readall())
