"""The root file system around the mounts: where it comes from, how it is closed, what is hidden."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..errors import SpecError, UnsupportedError
from .flags import (
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    PAUSE_CONSOLE,
    PIVOT_CHROOT,
    PIVOT_MOVE,
    PIVOT_ROOT,
    PROPAGATION,
    ROOTFS_CLONE,
    ROOTFS_LAYERS,
    ROOTFS_OPEN,
    ROOTFS_THROWAWAY,
)
from .hooks import create_steps
from .labels import has_labels, mask_label
from .mounts import mount_steps
from .nodes import node_steps
from .plan import Directory, Layers, Overlay, Tree
from .stacked import stacked_root
from .steps import (
    NO_FD,
    Console,
    Device,
    Mask,
    Pause,
    Pivot,
    Procfs,
    Propagation,
    ReadOnly,
    Rootfs,
    SetAttr,
    Step,
    VerifyMounts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..spec import Process
    from .draft import Draft

__all__ = ["console_step", "read_only_root", "rootfs_steps"]

ORIGIN = "$.root.path"
_PROPAGATION = "$.linux.rootfsPropagation"


def rootfs_steps(draft: Draft) -> Iterator[Step]:
    """Yield everything from the first look at "/" to the proof that all is where it belongs."""
    if not draft.namespaces.has("mount"):
        yield from _directory_steps(draft)
        return
    yield Propagation(_origin(draft), _start_propagation(draft))
    if _needs_procfs(draft):
        yield from _procfs(draft)
    yield from _root(draft)
    yield from mount_steps(draft)
    yield from node_steps(draft)
    yield from _console(draft)
    yield from create_steps(draft)
    yield Pivot(ORIGIN, PIVOT_MOVE if draft.options.no_pivot else PIVOT_ROOT)
    yield from draft.late
    yield from _hidden(draft)
    yield VerifyMounts("")
    yield from _end_propagation(draft)


def _directory_steps(draft: Draft) -> Iterator[Step]:
    """Yield the steps without a mount namespace: enter the directory, and mount nothing anywhere.

    Whoever may call chroot(2) in there can leave it again: a convenience, no isolation.
    """
    for asked, feature, origin in (
        (draft.linux.rootfs_propagation, "propagation", _PROPAGATION),
        (draft.process.terminal, "a terminal of the container's own", "$.process.terminal"),
        (draft.options.overlay, "a throw-away layer", ORIGIN),
        (stacked_root(draft), "a root of layers", "$.mounts[0]"),
    ):
        if asked:
            raise UnsupportedError(feature, needs="a mount namespace", origin=origin)
    path = _path(draft)
    fd = draft.pass_fd(Directory(path, ORIGIN)) if draft.by_parent else NO_FD
    nodes = [*node_steps(draft)]
    if _changes_modes(draft) and any(isinstance(node, Device) for node in nodes):
        yield from _procfs(draft)
    yield Rootfs(ORIGIN, path, fd, how=ROOTFS_OPEN)
    yield from nodes
    yield from create_steps(draft)
    yield Pivot(ORIGIN, PIVOT_CHROOT)


def _procfs(draft: Draft) -> Iterator[Step]:
    """Yield the step that takes a procfs of our own, unless labels had to have one before."""
    if not has_labels(draft.process):
        yield Procfs("")


def _needs_procfs(draft: Draft) -> bool:
    """Whether a step needs a procfs of its own.

    To find what must not be left below a moved root, and to change a mode by descriptor, which
    fchmodat2(2) does since Linux 6.6.
    """
    return draft.options.no_pivot or _changes_modes(draft)


def _changes_modes(draft: Draft) -> bool:
    """Whether the kernel lacks fchmodat2(2), so that a mode is changed through procfs."""
    return draft.host.kernel < (6, 6)


def _origin(draft: Draft) -> str:
    return _PROPAGATION if draft.linux.rootfs_propagation else ""


def _start_propagation(draft: Draft) -> int:
    """Return how "/" follows the host while we build; nothing of ours may reach it by default."""
    word = draft.linux.rootfs_propagation
    if word is None:
        return MS_SLAVE | MS_REC
    flags = PROPAGATION[word] | MS_REC
    if flags & MS_PRIVATE and draft.options.no_pivot:
        raise SpecError(
            "private, but without pivot_root(2) the host's mounts stay below", origin=_PROPAGATION
        )
    # Unbindable mounts cannot be cloned, and the root is yet to be.
    return MS_PRIVATE | MS_REC if flags & MS_UNBINDABLE else flags


def _end_propagation(draft: Draft) -> Iterator[Step]:
    word = draft.linux.rootfs_propagation
    if word is not None and PROPAGATION[word] & (MS_SHARED | MS_UNBINDABLE):
        yield Propagation(_PROPAGATION, PROPAGATION[word])


def _path(draft: Draft) -> str:
    if draft.spec.root is None:
        raise SpecError("a container needs a root file system", origin="$.root")
    return posixpath.join(draft.options.bundle, draft.spec.root.path)


def _root(draft: Draft) -> Iterator[Step]:
    path = _path(draft)
    stacked = stacked_root(draft)
    if stacked is not None:
        yield _stacked(draft, path, stacked)
    elif draft.options.overlay and draft.host.privileged:
        yield Rootfs(ORIGIN, path, draft.pass_fd(Overlay(path, ORIGIN, _owner(draft))))
    elif draft.by_parent:
        yield Rootfs(ORIGIN, path, draft.pass_fd(Tree(path, recursive=True, origin=ORIGIN)))
    else:
        yield Rootfs(ORIGIN, path, how=ROOTFS_THROWAWAY if draft.options.overlay else ROOTFS_CLONE)


def _stacked(draft: Draft, path: str, layers: Layers) -> Step:
    if draft.host.privileged:
        return Rootfs(ORIGIN, path, draft.pass_fd(replace(layers, owner=_owner(draft))))
    stack = (layers.source, layers.upper, layers.work, *layers.layers)
    return Rootfs(layers.origin, path, how=ROOTFS_LAYERS, stack=stack)


def _owner(draft: Draft) -> tuple[int, int]:
    """Return the host's ids of the container's root."""
    if draft.known_maps is None:
        return draft.host.euid, draft.host.egid
    return _outside(draft.known_maps.uid), _outside(draft.known_maps.gid)


def _outside(ranges: tuple[tuple[int, int, int], ...]) -> int:
    return next(outside - first for first, outside, size in ranges if first <= 0 < first + size)


def console_step(process: Process, origin: str, *, bind: bool) -> Console:
    """Return the step that makes a terminal; `bind` puts it at /dev/console as well."""
    size, user = process.console_size, process.user
    return Console(
        origin,
        size.height if size is not None else 0,
        size.width if size is not None else 0,
        bind,
        user.uid,
        user.gid,
    )


def _console(draft: Draft) -> Iterator[Step]:
    if draft.process.terminal:
        yield console_step(draft.process, "$.process.terminal", bind=True)
        yield Pause("$.process.terminal", PAUSE_CONSOLE)


def _hidden(draft: Draft) -> Iterator[Step]:
    for origin, path in _once(draft.linux.readonly_paths, "$.linux.readonlyPaths"):
        yield ReadOnly(origin, path)
    for origin, path in _once(draft.linux.masked_paths, "$.linux.maskedPaths"):
        yield Mask(origin, path, mask_label(draft))


def _once(paths: tuple[str, ...], origin: str) -> Iterator[tuple[str, str]]:
    """Yield each path once, with the address of its first place."""
    seen = set()
    for index, path in enumerate(paths):
        if path not in seen:
            seen.add(path)
            yield f"{origin}[{index}]", path


def read_only_root(draft: Draft) -> Iterator[Step]:
    """Make the root itself read-only: last, when nothing is to be made in it any more."""
    if draft.spec.root is not None and draft.spec.root.readonly:
        yield SetAttr("$.root.readonly", "/", MOUNT_ATTR_RDONLY)
