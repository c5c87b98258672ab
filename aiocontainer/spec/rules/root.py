"""Rules of what stands outside ``process`` and ``linux``: version, root, mounts, hooks, annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._lazy import pattern
from ...errors import SpecError
from .idmaps import map_problems
from .shared import absolute, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model import Hook, Hooks, Mount, Spec
    from .shared import Problems

__all__ = ["root_problems", "root_warnings"]

# https://semver.org, with everything that may follow the three numbers left alone.
_VERSION = pattern(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:[-+][0-9A-Za-z.+-]+)?")
_MAJOR, _MINOR = 1, 3

_NAME_BYTES = 64  # __NEW_UTS_LEN.  sethostname(2)


def root_problems(spec: Spec) -> Problems:
    """Everything wrong at the top of the document."""
    yield from _version(spec.oci_version)
    for origin, name in (("$.hostname", spec.hostname), ("$.domainname", spec.domainname)):
        if len(name.encode()) > _NAME_BYTES:
            yield SpecError(f"longer than {_NAME_BYTES} bytes", origin=origin)
    if "" in spec.annotations:
        yield SpecError("a key is empty", origin='$.annotations[""]')
    if spec.root is None:
        yield SpecError("required, and missing", origin="$.root")
    elif not spec.root.path:
        yield SpecError("required, and empty", origin="$.root.path")
    for index, mount in enumerate(spec.mounts):
        yield from _mount(mount, f"$.mounts[{index}]")
    if spec.hooks:
        yield from _hooks(spec.hooks)


def root_warnings(spec: Spec) -> Iterator[str]:
    """Everything odd at the top of the document."""
    version = _VERSION.fullmatch(spec.oci_version)
    if version and int(version[2]) > _MINOR:
        yield f"$.ociVersion: newer than {_MAJOR}.{_MINOR}: properties that came since are ignored"
    private_ipc = bool(spec.linux and spec.linux.namespace("ipc"))
    for index, mount in enumerate(spec.mounts):
        if not mount.destination.startswith("/"):
            yield f"$.mounts[{index}].destination: relative, taken from the root of the container"
        if mount.type == "mqueue" and not private_ipc:
            yield f"$.mounts[{index}]: shows the message queues of the host, without an ipc namespace"


def _version(text: str) -> Problems:
    version = _VERSION.fullmatch(text)
    if not version:
        yield SpecError(f"{text!r} is not a semantic version", origin="$.ociVersion")
    elif int(version[1]) != _MAJOR:
        yield SpecError(f"{text} is not a version {_MAJOR}", origin="$.ociVersion")


def _mount(mount: Mount, origin: str) -> Problems:
    if not mount.destination:
        yield SpecError("required, and empty", origin=f"{origin}.destination")
    bind = mount.type == "bind" or not {"bind", "rbind"}.isdisjoint(mount.options)
    if bind and not mount.source:
        yield SpecError("a bind mount needs one", origin=f"{origin}.source")
    if mount.uid_mappings or mount.gid_mappings:
        yield from _mapped_mount(mount, bind, origin)


def _mapped_mount(mount: Mount, bind: bool, origin: str) -> Problems:
    for name, entries in (("uidMappings", mount.uid_mappings), ("gidMappings", mount.gid_mappings)):
        if not entries:
            yield SpecError("maps of users and of groups go together", origin=f"{origin}.{name}")
        elif not bind:
            yield SpecError("only a bind mount can be mapped", origin=f"{origin}.{name}")
        yield from map_problems(entries, f"{origin}.{name}")


def _hooks(hooks: Hooks) -> Problems:
    for attribute, name in zip(hooks.__struct_fields__, hooks.__struct_encode_fields__, strict=True):
        each: tuple[Hook, ...] = getattr(hooks, attribute)
        for index, hook in enumerate(each):
            yield from absolute(hook.path, f"$.hooks.{name}[{index}].path")
            yield from environment(hook.env or (), f"$.hooks.{name}[{index}].env")
