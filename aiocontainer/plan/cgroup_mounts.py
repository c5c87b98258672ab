"""Mounts of type "cgroup": the container's view of its cgroups, whatever the host has."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from .flags import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_MAKE_DIR,
    MOUNT_RECURSIVE,
    MOUNT_SETATTR_RECURSIVE,
)
from .host import CgroupMode
from .plan import Tree
from .steps import NO_FD, Bind, Mount, SetAttr, Step, Symlink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .draft import Draft
    from .mount_options import MountOptions

__all__ = ["cgroup_mount_steps"]

_SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


def cgroup_mount_steps(draft: Draft, origin: str, target: str, options: MountOptions) -> Iterator[Step]:
    """Yield the mounts that show cgroups at *target*, one file system or a directory of them."""
    attrs = options.attrs | options.recursive_attrs
    match draft.host.cgroup_mode:
        case CgroupMode.V2:
            yield _unified(draft, origin, target, attrs)
        case CgroupMode.V1:
            yield from _hierarchies(draft, origin, target, attrs)
        case CgroupMode.NONE:  # nothing to show: but hide what a bind of /sys might have brought
            yield _directory(origin, target)
            draft.late.append(SetAttr(origin, target, MOUNT_ATTR_RDONLY))
    for propagation in options.propagation:
        yield SetAttr(origin, target, propagation=propagation)


def _directory(origin: str, target: str) -> Step:
    return Mount(origin, "tmpfs", "tmpfs", target, _SAFE, flags=MOUNT_MAKE_DIR, data=("mode=755",))


def _unified(draft: Draft, origin: str, target: str, attrs: int) -> Step:
    """Mount cgroup2, or bind it where there is no cgroup namespace.

    A mount made from the initial cgroup namespace would set options of the whole hierarchy
    (nsdelegate and others) for the host too.  cgroup-v2.rst "Mounting".
    """
    if draft.namespaces.owns("cgroup"):
        # A namespace that is joined may be the machine's first, where the options count.
        data = draft.host.cgroup_flags if draft.namespaces.is_joined("cgroup") else ()
        return Mount(origin, "cgroup2", "cgroup", target, attrs, flags=MOUNT_MAKE_DIR, data=data)
    mount = draft.host.cgroup_hierarchies.get("", "/sys/fs/cgroup")
    # Who is root in a user namespace may own its cgroup, but need not see the others: CVE-2023-25809.
    source = _own(draft, "", mount) if draft.in_user_namespace else mount
    return _bind(draft, origin, source, target, attrs)


def _own(draft: Draft, hierarchy: str, mount: str) -> str:
    """Return the directory of the cgroup that the container is in."""
    if draft.cgroup is not None:
        return draft.cgroup.paths[hierarchy]
    return f"{mount}{draft.host.cgroup_own.get(hierarchy, '/').rstrip('/')}"


def _bind(draft: Draft, origin: str, source: str, target: str, attrs: int) -> Step:
    fd = draft.pass_fd(Tree(source, recursive=True, origin=origin)) if draft.by_parent else NO_FD
    flags = MOUNT_MAKE_DIR | MOUNT_RECURSIVE | (MOUNT_SETATTR_RECURSIVE if attrs else 0)
    return Bind(origin, source, target, attrs, flags=flags, fd=fd)


def _hierarchies(draft: Draft, origin: str, target: str, attrs: int) -> Iterator[Step]:
    """Mount each v1 hierarchy under its name, with links for controllers that share one."""
    yield _directory(origin, target)
    for hierarchy, mount in draft.host.cgroup_hierarchies.items():
        if not hierarchy:  # the unified one of a hybrid host has nothing to control, and no peer shows it
            continue
        name = posixpath.basename(mount)
        place = f"{target}/{name}"
        if draft.namespaces.owns("cgroup"):
            yield Mount(
                origin,
                "cgroup",
                "cgroup",
                place,
                attrs,
                flags=MOUNT_MAKE_DIR,
                data=tuple(hierarchy.split(",")),
            )
        else:
            yield _bind(draft, origin, _own(draft, hierarchy, mount), place, attrs)
        if "=" not in hierarchy:
            for controller in hierarchy.split(","):
                if controller != name:
                    yield Symlink(origin, name, f"{target}/{controller}")
    if attrs & MOUNT_ATTR_RDONLY:
        draft.late.append(SetAttr(origin, target, MOUNT_ATTR_RDONLY))
