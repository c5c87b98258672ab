"""The configuration of a container as a whole.  OCI config.md."""

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from msgspec import Meta, field
from msgspec.structs import replace

from .annotations import SYSTEMD_PROPERTY
from .base import Object
from .document import MAX_BYTES, decode_document, encode
from .linux import IDMapping, Linux
from .process import Process, User, words
from .resources import Resources

__all__ = ["OCI_VERSION", "OCI_VERSION_MIN", "Hook", "Hooks", "Mount", "Root", "Spec"]

OCI_VERSION = "1.3.0"  # what we write; every 1.x is read
OCI_VERSION_MIN = "1.0.0"


class Root(Object, frozen=True, kw_only=True):
    """The root filesystem; a relative `path` is under the bundle."""

    path: str
    readonly: bool = False


class Mount(Object, frozen=True, kw_only=True):
    """One mount, made in the order of the list.  OCI config.md "Mounts"."""

    destination: str
    """Path in the container."""
    type: str = ""
    """Of the file system; "bind", or "" with the option "bind", for what the host has."""
    source: str = ""
    """A path of the host for a bind; else what the file system takes."""
    options: tuple[str, ...] = ()
    """See the table of words: flags, propagation, and what goes to the file system as it is."""
    uid_mappings: tuple[IDMapping, ...] = ()
    """Owners as they are seen through this mount; so `gid_mappings`, for groups."""
    gid_mappings: tuple[IDMapping, ...] = ()

    @classmethod
    def bind(
        cls, source: str, destination: str, *, read_only: bool = False, options: Sequence[str] = ()
    ) -> Self:
        """Show a file or directory of the host, with what is mounted below it."""
        # "ro" would leave the mounts below writable.
        words = ("rbind", "rro") if read_only else ("rbind",)
        return cls(destination=destination, type="bind", source=source, options=(*words, *options))

    @classmethod
    def tmpfs(cls, destination: str, *, size: int | str | None = None, options: Sequence[str] = ()) -> Self:
        """Make an empty directory in memory; `size` in bytes, or with a suffix as in "64M"."""
        limit = () if size is None else (f"size={size}",)
        return cls(
            destination=destination,
            type="tmpfs",
            source="tmpfs",
            options=("nosuid", "nodev", *limit, *options),
        )


class Hook(Object, frozen=True, kw_only=True):
    """A program to run at one point of the lifecycle."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] | None = None  # None: inherited; empty: an empty environment
    timeout: Annotated[int, Meta(ge=1)] | None = None  # seconds


class Hooks(Object, frozen=True, kw_only=True):
    """All hooks.  OCI config.md "POSIX-platform Hooks"."""

    prestart: tuple[Hook, ...] = ()  # deprecated; runs before create_runtime
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class Spec(Object, frozen=True, kw_only=True):
    """A whole ``config.json``; the ``with_...`` methods return a changed copy."""

    oci_version: str
    """Version of the specification that it follows: 1.x.y."""
    process: Process | None = None
    """What `start` runs: needed to create a container, as `root` is."""
    root: Root | None = None
    hostname: str = ""
    """Needs a uts namespace of its own; so does `domainname`."""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    """In the order in which they are made."""
    hooks: Hooks | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Kept in the state, for hooks and callers; some mean something to a runtime."""
    linux: Linux | None = None

    @classmethod
    def default(cls, args: Sequence[str], *, rootfs: str) -> "Spec":
        """Return the default configuration for a program: that of ``runc spec``, without a terminal."""
        from .default import default_spec  # which builds on this module

        return default_spec(args, rootfs=rootfs, terminal=False)

    @classmethod
    def load(cls, bundle: str | os.PathLike[str], name: str = "config.json") -> Self:
        """Read the ``config.json`` of a bundle, once, or the file of this *name* in it."""
        with open(os.path.join(bundle, name), "rb") as file:
            return cls.decode(file.read(MAX_BYTES + 1))

    @classmethod
    def decode(cls, data: bytes | str) -> Self:
        """Decode a ``config.json``; SpecError has the address of what is wrong."""
        return decode_document(data, cls)

    def encode(self) -> bytes:
        """Encode as JSON; `decode` gives an equal value again."""
        return encode(self)

    def with_args(self, args: Sequence[str]) -> Self:
        """Run another program."""
        return self._with_process(args=words(args))

    def with_env(self, variables: Mapping[str, str] | None = None, /, **more: str) -> Self:
        """Set environment variables; those of the same name give way."""
        added = {**(variables or {}), **more}
        kept = (entry for entry in self._process().env if entry.partition("=")[0] not in added)
        return self._with_process(env=(*kept, *(f"{name}={value}" for name, value in added.items())))

    def with_user(self, uid: int, gid: int, *, additional_gids: Sequence[int] = ()) -> Self:
        """Run as this user, in ids of the container."""
        umask = self._process().user.umask
        user = User(uid=uid, gid=gid, umask=umask, additional_gids=tuple(additional_gids))
        return self._with_process(user=user)

    def with_hostname(self, hostname: str) -> Self:
        """Name the machine that the container sees."""
        return replace(self, hostname=hostname)

    def with_mount(self, *mounts: Mount) -> Self:
        """Add mounts, after those there are."""
        return replace(self, mounts=(*self.mounts, *mounts))

    def with_annotation(self, key: str, value: str) -> Self:
        """Set an annotation."""
        return replace(self, annotations={**self.annotations, key: value})

    def with_default_seccomp(self, *, machine: str | None = None) -> Self:
        """Filter system calls by the default profile, for the capabilities that the process has.

        *machine* as uname(2) says it, by default this one's.
        """
        from .default_seccomp import default_seccomp  # only those who use it pay for it

        held = self._process().capabilities
        profile = default_seccomp(None if held is None else held.bounding, machine=machine)
        return replace(self, linux=replace(self.linux or Linux(), seccomp=profile))

    def with_resources(self, resources: Resources) -> Self:
        """Set the limits of its cgroup; rules for devices stay unless *resources* have some."""
        linux = self.linux or Linux()
        if resources.devices is None and linux.resources is not None:
            resources = replace(resources, devices=linux.resources.devices)
        return replace(self, linux=replace(linux, resources=resources))

    def with_limits(
        self,
        *,
        memory: int | str | None = None,
        swap: int | str | None = None,
        pids: int | None = None,
        cpus: float | None = None,
    ) -> Self:
        """Limit memory ("256M" or bytes), memory with swap, the number of tasks, CPUs (0.5: half of one).

        -1 takes a limit away, None leaves it alone.  Raises `SpecError` with the name of the argument.
        """
        from .sizes import with_limits  # which builds on this module's

        had = (self.linux and self.linux.resources) or Resources()
        return self.with_resources(with_limits(had, memory=memory, swap=swap, pids=pids, cpus=cpus))

    def with_systemd_property(self, name: str, value: object) -> Self:
        """Set a property of the container's unit, by an annotation.

        The value gets the type that the property has; `gvariant.Variant` gives it another, and
        `gvariant.parse` makes one of text.  Raises `GVariantError` for a value not of that type.
        """
        from .unit_properties import property_text  # only those who use it pay for it

        return self.with_annotation(SYSTEMD_PROPERTY + name, property_text(name, value))

    def _process(self) -> Process:
        return self.process or Process(cwd="/")

    def _with_process(self, **changes: object) -> Self:
        return replace(self, process=replace(self._process(), **changes))
