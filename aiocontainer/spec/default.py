"""The configuration to begin with: what ``runc spec`` writes, under our name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from .linux import IDMapping, Linux, Namespace
from .model import OCI_VERSION, Mount, Root, Spec
from .process import Capabilities, Process, Rlimit, words
from .resources import DeviceRule, Resources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .linux import NamespaceType
    from .process import Capability

__all__ = ["DEFAULT_CAPABILITIES", "DEFAULT_ENV", "default_spec", "rootless", "rootless_spec"]

DEFAULT_CAPABILITIES: tuple[Capability, ...] = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

DEFAULT_ENV = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM=xterm",
)

_NAMESPACES: tuple[NamespaceType, ...] = ("pid", "network", "ipc", "uts", "mount", "cgroup")

_MOUNTS = (
    Mount(destination="/proc", type="proc", source="proc"),
    Mount(
        destination="/dev",
        type="tmpfs",
        source="tmpfs",
        options=("nosuid", "strictatime", "mode=755", "size=65536k"),
    ),
    Mount(
        destination="/dev/pts",
        type="devpts",
        source="devpts",
        options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    Mount(
        destination="/dev/shm",
        type="tmpfs",
        source="shm",
        options=("nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
    ),
    Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=("nosuid", "noexec", "nodev")),
    Mount(destination="/sys", type="sysfs", source="sysfs", options=("nosuid", "noexec", "nodev", "ro")),
    Mount(
        destination="/sys/fs/cgroup",
        type="cgroup",
        source="cgroup",
        options=("nosuid", "noexec", "nodev", "relatime", "ro"),
    ),
)

# sysfs shows the network namespace that it is mounted in, and wants that to be ours.
_HOST_SYSFS = Mount(
    destination="/sys", type="none", source="/sys", options=("rbind", "nosuid", "noexec", "nodev", "ro")
)

_MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)

_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def default_spec(args: Sequence[str] = ("sh",), *, rootfs: str = "rootfs", terminal: bool = True) -> Spec:
    """Return the default configuration: a shell on a terminal, in all namespaces but user and time."""
    return Spec(
        oci_version=OCI_VERSION,
        process=_process(words(args), terminal),
        root=Root(path=rootfs, readonly=True),
        hostname="aiocontainer",
        mounts=_MOUNTS,
        linux=Linux(
            resources=Resources(devices=(DeviceRule(allow=False, access="rwm"),)),
            namespaces=tuple(Namespace(type=type) for type in _NAMESPACES),
            masked_paths=_MASKED_PATHS,
            readonly_paths=_READONLY_PATHS,
        ),
    )


def rootless_spec(args: Sequence[str] = ("sh",), *, uid: int, gid: int, rootfs: str = "rootfs") -> Spec:
    """Return the default configuration for an ordinary user."""
    return rootless(default_spec(args, rootfs=rootfs), uid, gid)


def rootless(spec: Spec, uid: int, gid: int) -> Spec:
    """Change a configuration so that an ordinary user can run it, as root of a namespace of one id."""
    linux = spec.linux or Linux()
    kept = (each for each in linux.namespaces if each.type not in ("network", "user"))
    return replace(
        spec,
        mounts=tuple(_rootless_mount(mount) for mount in spec.mounts),
        linux=replace(
            linux,
            uid_mappings=(IDMapping(container_id=0, host_id=uid, size=1),),
            gid_mappings=(IDMapping(container_id=0, host_id=gid, size=1),),
            namespaces=(*kept, Namespace(type="user")),
            resources=None,
        ),
    )


def _rootless_mount(mount: Mount) -> Mount:
    if mount.type == "sysfs":
        return _HOST_SYSFS
    # Other ids than root's have no meaning in there: group 5, tty, of devpts.
    kept = tuple(word for word in mount.options if not word.startswith(("uid=", "gid=")))
    return replace(mount, options=kept)


def _process(args: tuple[str, ...], terminal: bool) -> Process:
    return Process(
        terminal=terminal,
        args=args,
        env=DEFAULT_ENV,
        cwd="/",
        capabilities=Capabilities(
            bounding=DEFAULT_CAPABILITIES,
            effective=DEFAULT_CAPABILITIES,
            permitted=DEFAULT_CAPABILITIES,
        ),
        rlimits=(Rlimit(type="RLIMIT_NOFILE", hard=1024, soft=1024),),
        no_new_privileges=True,
    )
