"""Device nodes and the links of /dev.  OCI config-linux.md "Devices" and "Default Devices"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import SpecError, UnsupportedError
from .flags import (
    CAP_MKNOD,
    MOUNT_DEVICE_NODE,
    MOUNT_MAKE_FILE,
    S_IFBLK,
    S_IFCHR,
    S_IFIFO,
)
from .mounts import has_bound_dev
from .paths import clean
from .steps import Bind, Device, Step, Symlink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..spec import Device as SpecDevice
    from .draft import Draft

__all__ = ["node_steps"]

ORIGIN = "$.linux.devices"
_ANYBODY: Final = 0o666
_PERMISSIONS: Final = 0o7777
_TYPE: Final = 0o170000
_TYPES: Final = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}

DEFAULT_NODES: Final = (
    Device("", "/dev/null", S_IFCHR | _ANYBODY, 1, 3),
    Device("", "/dev/zero", S_IFCHR | _ANYBODY, 1, 5),
    Device("", "/dev/full", S_IFCHR | _ANYBODY, 1, 7),
    Device("", "/dev/random", S_IFCHR | _ANYBODY, 1, 8),
    Device("", "/dev/urandom", S_IFCHR | _ANYBODY, 1, 9),
    Device("", "/dev/tty", S_IFCHR | _ANYBODY, 5, 0),
)

# What is there already may stay: an image's own link or node does no harm, for none is followed.
_LINKS: Final = tuple(
    Symlink("", text, target, optional=True)
    for text, target in (
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
        ("pts/ptmx", "/dev/ptmx"),
    )
)
_CORE: Final = Symlink("", "/proc/kcore", "/dev/core", optional=True)


def node_steps(draft: Draft) -> Iterator[Step]:
    """Yield the nodes of the specification, those that every container has, and the links of /dev."""
    if has_bound_dev(draft.spec.mounts):
        return
    wanted = [_node(device, f"{ORIGIN}[{index}]", draft) for index, device in enumerate(draft.linux.devices)]
    named = {clean(node.target) for node in wanted}
    bound = draft.in_user_namespace or not draft.host.capable(CAP_MKNOD)
    for node in (*(each for each in DEFAULT_NODES if each.target not in named), *wanted):
        # A fifo is no device: anybody may make one.
        if not bound or _is_fifo(node):
            yield node
        elif draft.namespaces.has("mount"):
            yield _bound(node)
        elif node.origin:
            raise UnsupportedError("a device without mknod(2)", needs="a mount namespace", origin=node.origin)
    if bound and not draft.namespaces.has("mount"):
        draft.warnings.append(f"{ORIGIN}: default devices are left to the image, without a mount namespace")
    yield from _LINKS
    if draft.host.has_kcore:
        yield _CORE


def _is_fifo(node: Device) -> bool:
    return node.mode & _TYPE == S_IFIFO


def _node(device: SpecDevice, origin: str, draft: Draft) -> Device:
    mode = _ANYBODY if device.file_mode is None else device.file_mode & _PERMISSIONS
    uid, gid = device.uid or 0, device.gid or 0
    if not draft.is_mapped_uid(uid):
        raise SpecError(f"uid {uid} is not mapped", origin=f"{origin}.uid")
    if not draft.is_mapped_gid(gid):
        raise SpecError(f"gid {gid} is not mapped", origin=f"{origin}.gid")
    numbers = (0, 0) if device.type == "p" else (device.major or 0, device.minor or 0)
    return Device(origin, device.path, _TYPES[device.type] | mode, *numbers, uid, gid)


def _bound(node: Device) -> Step:
    """Bind the host's node, where mknod(2) is forbidden or makes a node that cannot be opened."""
    return Bind(
        node.origin,
        node.target,
        node.target,
        flags=MOUNT_MAKE_FILE | MOUNT_DEVICE_NODE,
        rdev=(node.major, node.minor),
    )
