"""The steps a plan is made of: what the helper will do, one class per opcode of ``wire.h``.

A step is data: it keeps the place in ``config.json`` that asked for it (`origin`), says in one
line what it does (`str`), and gives the fields of its wire record (`record`).  Descriptors are
named by index into `Plan.fds`; -1 is none.
"""

from __future__ import annotations

import struct
from typing import ClassVar, NamedTuple

from msgspec import Struct

from .flags import attr_words, namespace_words, propagation_words

__all__ = ["Record", "Step"]  # extended below, class by class


class Record(NamedTuple):
    """The fields of a ``struct wire_step``; see ``wire.h`` for what each opcode takes."""

    fd: int = -1
    a: int = 0
    b: int = 0
    c: int = 0
    strings: tuple[str, ...] = ()
    data: bytes = b""


class Step(Struct, frozen=True):
    """Base of all steps."""

    op: ClassVar[int] = 0
    origin: str

    def record(self) -> Record:
        """The wire fields."""
        return Record()


# ... (classes follow: Pause, Gate, Fork, JoinCgroup, JoinNamespace, VerifyNamespace, Unshare, TimeNamespace, NamespaceRoot, OomScore,
# Loopback, Hostname, Domainname, SetSid, Keyring, Reset, Sysctl, Propagation, Procfs, Rootfs, Mount, Bind,
# SetAttr, Device, Symlink, Mask, ReadOnly, Pivot, VerifyMounts, Console, PassFd, Rlimit, Umask, Bounding,
# Credentials, Capabilities, Cwd, NoNewPrivs, Program, Exec)


class Rlimit(Step, frozen=True):
    """One resource limit; 2**64 - 1 is infinity."""

    op: ClassVar[int] = 51
    resource: int
    name: str
    soft: int
    hard: int

    def record(self) -> Record:
        return Record(a=self.resource, b=self.soft, c=self.hard)

    def __str__(self) -> str:
        return f"limit {self.name} to {self.soft}, at most {self.hard}"
