# ruff: noqa: D102 - record() and advice() are told by Step
"""Steps that hand labels of security modules to the kernel."""

from __future__ import annotations

import errno as _errno
from typing import ClassVar, Final

from .flags import LABEL_APPARMOR_EXEC, LABEL_SELINUX_EXEC, LABEL_SELINUX_KEYS
from .steps_base import Record, Step

__all__ = ["FileLabel", "Label"]

_KINDS: Final = {
    LABEL_APPARMOR_EXEC: "confine the program by AppArmor profile",
    LABEL_SELINUX_EXEC: "give the program SELinux label",
    LABEL_SELINUX_KEYS: "give new keys SELinux label",
}


class Label(Step, frozen=True):
    """Have the kernel put a label on what comes; `kind` is one of LABEL_*, "" takes it back."""

    op: ClassVar[int] = 85
    kind: int
    label: str

    def record(self) -> Record:
        return Record(a=self.kind, strings=(self.label,))

    def advice(self, errno: int) -> str:
        if errno == _errno.ENOENT:
            return "no such profile is loaded"
        if errno == _errno.EINVAL:
            return "the policy has no such label"
        if errno == _errno.EACCES:
            return "the policy does not let us change to it"
        return "another label came to be in force" if errno == _errno.EXDEV else ""

    def __str__(self) -> str:
        return f"{_KINDS[self.kind]} {self.label or 'of the policy'}"


class FileLabel(Step, frozen=True):
    """Label the root of a mount made before, whose file system takes no label when it is mounted."""

    op: ClassVar[int] = 86
    target: str
    label: str

    def record(self) -> Record:
        return Record(strings=(self.target, self.label))

    def __str__(self) -> str:
        return f"give {self.target} SELinux label {self.label}"
