"""What this build can do, as the OCI's features document; made of the tables that the parsers read.

The document tells what can be asked of the program: whether the machine has it is found out when it
is asked.  OCI features.md, features-linux.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from . import __version__
from .plan.hooks import HookKind
from .plan.mount_options import MOUNT_OPTIONS
from .spec import (
    CAPABILITIES,
    OCI_VERSION,
    OCI_VERSION_MIN,
    UNSAFE_ANNOTATIONS,
    CgroupFeatures,
    Feature,
    Features,
    IntelRdtFeatures,
    LinuxFeatures,
    MemoryPolicyFeatures,
    MemoryPolicyFlag,
    MemoryPolicyMode,
    MountExtensions,
    NamespaceType,
    SeccompAction,
    SeccompArch,
    SeccompFeatures,
    SeccompFlag,
    SeccompOperator,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["features"]

_ANNOTATIONS: Final[Mapping[str, str]] = {
    "org.aiocontainer.version": __version__,
    "org.aiocontainer.checkpoint.enabled": "false",
}


def features() -> Features:
    """Return what this build can do, whatever the machine has.  OCI features.md."""
    return Features(
        oci_version_min=OCI_VERSION_MIN,
        oci_version_max=OCI_VERSION,
        hooks=get_args(HookKind),
        mount_options=tuple(sorted(word for word in MOUNT_OPTIONS if _is_known(word))),
        linux=_linux(),
        annotations=_ANNOTATIONS,
        potentially_unsafe_config_annotations=UNSAFE_ANNOTATIONS,
    )


def _linux() -> LinuxFeatures:
    return LinuxFeatures(
        namespaces=get_args(NamespaceType),
        capabilities=CAPABILITIES,
        cgroup=CgroupFeatures(v1=True, v2=True, systemd=False, systemd_user=False, rdma=False),
        seccomp=SeccompFeatures(
            enabled=True,
            actions=get_args(SeccompAction),
            operators=get_args(SeccompOperator),
            archs=get_args(SeccompArch),
            known_flags=get_args(SeccompFlag),
        ),
        apparmor=Feature(enabled=True),
        selinux=Feature(enabled=True),
        intel_rdt=IntelRdtFeatures(enabled=True, schemata=True, monitoring=True),
        memory_policy=MemoryPolicyFeatures(
            modes=get_args(MemoryPolicyMode), flags=get_args(MemoryPolicyFlag)
        ),
        mount_extensions=MountExtensions(idmap=Feature(enabled=_is_known("idmap"))),
        net_devices=Feature(enabled=True),
    )


def _is_known(word: str) -> bool:
    """Whether a mount option is more than a word that is refused with a reason."""
    return not MOUNT_OPTIONS[word].needs
