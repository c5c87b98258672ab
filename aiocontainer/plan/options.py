"""What the caller decides about a container besides its specification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .plan import IdMaps

__all__ = ["CgroupDriver", "ExecOptions", "JobMode", "Options", "PropertyPolicy"]

CgroupDriver: TypeAlias = Literal["cgroupfs", "systemd"]

JobMode: TypeAlias = Literal["fail", "replace"]
"""What becomes of a job that a unit has already when it is to be started: the start fails, or the job is
cancelled.  org.freedesktop.systemd1(5)."""

PropertyPolicy: TypeAlias = Literal["careful", "untrusted", "any"]
"""Which annotations for a unit are taken: all but those that are dangerous; only those that are known
to be safe; all that leave the unit ours."""


class StdioOptions(Struct, frozen=True, kw_only=True):
    """Descriptors of the payload and its terminal; the same for init and for exec."""

    console: bool = False
    """Somebody takes the master of the terminal."""
    stdio_owner: bool = False
    """Descriptors 0-2 are ours (pipes): give them to the payload's user."""
    preserve_fds: int = 0
    """Descriptors passed from 3 on, after those of `listen_fds`."""
    seccomp_listener: bool = False
    """The application itself answers for the calls that a filter asks about."""
    home: str | None = None
    """HOME of the user in the container's passwd, where the environment has none; None is "/"."""


class Options(StdioOptions, frozen=True, kw_only=True):
    """Options of a new container."""

    id: str
    bundle: str
    """Absolute path; relative paths of the specification start here."""
    program_name: str = "aiocontainer"
    """Part of names that we make up ourselves."""
    no_pivot: bool = False
    no_new_keyring: bool = False
    cgroups: bool = True
    """False: no cgroup at all, whatever the specification says."""
    cgroup_driver: CgroupDriver = "cgroupfs"
    """Who makes the cgroup: we, or the service manager as one of its units."""
    enter_cgroup: bool = False
    """cgroup2 is entered by the process, too, and not where it is born: whatever was there before us
    may have been killed once, and some kernels go on with that."""
    lenient_paths: bool = False
    """`cgroupsPath` may be ``prefix:name`` for a unit, too, and a name lead to cgroups below the unit's."""
    systemd_properties: tuple[tuple[str, str], ...] = ()
    """Of that unit: name and GVariant text each."""
    property_policy: PropertyPolicy = "careful"
    overlay: bool = False
    """`root.path` stays as it is: it lies under a throw-away overlay.  An ordinary user's kernel may
    refuse one; then it and everything mounted in it is shown read-only."""
    own_namespaces: frozenset[str] = frozenset()
    """OCI names of those that the specification joins, by paths that lead to where we are already."""
    joined_maps: IdMaps | None = None
    """Of the user namespace that is joined."""
    listen_fds: int = 0
    """Sockets passed from 3 on, as sd_listen_fds(3) wants them."""
    listen_fd_names: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    """NAME=VALUE of the runtime: what those createContainer hooks get that say nothing of their own."""
    at_once: bool = False
    """Run the program as soon as the container is made: it has no gate that `start` would have to open."""
    awaited: bool = False
    """The caller itself wants to do something where createRuntime hooks run."""


class ExecOptions(StdioOptions, frozen=True, kw_only=True):
    """Options of a further process in a running container."""

    id: str
    namespaces: Mapping[str, int]
    """OCI name to inode, of each namespace that the container has for itself, as recorded."""
    cgroup_paths: Mapping[str, str] = {}
    """Hierarchy to absolute directory, as recorded."""
    enter_cgroup: bool = False
    """As for the init."""
    moved_by_manager: bool = False
    """We may not write to where it joins: the service manager that has the unit moves it, at a pause."""
    resctrl: tuple[str, ...] = ()
    """Files through which it joins the container's group of resctrl, as recorded."""
    keyring: bool = False
    """We made the container's session keyring: join it."""
