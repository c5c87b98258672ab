"""One command without a bundle: the specification of a throw-away view of this machine's own root.

What the kernel permits decides its shape.  An overlay over "/" can be made by root beforehand and moved
in; made from inside a new user namespace it fails with EINVAL, because the mounts below "/" are
locked together there.  So an ordinary user gets "/" and all that is mounted in it read-only instead.
mount_namespaces(7), user_namespaces(7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ..spec import IDMapping, Linux, Mount, Namespace, Root, default_spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..spec import NamespaceType, Process, Spec
    from .host import Host
    from .mountinfo import Mount as MountPoint

__all__ = ["command_spec", "file_systems_below"]

_IDS: Final = 2**16
# systemd's registry of ids leaves everything from here on to nobody; so no file and no process of the
# machine has such an owner, and what the container's root may do, an unknown stranger may.
_NOBODYS_IDS: Final = 2**31

_NAMESPACES: Final[tuple[NamespaceType, ...]] = ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")

# Fresh ones over what the machine has there: sockets of its services, and files of its users.
_SCRATCH: Final = (
    Mount(destination="/tmp", type="tmpfs", source="tmpfs", options=("nosuid", "nodev", "mode=1777")),
    Mount(destination="/run", type="tmpfs", source="tmpfs", options=("nosuid", "nodev", "mode=0755")),
)

# File systems on disks of this machine.  Not overlayfs: those are other containers.
_LOCAL: Final = frozenset(
    {
        "bcachefs",
        "btrfs",
        "erofs",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "jfs",
        "reiserfs",
        "squashfs",
        "xfs",
        "zfs",
    }
)
_MOST: Final = 64
"""File systems that are shown at most: each is a descriptor to pass, and time."""
_OWN_AND_KERNELS: Final = frozenset({"/dev", "/proc", "/run", "/sys", "/tmp"})

_OWN: Final = {"HOME": "/tmp"}  # root's home of the machine is not for strangers


def command_spec(
    args: Sequence[str],
    host: Host,
    *,
    rootfs: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    hostname: str | None = None,
    below: Sequence[str] = (),
) -> tuple[Spec, bool]:
    """Return the specification for one command, and whether `Options.overlay` goes with it (always).

    Without *rootfs* it sees this machine's own root, as a user whom the machine does not know: what only
    the machine's root may read stays unreadable.  With one it is root of that tree; an ordinary user
    is always root of the own id alone.  *below* are file systems of their own in it: an overlay shows
    none, so they are bound, read-only; an ordinary user's view has them anyway, or nothing can be shown.
    System calls are filtered by the default profile.
    """
    spec = default_spec(args, rootfs=rootfs or "/", terminal=False)
    assert spec.process is not None
    maps = _maps(host) if rootfs is None or not host.privileged else None
    spec = replace(
        spec,
        process=_process(spec.process, {**({} if rootfs else _OWN), **(env or {})}, cwd),
        root=Root(path=rootfs or "/"),
        hostname=hostname or spec.hostname,
        mounts=(
            *(_bound(path, rootfs or "/") for path in below if host.privileged),
            *(mount for mount in spec.mounts if mount.type != "cgroup"),
            *_SCRATCH,
        ),
        linux=_linux(spec.linux or Linux(), maps),
    )
    return spec.with_default_seccomp(), True


def file_systems_below(root: str, mounts: Iterable[MountPoint]) -> tuple[str, ...]:
    """Return where file systems of their own are mounted below *root*, outermost first.

    What the kernel shows about itself, what is private to a boot and what a server could keep us
    waiting for is left out, and so is everything below that: not even its names are looked up.
    """
    mounts = tuple(mounts)
    found = []
    for mount in sorted(mounts, key=lambda mount: mount.point):
        if not _is_below(mount.point, root) or mount.point in found or _is_hidden(mount, mounts):
            continue
        way = [each for each in mounts if _is_below(mount.point, each.point) and _is_below(each.point, root)]
        if all(_is_shown(each) for each in (*way, mount)):
            found.append(mount.point)
    return tuple(found[:_MOST])


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/") and path != directory


def _is_shown(mount: MountPoint) -> bool:
    return mount.type in _LOCAL and f"/{mount.point.split('/')[1]}" not in _OWN_AND_KERNELS


def _is_hidden(mount: MountPoint, mounts: Sequence[MountPoint]) -> bool:
    """Whether a later mount on it, or on a directory above it, is what one finds there."""
    covers = mounts[mounts.index(mount) + 1 :]
    return any(
        cover.parent == mount.id
        if cover.point == mount.point
        else cover.parent == mount.parent and _is_below(mount.point, cover.point)
        for cover in covers
    )


def _bound(path: str, root: str) -> Mount:
    inside = path if root == "/" else path.removeprefix(root.rstrip("/"))
    return Mount(destination=inside, type="bind", source=path, options=("bind", "ro", "nosuid", "nodev"))


def _process(process: Process, env: Mapping[str, str], cwd: str | None) -> Process:
    variables = (f"{name}={value}" for name, value in env.items())
    return replace(process, env=(*process.env, *variables), cwd=cwd or process.cwd, rlimits=())


_Maps = tuple[IDMapping, IDMapping]


def _linux(linux: Linux, maps: _Maps | None) -> Linux:
    if maps is None:
        return linux
    uid, gid = maps
    return replace(
        linux,
        namespaces=tuple(Namespace(type=type) for type in _NAMESPACES),
        uid_mappings=(uid,),
        gid_mappings=(gid,),
    )


def _maps(host: Host) -> _Maps:
    if not host.privileged:
        return _map(host.euid, 1), _map(host.egid, 1)
    return _map(*_strangers(host.uid_map, host.subuid)), _map(*_strangers(host.gid_map, host.subgid))


def _map(first: int, size: int) -> IDMapping:
    return IDMapping(container_id=0, host_id=first, size=size)


def _strangers(ours: Sequence[tuple[int, int, int]], granted: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return a range of ids, first and size, that nobody uses: granted to root, or else beyond all.

    In a user namespace that has neither, it is the last id there is: often root's own.
    """
    for first, count in granted:
        if count >= _IDS:
            return first, _IDS
    for first, _, size in ours:
        if _NOBODYS_IDS in range(first, first + size - _IDS + 1):
            return _NOBODYS_IDS, _IDS
    return max(first + size - 1 for first, _, size in ours), 1
