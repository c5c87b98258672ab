"""What this build can do, as the OCI's features document; made of the tables that the parsers read.

The document tells what can be asked of the program: whether the machine has it is found out when it
is asked.  Only the flags of filters are also asked of the kernel, because the document says so.
OCI features.md, features-linux.md.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Final, get_args

from . import __version__
from .plan.flags import SECCOMP_FLAG_NEW_LISTENER, SECCOMP_FLAGS
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
    "org.aiocontainer.checkpoint.enabled": "true",
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
        cgroup=CgroupFeatures(v1=True, v2=True, systemd=True, systemd_user=True, rdma=True),
        seccomp=SeccompFeatures(
            enabled=True,
            actions=get_args(SeccompAction),
            operators=get_args(SeccompOperator),
            archs=get_args(SeccompArch),
            known_flags=get_args(SeccompFlag),
            supported_flags=tuple(
                each for each in get_args(SeccompFlag) if _is_supported(SECCOMP_FLAGS[each])
            ),
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


_SET_MODE_FILTER: Final = 1
_NUMBERS: Final[Mapping[str, int]] = {
    "x86_64": 317,
    **dict.fromkeys(("aarch64", "riscv64", "loongarch64"), 277),
    "ppc64le": 358,
    "s390x": 348,
    "i686": 354,
    "armv7l": 383,
}
"""Of seccomp(2), by machine.  Our own library would bring an event loop along."""


def _is_supported(flag: int) -> bool:
    """Whether the kernel knows a flag of filters: then it is the missing filter that it complains of.

    One of them is about the listener, and refused without.  seccomp(2)
    """
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (flag, flag | SECCOMP_FLAG_NEW_LISTENER):
        libc.syscall(ctypes.c_long(number), ctypes.c_long(_SET_MODE_FILTER), ctypes.c_long(flags), None)
        if ctypes.get_errno() == errno.EFAULT:
            return True
    return False


def _is_known(word: str) -> bool:
    """Whether a mount option is more than a word that is refused with a reason."""
    return not MOUNT_OPTIONS[word].needs
