"""The steps a plan is made of: what the helper will do, one class per opcode of ``wire.h``.

A step is data: it keeps the place in ``config.json`` that asked for it (`origin`), says in one
line what it does (`str`), and gives the fields of its wire record (`record`).  Descriptors are
named by index into `Plan.fds`; -1 is none.
"""

from __future__ import annotations

from .steps_base import NO_FD, Record, Step
from .steps_hook import Hook
from .steps_label import FileLabel, Label
from .steps_mount import (
    Bind,
    Console,
    Device,
    Mask,
    Mount,
    Pivot,
    Procfs,
    Propagation,
    ReadOnly,
    Rootfs,
    SetAttr,
    Symlink,
    VerifyMounts,
)
from .steps_ns import (
    Domainname,
    Fork,
    Gate,
    Hostname,
    JoinCgroup,
    JoinNamespace,
    Keyring,
    Loopback,
    NamespaceRoot,
    OomScore,
    Pause,
    Reset,
    SetSid,
    Sysctl,
    TimeNamespace,
    Unshare,
    VerifyNamespace,
)
from .steps_process import (
    Bounding,
    Capabilities,
    Credentials,
    Cwd,
    Exec,
    NoNewPrivs,
    PassFd,
    Program,
    Rlimit,
    Seccomp,
    Umask,
)
from .steps_tuning import Affinity, IoPriority, MemoryPolicy, Personality, Scheduler

__all__ = [
    "NO_FD",
    "Record",
    "Step",
    # dialogue
    "Pause",
    "Gate",
    "Fork",
    # namespaces and placement
    "JoinCgroup",
    "JoinNamespace",
    "VerifyNamespace",
    "Unshare",
    "TimeNamespace",
    "NamespaceRoot",
    "OomScore",
    "Loopback",
    "Hostname",
    "Domainname",
    "SetSid",
    "Keyring",
    "Reset",
    "Sysctl",
    # root file system
    "Propagation",
    "Procfs",
    "Rootfs",
    "Mount",
    "Bind",
    "SetAttr",
    "Device",
    "Symlink",
    "Mask",
    "ReadOnly",
    "Pivot",
    "VerifyMounts",
    "Console",
    # the process
    "PassFd",
    "Rlimit",
    "Umask",
    "Bounding",
    "Credentials",
    "Capabilities",
    "Cwd",
    "NoNewPrivs",
    "Program",
    "Exec",
    "Seccomp",
    # programs of others
    "Hook",
    # what it gets of the machine
    "Affinity",
    "Scheduler",
    "IoPriority",
    "MemoryPolicy",
    "Personality",
    # security modules
    "Label",
    "FileLabel",
]
