"""Rules of namespaces, and of what needs one.  OCI config-linux.md "Namespaces"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import SpecError
from ..linux import Linux, TimeOffsets
from .shared import absolute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..linux import NamespaceType
    from ..model import Spec
    from .shared import Problems

__all__ = ["namespace_problems"]


def namespace_problems(spec: Spec) -> Problems:
    """Everything wrong with the list of namespaces, and what misses one."""
    linux = spec.linux or Linux()
    yield from _list(linux)
    present = {namespace.type for namespace in linux.namespaces}
    for origin, asked, type in _needs(spec, linux):
        if asked and type not in present:
            yield SpecError(f"needs a namespace of type {type}", origin=origin)
    time = linux.namespace("time")
    if _has_offsets(linux) and time and time.path:
        yield SpecError("a time namespace that is joined has its own", origin="$.linux.timeOffsets")


def _list(linux: Linux) -> Problems:
    seen = set()
    for index, namespace in enumerate(linux.namespaces):
        origin = f"$.linux.namespaces[{index}]"
        if namespace.type in seen:
            yield SpecError(f"a second {namespace.type} namespace", origin=f"{origin}.type")
        seen.add(namespace.type)
        if namespace.path:
            yield from absolute(namespace.path, f"{origin}.path")


def _needs(spec: Spec, linux: Linux) -> Iterator[tuple[str, object, NamespaceType]]:
    yield "$.hostname", spec.hostname, "uts"
    yield "$.domainname", spec.domainname, "uts"
    yield "$.mounts", spec.mounts, "mount"
    yield "$.root.readonly", spec.root and spec.root.readonly, "mount"
    yield "$.linux.maskedPaths", linux.masked_paths, "mount"
    yield "$.linux.readonlyPaths", linux.readonly_paths, "mount"
    yield "$.linux.netDevices", linux.net_devices, "network"
    yield "$.linux.uidMappings", linux.uid_mappings, "user"
    yield "$.linux.gidMappings", linux.gid_mappings, "user"
    yield "$.linux.timeOffsets", _has_offsets(linux), "time"


def _has_offsets(linux: Linux) -> bool:
    return linux.time_offsets not in (None, TimeOffsets())
