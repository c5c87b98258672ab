"""The mounts of the specification, in its order.  OCI config.md "Mounts"."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from ..errors import SpecError
from .cgroup_mounts import cgroup_mount_steps
from .flags import (
    MOUNT_ATTR_RDONLY,
    MOUNT_COPY_UP,
    MOUNT_KEEP_MODE,
    MOUNT_KEEP_OWNER,
    MOUNT_MAKE_DIR,
    MOUNT_MAKE_FILE,
    MOUNT_PROCFS,
    MOUNT_RDONLY_SB,
    MOUNT_RECURSIVE,
    MOUNT_SETATTR_RECURSIVE,
    MOUNT_SOURCE_NOFOLLOW,
)
from .labels import mount_context, mount_label_steps
from .layers import fitting
from .mount_maps import mount_map
from .mount_options import MOUNT_OPTIONS, MountOptions, parse_options, split_items
from .paths import clean
from .plan import Tree
from .stacked import stacked_root
from .steps import NO_FD, Bind, Mount, SetAttr, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..spec import Mount as SpecMount
    from .draft import Draft

__all__ = ["has_bound_dev", "mount_steps"]

# What may be mounted below /proc: files that lxcfs and the like answer for.  Everything else could
# take the place of a file that somebody trusts, as CVE-2019-16884 did with attr/exec.
UNDER_PROC: Final = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    )
)

# File systems of the kernel itself, whose superblock may be shared with others: "ro" is theirs per
# mount only.  Of all others the superblock becomes read-only too, as mount(2) would make it.
_KERNEL_FILESYSTEMS: Final = frozenset({"proc", "sysfs", "mqueue", "devpts", "cgroup2", "tmpfs"})

# The namespace that each of these shows.
_SHOWN: Final = {"proc": "pid", "sysfs": "network", "mqueue": "ipc"}
_HOST_PLACES: Final = {"proc": "/proc", "sysfs": "/sys", "mqueue": "/dev/mqueue"}


class _Place(Struct, frozen=True):
    """One mount and where it stands."""

    mount: SpecMount
    origin: str
    target: str
    options: MountOptions

    @property
    def path(self) -> str:
        """The target without detours, as a name: links in it are the helper's business."""
        return clean(self.target)


def has_bound_dev(spec_mounts: tuple[SpecMount, ...]) -> bool:
    """Whether /dev as a whole comes from outside: then it is left alone."""
    return any(
        clean(mount.destination) == "/dev"
        and ("bind" in mount.options or "rbind" in mount.options or mount.type == "bind")
        for mount in spec_mounts
    )


def mount_steps(draft: Draft) -> Iterator[Step]:
    """Yield the steps for `mounts`; attributes that have to wait go to `draft.late`."""
    first = 0 if stacked_root(draft) is None else 1
    for index, mount in enumerate(draft.spec.mounts[first:], first):
        yield from _mount(draft, _place(mount, f"$.mounts[{index}]"))


def _place(mount: SpecMount, origin: str) -> _Place:
    target = mount.destination
    if not target.startswith("/"):
        target = f"/{target}"
    place = _Place(mount, origin, target, parse_options(mount.options, f"{origin}.options"))
    if place.path.startswith("/proc/") and place.path not in UNDER_PROC:
        raise SpecError(f"nothing may be mounted on {target}", origin=f"{origin}.destination")
    return place


def _mount(draft: Draft, place: _Place) -> Iterator[Step]:
    options, fstype = place.options, place.mount.type
    _refuse_misplaced(place)
    if options.remount:
        yield _remount(draft, place)
    elif options.bind or fstype == "bind":
        yield from _bind(draft, place)
    elif fstype in {"", "none"}:
        raise SpecError("names no file system, and is no bind", origin=f"{place.origin}.type")
    elif place.path == "/proc" and fstype != "proc":
        raise SpecError(f"only procfs belongs on /proc, not {fstype}", origin=f"{place.origin}.type")
    elif fstype == "cgroup":
        yield from cgroup_mount_steps(draft, place.origin, place.target, options)
    elif fstype in _SHOWN and draft.in_user_namespace and not draft.namespaces.owns(_SHOWN[fstype]):
        yield _host_filesystem(place)
    else:
        yield from _new(draft, place)


def _refuse_misplaced(place: _Place) -> None:
    """Refuse options that mean something only for another kind of mount."""
    options, fstype = place.options, place.mount.type
    bind = options.bind or fstype == "bind"
    for flag, fits, text in (
        (MOUNT_COPY_UP, fstype == "tmpfs" and not bind, "only a tmpfs is filled with what it covers"),
        (MOUNT_SOURCE_NOFOLLOW, bind, "only a bind has a source that can be a link"),
    ):
        if options.flags & flag and (options.remount or not fits):
            raise SpecError(text, origin=f"{place.origin}.options")
    if options.idmap is not None and (options.remount or not bind):
        raise SpecError("only a bind mount can be mapped", origin=options.idmap.origin)


def _remount(draft: Draft, place: _Place) -> Step:
    """Change a mount made before, and its file system if that was made for the container too."""
    options = place.options
    data = (*options.superblock, *_data(draft, place))
    if data and not _is_new(draft, place):
        raise SpecError(
            f"{data[0]!r} is an option of a file system, and none was made at {place.path} before",
            origin=f"{place.origin}.options",
        )
    return SetAttr(
        place.origin,
        place.target,
        options.attrs | options.recursive_attrs,
        options.cleared | options.recursive_cleared,
        options.propagation[0] if options.propagation else 0,
        MOUNT_SETATTR_RECURSIVE if options.recursive_attrs or options.recursive_cleared else 0,
        data,
    )


def _is_new(draft: Draft, place: _Place) -> bool:
    """Whether the last mount before this one, on the same path, was of a new file system.

    The options of one that is bound hold for the host as well.
    """
    before = draft.spec.mounts[: draft.spec.mounts.index(place.mount)]
    mounts = [
        each for each in before if clean(each.destination) == place.path and "remount" not in each.options
    ]
    if not mounts:
        return False
    options = parse_options(mounts[-1].options, "")
    return not options.bind and mounts[-1].type not in {"bind", "cgroup"}


# Binds.


def _bind(draft: Draft, place: _Place) -> Iterator[Step]:
    _refuse_data(place)
    if _shows_cgroups(draft, place):
        deeper = place.options.recursive_attrs | MOUNT_ATTR_RDONLY
        place = replace(place, options=replace(place.options, recursive_attrs=deeper))
    options, origin = place.options, place.origin
    if not place.mount.source:  # "bind" in one entry with others: the document's check sees whole entries
        raise SpecError("a bind mount needs one", origin=f"{origin}.source")
    if options.superblock:  # as runc: the kernel takes none of them for a bind
        draft.warnings.append(f"{origin}.options: {', '.join(options.superblock)}: no effect on a bind")
    source = posixpath.join(draft.options.bundle, place.mount.source)
    fd = NO_FD
    nofollow = bool(options.flags & MOUNT_SOURCE_NOFOLLOW)
    map = mount_map(draft, place.mount, options, origin)
    if draft.by_parent or map is not None:
        fd = draft.pass_fd(Tree(source, options.recursive, f"{origin}.source", nofollow, map))
    # One call sets one depth: the recursive attributes go along only where there are no others.
    deep = not (options.attrs or options.cleared)
    yield Bind(
        origin,
        source,
        place.target,
        options.recursive_attrs if deep else options.attrs,
        options.recursive_cleared if deep else options.cleared,
        options.propagation[0] if options.propagation else 0,
        _bind_flags(place, deep=deep and bool(options.recursive_attrs or options.recursive_cleared)),
        fd,
    )
    yield from _afterwards(place, recursive=not deep)


def _shows_cgroups(draft: Draft, place: _Place) -> bool:
    """Whether a bind that is to be read-only brings along cgroups that would not be: CVE-2023-25809.

    Root of a user namespace may own them, and "ro" alone holds for /sys itself.
    """
    options = place.options
    return (
        draft.in_user_namespace
        and options.recursive
        and bool(options.attrs & MOUNT_ATTR_RDONLY)
        and clean(place.mount.source) in {"/sys", "/sys/fs", "/sys/fs/cgroup"}
    )


def _bind_flags(place: _Place, *, deep: bool) -> int:
    flags = MOUNT_MAKE_DIR | MOUNT_MAKE_FILE | place.options.flags  # whichever the source is
    if place.options.recursive:
        flags |= MOUNT_RECURSIVE
    if deep:
        flags |= MOUNT_SETATTR_RECURSIVE
    # Onto /proc nothing but procfs is bound, and not through a link: CVE-2019-19921.
    if place.path == "/proc" or (place.path == "/sys" and clean(place.mount.source) == "/sys"):
        flags |= MOUNT_PROCFS
    return flags


def _refuse_data(place: _Place) -> None:
    """Refuse options of a file system on a bind, which makes none."""
    if not place.options.data:
        return
    index = next(
        index
        for index, text in enumerate(place.mount.options)
        if any(word and word not in MOUNT_OPTIONS for word in split_items(text))
    )
    raise SpecError(
        f"{place.options.data[0]!r} is an option of a file system, but this is a bind",
        origin=f"{place.origin}.options[{index}]",
    )


def _afterwards(place: _Place, *, recursive: bool) -> Iterator[Step]:
    """Yield what needs a call of its own: recursive attributes, further propagation."""
    options = place.options
    if recursive and (options.recursive_attrs or options.recursive_cleared):
        yield SetAttr(
            place.origin,
            place.target,
            options.recursive_attrs,
            options.recursive_cleared,
            flags=MOUNT_SETATTR_RECURSIVE,
        )
    for propagation in options.propagation[1:]:
        yield SetAttr(place.origin, place.target, propagation=propagation)


def _host_filesystem(place: _Place) -> Step:
    """Show the host's, as it belongs to a namespace that is not ours to mount it for.

    What is mounted in it comes along, so what holds for the one holds for all.
    """
    fstype = place.mount.type
    whole = 0 if fstype == "mqueue" else MOUNT_PROCFS
    return Bind(
        place.origin,
        _HOST_PLACES[fstype],
        place.target,
        place.options.attrs | place.options.recursive_attrs,
        flags=MOUNT_MAKE_DIR | MOUNT_RECURSIVE | MOUNT_SETATTR_RECURSIVE | whole,
    )


# New file systems.


def _new(draft: Draft, place: _Place) -> Iterator[Step]:
    options, fstype = place.options, place.mount.type
    data = (*options.superblock, *_data(draft, place), *mount_context(draft, fstype, options.data))
    attrs = options.attrs | options.recursive_attrs  # a new file system is a tree of one mount
    if attrs & MOUNT_ATTR_RDONLY and fstype == "tmpfs":
        # Mount points and devices have to be made in it first.
        attrs &= ~MOUNT_ATTR_RDONLY
        draft.late.append(SetAttr(place.origin, place.target, MOUNT_ATTR_RDONLY))
    yield Mount(
        place.origin,
        fstype,
        place.mount.source or fstype,
        place.target,
        attrs,
        options.propagation[0] if options.propagation else 0,
        _new_flags(place, attrs),
        tuple(fitting(fstype, data, draft.host.kernel, f"{place.origin}.options")),
    )
    yield from mount_label_steps(draft, fstype, place.target)
    yield from _afterwards(place, recursive=False)


def _new_flags(place: _Place, attrs: int) -> int:
    fstype = place.mount.type
    flags = MOUNT_MAKE_DIR | place.options.flags
    if flags & MOUNT_COPY_UP and place.options.value("uid") is place.options.value("gid") is None:
        flags |= MOUNT_KEEP_OWNER
    if fstype in {"proc", "sysfs"}:
        flags |= MOUNT_PROCFS
    if fstype == "tmpfs" and place.options.value("mode") is None:
        flags |= MOUNT_KEEP_MODE
    if attrs & MOUNT_ATTR_RDONLY and fstype not in _KERNEL_FILESYSTEMS:
        flags |= MOUNT_RDONLY_SB
    return flags


def _data(draft: Draft, place: _Place) -> tuple[str, ...]:
    """Return the file system's own options, without those that the id maps make impossible."""
    data = place.options.data
    if draft.known_maps is None or place.mount.type not in {"tmpfs", "devpts"}:
        return data
    return tuple(item for item in data if _is_mapped(draft, place, item))


def _is_mapped(draft: Draft, place: _Place, item: str) -> bool:
    """Whether an option is none that names an unmapped id.

    devpts has a group (5, "tty") by convention only, and does without; elsewhere it is a mistake.
    """
    key, _, value = item.partition("=")
    known = {"uid": draft.is_mapped_uid, "gid": draft.is_mapped_gid}.get(key)
    if known is None or not (value.isascii() and value.isdigit()) or known(int(value)):
        return True
    if (place.mount.type, key) == ("devpts", "gid"):
        return False
    raise SpecError(f"{item}: this id is not mapped", origin=f"{place.origin}.options")
