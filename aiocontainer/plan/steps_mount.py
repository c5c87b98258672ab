# ruff: noqa: D102 - record() is told by Step.record
"""Steps that build the root file system.  Targets are absolute paths inside it."""

from __future__ import annotations

import errno as _errno
import struct
from typing import ClassVar, Final

from .flags import (
    MOUNT_COPY_LINK,
    MOUNT_COPY_UP,
    MOUNT_DEVICE_NODE,
    MOUNT_OPTIONAL,
    MOUNT_RDONLY_SB,
    MOUNT_RECURSIVE,
    MOUNT_SETATTR_RECURSIVE,
    MOUNT_SOURCE_NOFOLLOW,
    MOUNT_TARGET_NOFOLLOW,
    PIVOT_CHROOT,
    PIVOT_MOVE,
    PIVOT_ROOT,
    ROOTFS_CLONE,
    ROOTFS_LAYERS,
    ROOTFS_OPEN,
    ROOTFS_THROWAWAY,
    S_IFBLK,
    S_IFCHR,
    S_IFIFO,
    attr_words,
    propagation_words,
)
from .steps_base import NO_FD, Record, Step, ids

__all__ = [
    "Bind",
    "Console",
    "Device",
    "Mask",
    "Mount",
    "Pivot",
    "Procfs",
    "Propagation",
    "ReadOnly",
    "Rootfs",
    "SetAttr",
    "Symlink",
    "VerifyMounts",
]

_PIVOTS: Final = {
    PIVOT_ROOT: "make it the root (pivot_root)",
    PIVOT_MOVE: "make it the root (move and chroot)",
    PIVOT_CHROOT: "make it the root (chroot alone)",
}
_ROOTS: Final = {
    ROOTFS_CLONE: "file system",
    ROOTFS_OPEN: "directory",
    ROOTFS_THROWAWAY: "file system, under a throw-away layer or read-only",
    ROOTFS_LAYERS: "of layers",
}
_NODE_TYPES: Final = {S_IFCHR: "char", S_IFBLK: "block", S_IFIFO: "fifo"}


def _detail(*words: list[str]) -> str:
    """Options in brackets, or nothing."""
    flat = [word for some in words for word in some]
    return f" ({','.join(flat)})" if flat else ""


def _optional(flags: int) -> str:
    return ", if there" if flags & MOUNT_OPTIONAL else ""


def _locked(errno: int, cleared: int) -> str:
    """Say what EPERM means for a mount of the host in a user namespace: mount_namespaces(7)."""
    if errno != _errno.EPERM or not cleared:
        return ""
    words = ", ".join(attr_words(0, cleared))
    return f"what a mount has on the host is locked in a user namespace: leave out {words} to keep it"


def _place(step: Mount | Bind) -> str:
    return f"{step.target} itself" if step.flags & MOUNT_TARGET_NOFOLLOW else step.target


class Propagation(Step, frozen=True):
    """Set the propagation of "/" (of the new root once it is pivoted to); MS_* flags."""

    op: ClassVar[int] = 30
    flags: int

    def record(self) -> Record:
        return Record(a=self.flags)

    def __str__(self) -> str:
        return f"make / {','.join(propagation_words(self.flags))}"


class Procfs(Step, frozen=True):
    """Take the private procfs handle that later steps write through."""

    op: ClassVar[int] = 31

    def __str__(self) -> str:
        return "take a private procfs handle"


class Rootfs(Step, frozen=True):
    """Attach the root file system at `path`: the passed tree, or what `how`, one of ROOTFS_*, makes of it."""

    op: ClassVar[int] = 32
    path: str
    fd: int = NO_FD
    how: int = ROOTFS_CLONE
    stack: tuple[str, ...] = ()
    """With ROOTFS_LAYERS: source, upper and work directory or "" for both, and layers, the topmost first."""

    def record(self) -> Record:
        return Record(fd=self.fd, a=self.how, strings=(self.path, *self.stack))

    def __str__(self) -> str:
        passed = f" (passed as fd {self.fd})" if self.fd != NO_FD else ""
        layers = f": {', '.join(self.stack[3:])}" if self.stack else ""
        return f"take {self.path} as root {_ROOTS[self.how]}{passed}{layers}"


class Mount(Step, frozen=True):
    """Mount a new file system; `data` are its own options, one "key" or "key=value" each."""

    op: ClassVar[int] = 33
    fstype: str
    source: str
    target: str
    attrs: int = 0
    propagation: int = 0
    flags: int = 0
    data: tuple[str, ...] = ()

    def record(self) -> Record:
        strings = (self.fstype, self.source, self.target, *self.data)
        return Record(a=self.attrs, b=self.propagation, c=self.flags, strings=strings)

    def __str__(self) -> str:
        source = "" if self.source in {self.fstype, "none", ""} else f" from {self.source}"
        superblock = ["ro superblock"] if self.flags & MOUNT_RDONLY_SB else []
        copied = " with what it covers" if self.flags & MOUNT_COPY_UP else ""
        words = _detail(attr_words(self.attrs), superblock, propagation_words(self.propagation), [*self.data])
        return f"mount {self.fstype}{source} on {_place(self)}{copied}{words}{_optional(self.flags)}"


class Bind(Step, frozen=True):
    """Bind `source`, or the tree passed as `fd`, on `target`; other attributes stay as they are.

    With MOUNT_DEVICE_NODE the source must be the device node with the numbers `rdev`.
    """

    op: ClassVar[int] = 34
    source: str
    target: str
    attrs: int = 0
    cleared: int = 0
    propagation: int = 0
    flags: int = 0
    fd: int = NO_FD
    rdev: tuple[int, int] = (0, 0)

    def record(self) -> Record:
        major, minor = self.rdev
        return Record(
            fd=self.fd,
            a=self.attrs | self.cleared << 32,
            b=self.propagation,
            c=self.flags,
            strings=(self.source, self.target),
            data=struct.pack("=Q", major << 32 | minor) if self.flags & MOUNT_DEVICE_NODE else b"",
        )

    def advice(self, errno: int) -> str:
        return _locked(errno, self.cleared)

    def __str__(self) -> str:
        attrs = attr_words(self.attrs, self.cleared)
        if self.flags & MOUNT_SETATTR_RECURSIVE:
            attrs = [f"r{word}" for word in attrs]
        verb = "bind recursively" if self.flags & MOUNT_RECURSIVE else "bind"
        node = f" (device {self.rdev[0]}:{self.rdev[1]})" if self.flags & MOUNT_DEVICE_NODE else ""
        passed = f" (passed as fd {self.fd})" if self.fd != NO_FD else ""
        words = _detail(attrs, propagation_words(self.propagation))
        source = f"link {self.source}" if self.flags & MOUNT_SOURCE_NOFOLLOW else self.source
        if self.flags & MOUNT_COPY_LINK:
            source += " (copied if it is one)"
        return f"{verb} {source}{node}{passed} on {_place(self)}{words}{_optional(self.flags)}"


class SetAttr(Step, frozen=True):
    """Change attributes and propagation of a mount made before, and with `data` its file system."""

    op: ClassVar[int] = 35
    target: str
    attrs: int = 0
    cleared: int = 0
    propagation: int = 0
    flags: int = 0
    data: tuple[str, ...] = ()

    def record(self) -> Record:
        set_and_clear = self.attrs | self.cleared << 32
        strings = (self.target, *self.data)
        return Record(a=set_and_clear, b=self.propagation, c=self.flags, strings=strings)

    def advice(self, errno: int) -> str:
        return _locked(errno, self.cleared)

    def __str__(self) -> str:
        words = attr_words(self.attrs, self.cleared)
        if self.flags & MOUNT_SETATTR_RECURSIVE:
            words = [f"r{word}" for word in words]
        return f"make {self.target} {','.join([*words, *propagation_words(self.propagation), *self.data])}"


class Device(Step, frozen=True):
    """Make a device node; `mode` has its type bits."""

    op: ClassVar[int] = 36
    target: str
    mode: int
    major: int
    minor: int
    uid: int = 0
    gid: int = 0

    def record(self) -> Record:
        numbers = self.major << 32 | self.minor
        return Record(a=self.mode, b=numbers, c=ids(self.uid, self.gid), strings=(self.target,))

    def __str__(self) -> str:
        node = _NODE_TYPES[self.mode & 0o170000]
        numbers = "" if node == "fifo" else f" {self.major}:{self.minor}"
        owner = f", owner {self.uid}:{self.gid}" if self.uid or self.gid else ""
        return f"make node {self.target} ({node}{numbers}, mode {self.mode & 0o7777:04o}{owner})"


class Symlink(Step, frozen=True):
    """Make a symbolic link at `target` that reads `text`; something else there may stay if `optional`."""

    op: ClassVar[int] = 37
    text: str
    target: str
    optional: bool = False

    def record(self) -> Record:
        return Record(c=MOUNT_OPTIONAL if self.optional else 0, strings=(self.text, self.target))

    def __str__(self) -> str:
        return f"link {self.target} to {self.text}" + (", unless there" if self.optional else "")


class Mask(Step, frozen=True):
    """Hide a file or directory, if it is there; `label` is for what covers a directory."""

    op: ClassVar[int] = 38
    target: str
    label: str = ""

    def record(self) -> Record:
        return Record(strings=(self.target, self.label) if self.label else (self.target,))

    def __str__(self) -> str:
        return f"mask {self.target}"


class ReadOnly(Step, frozen=True):
    """Make a path read-only by binding it on itself, if it is there."""

    op: ClassVar[int] = 39
    target: str

    def record(self) -> Record:
        return Record(strings=(self.target,))

    def __str__(self) -> str:
        return f"make {self.target} read-only"


class Pivot(Step, frozen=True):
    """Make the root file system the root; `how` is one of PIVOT_*."""

    op: ClassVar[int] = 40
    how: int = PIVOT_ROOT

    def record(self) -> Record:
        return Record(a=self.how)

    def __str__(self) -> str:
        return _PIVOTS[self.how]


class VerifyMounts(Step, frozen=True):
    """Prove that each mount is still the one at its path."""

    op: ClassVar[int] = 41

    def __str__(self) -> str:
        return "verify that every mount is where it belongs"


class Console(Step, frozen=True):
    """Make a terminal of the container's own devpts the stdio; 0 by 0 leaves its size alone."""

    op: ClassVar[int] = 42
    rows: int
    columns: int
    bind: bool
    uid: int
    gid: int

    def record(self) -> Record:
        size = self.rows << 16 | self.columns
        return Record(a=size, b=int(self.bind), c=ids(self.uid, self.gid))

    def __str__(self) -> str:
        size = f" of {self.columns}x{self.rows}" if self.rows and self.columns else ""
        where = ", also at /dev/console" if self.bind else ""
        return f"make a terminal{size} the stdio{where}, owner {self.uid}:{self.gid}"
