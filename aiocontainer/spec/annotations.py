"""Annotations that mean something to a runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ANNOTATIONS",
    "HOOK_STDERR",
    "HOOK_STDOUT",
    "SYSTEMD_PROPERTY",
    "SYSTEMD_SUBGROUP",
    "UNSAFE_ANNOTATIONS",
]

SYSTEMD_PROPERTY = "org.systemd.property."  # runc systemd-properties.md

HOOK_STDOUT = "run.oci.hooks.stdout"  # crun.1 "OCI EXTENSIONS"
HOOK_STDERR = "run.oci.hooks.stderr"
SYSTEMD_SUBGROUP = "run.oci.systemd.subgroup"

# Whoever may set these, as an image does whose labels become annotations, may weaken isolation or
# mislead others.  A name that ends with a dot stands for all that begin with it.
ANNOTATIONS: Mapping[str, str] = {
    "bundle": "reserved: engines take it for the path of the bundle",
    HOOK_STDOUT: "file of the machine to which hooks outside of the container append their output",
    HOOK_STDERR: "the same for their errors",
    "org.criu.config": "a file of options for a checkpoint",
    SYSTEMD_SUBGROUP: "name of a cgroup below the container's scope, in which its processes live",
    SYSTEMD_PROPERTY: "what the service manager does with the container's unit",
}
"""Annotations that mean something to a runtime, and what."""

UNSAFE_ANNOTATIONS = tuple(ANNOTATIONS)
