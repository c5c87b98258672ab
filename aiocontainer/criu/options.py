"""What may be asked of a checkpoint and of a restore, and how CRIU is told.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from msgspec import Struct

from ..errors import SpecError
from .messages import Version
from .schema import OPTIONS

if TYPE_CHECKING:
    from .probing import Criu

__all__ = ["CgroupsMode", "CheckpointOptions", "NetworkLock", "Progress", "RestoreOptions"]
__all__ += ["dump_fields", "restore_fields"]

CgroupsMode: TypeAlias = Literal["ignore", "none", "props", "soft", "full", "strict"]
"""What CRIU restores of cgroups: criu(8) ``--manage-cgroups``."""

NetworkLock: TypeAlias = Literal["iptables", "nftables", "skip"]
"""How connections are kept quiet meanwhile: criu(8) ``--network-lock``."""

_CGROUPS: Final[Mapping[str, int]] = {"ignore": 0, "none": 1, "props": 2, "soft": 3, "full": 4, "strict": 5}
_LOCKS: Final[Mapping[str, int]] = {"iptables": 1, "nftables": 2, "skip": 3}
_CLONE_NEWNET: Final = 0x40000000
_VERBOSE: Final = 4


class Progress(Struct, frozen=True):
    """How far a checkpoint or a restore is."""

    phase: str
    """CRIU's own word for the point that it has reached: "pre-dump", "network-lock", "post-dump", ..., or
    "pages" while memory is being written."""
    elapsed_s: float
    """Since CRIU was asked."""
    written_bytes: int = 0
    """Of memory, into the images, so far."""


class CommonOptions(Struct, frozen=True, kw_only=True):
    """What both directions know; None leaves it to CRIU."""

    work: str | None = None
    """Directory of logs and statistics; the images' own if None."""
    tcp_established: bool = False
    """Allow open TCP connections."""
    ext_unix_sk: bool = False
    """Allow unix sockets whose other end is outside."""
    shell_job: bool = False
    """Allow a terminal and a session that are somebody else's."""
    file_locks: bool = False
    """Allow file locks."""
    auto_dedup: bool = False
    """Drop from the parent's images what is newer here."""
    lazy_pages: bool = False
    """Fetch memory when it is needed."""
    empty_network: bool = False
    """The network namespace is saved, or made, without its content."""
    manage_cgroups: CgroupsMode = "soft"
    """What is restored of cgroups, in CRIU's own words."""
    network_lock: NetworkLock | None = None
    """None: iptables where its programs are, else nftables."""
    config_file: str | None = None
    """CRIU's own configuration, which wins; "" is none, None is as the annotation says, or the default."""
    more: Mapping[str, Any] = {}
    """Other fields of CRIU's service protocol, by their names there: ghost_limit, timeout, tls, ..."""
    progress: Callable[[Progress], object] | None = None
    """Called at every point that CRIU reaches, and as memory is written."""


class CheckpointOptions(CommonOptions, frozen=True, kw_only=True):
    """Options of `Container.checkpoint`."""

    parent: str | None = None
    """Images of an earlier pre-dump, relative to this one's: only what has changed since is written."""
    leave_running: bool = False
    """Let the container go on."""
    pre_dump: bool = False
    """Write memory only, and let it run on."""
    tcp_skip_in_flight: bool = False
    """Leave out TCP connections that are being made."""
    link_remap: bool = False
    """Allow open files that have no name any more."""
    page_server: tuple[str, int] | None = None
    """Where pages are sent instead of into the images; with `lazy_pages`, where they are fetched from us."""
    status_fd: int = -1
    """Gets one NUL when pages can be fetched."""


class RestoreOptions(CommonOptions, frozen=True, kw_only=True):
    """Options of `Runtime.restore`."""

    tcp_close: bool = False
    """Close TCP connections that were open."""
    lsm_profile: str | None = None
    """``apparmor:NAME`` or ``selinux:LABEL``, instead of what was saved."""
    lsm_mount_context: str | None = None
    """SELinux context of mounts, instead of what was saved."""
    veth_pairs: Mapping[str, str] = {}
    """Name inside to name on the host."""
    page_server: tuple[str, int] | None = None
    """Address and port where pages are fetched, with `lazy_pages`."""


_OURS: Final = frozenset(
    {
        *("images_dir_fd", "work_dir_fd", "pid", "root", "log_file", "notify_scripts", "rst_sibling", "ps"),
        *(
            "inherit_fd",
            "cg_root",
            "freeze_cgroup",
            "leave_running",
            "leave_stopped",
            "parent_img",
            "track_mem",
        ),
        *(
            "lazy_pages",
            "status_fd",
            "manage_cgroups",
            "manage_cgroups_mode",
            "empty_ns",
            "network_lock",
            "veths",
        ),
        *("config_file", "lsm_profile", "lsm_mount_context", "orphan_pts_master", "evasive_devices"),
    }
)
"""Fields that have a parameter here, or that are nobody's to change."""

_SCALARS: Final = {"bool": bool, "string": str, "int32": int, "uint32": int}
_LISTED: Final = ("external", "skip_mnt", "enable_fs", "irmap_scan_paths", "cgroup_dump_controller")


def _more(more: Mapping[str, Any]) -> dict[str, Any]:
    """Check fields that are passed on as they are; `SpecError`."""
    for name, value in more.items():
        field = OPTIONS.get(name)
        if field is None or name in _OURS:
            raise SpecError("is no field to be set", origin=f"more.{name}")
        if field.label == "repeated":
            good = (
                name in _LISTED and isinstance(value, list | tuple) and all(isinstance(e, str) for e in value)
            )
        else:
            good = type(value) is _SCALARS.get(field.type)
        if not good or (field.type == "uint32" and not 0 <= value < 2**32):
            raise SpecError(f"is a {field.type}, not {value!r}", origin=f"more.{name}")
    return dict(more)


def _common(options: CommonOptions, criu: Criu) -> dict[str, Any]:
    if options.manage_cgroups not in get_args(CgroupsMode):
        raise SpecError(f"{options.manage_cgroups!r} is no mode", origin="manage_cgroups")
    if options.network_lock is not None and options.network_lock not in get_args(NetworkLock):
        raise SpecError(f"{options.network_lock!r} is no way to lock", origin="network_lock")
    if options.lazy_pages:
        criu.require_feature("lazy_pages", "lazy_pages")
    return {
        "log_level": _VERBOSE,
        "notify_scripts": True,
        "evasive_devices": True,
        "orphan_pts_master": True,
        "tcp_established": options.tcp_established,
        "ext_unix_sk": options.ext_unix_sk,
        "shell_job": options.shell_job,
        "file_locks": options.file_locks,
        "auto_dedup": options.auto_dedup,
        "lazy_pages": options.lazy_pages or None,
        "empty_ns": _CLONE_NEWNET if options.empty_network else None,
        "manage_cgroups_mode": _CGROUPS[options.manage_cgroups],
        "network_lock": criu.network_lock(options.network_lock, _LOCKS),
    } | _more(options.more)


def _server(server: tuple[str, int] | None) -> dict[str, Any] | None:
    if server is None:
        return None
    address, port = server
    if not 0 <= port < 65536:
        raise SpecError(f"{port} is no port", origin="page_server")
    return {"address": address, "port": port}


def dump_fields(options: CheckpointOptions, criu: Criu) -> dict[str, Any]:
    """Return what CRIU is told of a checkpoint, but for the container; `SpecError`, `UnsupportedError`."""
    if options.pre_dump or options.parent is not None:
        criu.require_feature("mem_track", "pre_dump" if options.pre_dump else "parent")
    if options.lazy_pages and options.page_server is None:
        raise SpecError("needs page_server, where the pages are fetched", origin="lazy_pages")
    if options.status_fd >= 0 and not options.lazy_pages:
        raise SpecError("is for lazy_pages alone", origin="status_fd")
    if options.parent is not None and options.parent.startswith("/"):
        raise SpecError("is relative to the images", origin="parent")
    return _common(options, criu) | {
        "log_file": "dump.log",
        "leave_running": options.leave_running or options.pre_dump,
        "parent_img": options.parent,
        "track_mem": True if options.pre_dump or options.parent is not None else None,
        "tcp_skip_in_flight": options.tcp_skip_in_flight,
        "link_remap": options.link_remap,
        "ps": _server(options.page_server),
    }


def restore_fields(options: RestoreOptions, criu: Criu) -> dict[str, Any]:
    """Return what CRIU is told of a restore, but for the container."""
    for name in ("lsm_profile", "lsm_mount_context"):
        if getattr(options, name) is not None:
            criu.require(Version(3, 16), name)
    return _common(options, criu) | {
        "log_file": "restore.log",
        "rst_sibling": True,
        "tcp_close": options.tcp_close or None,
        "lsm_profile": options.lsm_profile,
        "lsm_mount_context": options.lsm_mount_context,
        "veths": [{"if_in": inside, "if_out": host} for inside, host in options.veth_pairs.items()],
        "ps": _server(options.page_server),
    }
