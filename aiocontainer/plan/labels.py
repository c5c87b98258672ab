"""Labels of security modules: AppArmor and SELinux.  OCI config.md "Process", config-linux.md "Mount Label".

A label for a module that the machine does not have is refused: to go without would mean to run
unconfined what was to be confined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import UnsupportedError
from .flags import LABEL_APPARMOR_EXEC, LABEL_SELINUX_EXEC, LABEL_SELINUX_KEYS
from .steps import FileLabel, Label, Procfs, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..spec import Process
    from .draft import Draft
    from .host import Host

__all__ = [
    "has_labels",
    "key_steps",
    "label_steps",
    "mask_label",
    "mount_context",
    "mount_label_steps",
    "procfs_steps",
]

_MOUNT_ORIGIN: Final = "$.linux.mountLabel"

# Whose files the policy labels by itself; those of a message queue get theirs when it is mounted.
_UNLABELLED: Final = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "mqueue"})

_CONTEXTS: Final = ("context", "fscontext", "defcontext", "rootcontext")


def has_labels(process: Process) -> bool:
    """Whether a step will write labels, for which it needs a procfs of its own."""
    return bool(process.apparmor_profile or process.selinux_label)


def label_steps(process: Process, host: Host, origin: str) -> Iterator[Step]:
    """Yield what confines the program, from its first instruction; *origin* is the address of *process*."""
    profile, label = process.apparmor_profile, process.selinux_label
    if profile:
        _refuse(host.apparmor, f"AppArmor profile {profile!r}", "AppArmor", f"{origin}.apparmorProfile")
        yield Label(f"{origin}.apparmorProfile", LABEL_APPARMOR_EXEC, profile)
    if label:
        _refuse(host.selinux, f"SELinux label {label!r}", "SELinux", f"{origin}.selinuxLabel")
        yield Label(f"{origin}.selinuxLabel", LABEL_SELINUX_EXEC, label)


def key_steps(process: Process, origin: str, keyring: Step) -> Iterator[Step]:
    """Yield *keyring* between the steps that give it the label of the process, if there is one."""
    if process.selinux_label:
        yield Label(f"{origin}.selinuxLabel", LABEL_SELINUX_KEYS, process.selinux_label)
        yield keyring
        yield Label(f"{origin}.selinuxLabel", LABEL_SELINUX_KEYS, "")
    else:
        yield keyring


def procfs_steps(process: Process) -> Iterator[Step]:
    """Yield the step that takes a procfs of our own, if labels are to be written."""
    if has_labels(process):
        yield Procfs("")


def mount_context(draft: Draft, fstype: str, options: Sequence[str]) -> tuple[str, ...]:
    """Return the option that labels a new file system; none where the mount has one of its own."""
    label = _mount_label(draft)
    own = any(option.partition("=")[0] in _CONTEXTS for option in options)
    return (f"context={label}",) if label and not own and fstype not in _UNLABELLED else ()


def mount_label_steps(draft: Draft, fstype: str, target: str) -> Iterator[Step]:
    """Yield the step that labels a file system afterwards."""
    label = _mount_label(draft)
    if label and fstype == "mqueue":
        yield FileLabel(_MOUNT_ORIGIN, target, label)


def mask_label(draft: Draft) -> str:
    """Return the label of what covers masked directories; "" is none."""
    return _mount_label(draft)


def _mount_label(draft: Draft) -> str:
    label = draft.linux.mount_label
    if label:
        _refuse(draft.host.selinux, f"SELinux label {label!r}", "SELinux", _MOUNT_ORIGIN)
    return label


def _refuse(here: bool, feature: str, needs: str, origin: str) -> None:
    if not here:
        raise UnsupportedError(feature, needs=needs, origin=origin)
