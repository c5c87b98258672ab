"""The features document: what this runtime can do.  OCI features.md, features-linux.md."""

from collections.abc import Mapping

from msgspec import field

from .base import Object
from .linux import MemoryPolicyFlag, MemoryPolicyMode, NamespaceType
from .seccomp import SeccompAction, SeccompArch, SeccompFlag, SeccompOperator

__all__ = [
    "CgroupFeatures",
    "Feature",
    "Features",
    "IntelRdtFeatures",
    "LinuxFeatures",
    "MemoryPolicyFeatures",
    "MountExtensions",
    "SeccompFeatures",
]


class Feature(Object, frozen=True, kw_only=True):
    """Something that is there or not; None is unknown."""

    enabled: bool | None = None


class IntelRdtFeatures(Feature, frozen=True, kw_only=True):
    """Members of `intelRdt` that not every runtime has."""

    schemata: bool | None = None
    monitoring: bool | None = None


class MemoryPolicyFeatures(Object, frozen=True, kw_only=True):
    """The words of a memory policy."""

    modes: tuple[MemoryPolicyMode, ...] = ()
    flags: tuple[MemoryPolicyFlag, ...] = ()


class CgroupFeatures(Object, frozen=True, kw_only=True):
    """Cgroup versions and drivers."""

    v1: bool | None = None
    v2: bool | None = None
    systemd: bool | None = None
    systemd_user: bool | None = None
    rdma: bool | None = None


class SeccompFeatures(Object, frozen=True, kw_only=True):
    """The words that a filter may use; `supported_flags` are those of the kernel, too."""

    enabled: bool | None = None
    actions: tuple[SeccompAction, ...] = ()
    operators: tuple[SeccompOperator, ...] = ()
    archs: tuple[SeccompArch, ...] = ()
    known_flags: tuple[SeccompFlag, ...] = ()
    supported_flags: tuple[SeccompFlag, ...] = ()


class MountExtensions(Object, frozen=True, kw_only=True):
    """Mount features beyond options."""

    idmap: Feature | None = None


class LinuxFeatures(Object, frozen=True, kw_only=True):
    """What only Linux has."""

    namespaces: tuple[NamespaceType, ...] | None = None
    capabilities: tuple[str, ...] | None = None
    cgroup: CgroupFeatures | None = None
    seccomp: SeccompFeatures | None = None
    apparmor: Feature | None = None
    selinux: Feature | None = None
    intel_rdt: IntelRdtFeatures | None = None
    memory_policy: MemoryPolicyFeatures | None = None
    mount_extensions: MountExtensions | None = None
    net_devices: Feature | None = None


class Features(Object, frozen=True, kw_only=True):
    """What ``features`` prints."""

    oci_version_min: str
    oci_version_max: str
    hooks: tuple[str, ...] | None = None
    mount_options: tuple[str, ...] | None = None
    linux: LinuxFeatures | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    potentially_unsafe_config_annotations: tuple[str, ...] = ()
