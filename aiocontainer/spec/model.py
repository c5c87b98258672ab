"""The configuration of a container as a whole.  OCI config.md."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, field

from .base import Object
from .linux import IDMapping, Linux
from .process import Process

__all__ = ["Hook", "Hooks", "Mount", "Root", "Spec"]


class Root(Object, frozen=True, kw_only=True):
    """The root filesystem; a relative `path` is under the bundle."""

    path: str
    readonly: bool = False


class Mount(Object, frozen=True, kw_only=True):
    """One mount, made in the order of the list.  OCI config.md "Mounts"."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()


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
    """A whole ``config.json``."""

    oci_version: str
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    linux: Linux | None = None
