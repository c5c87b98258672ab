"""The process of a container, or one more process in it.  OCI config.md "Process"."""

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from msgspec import Meta, field

from .base import Id, Int32, Object, Uint16, Uint64

__all__ = [
    "CAPABILITIES",
    "Capabilities",
    "Capability",
    "ConsoleSize",
    "ExecCPUAffinity",
    "IOPriority",
    "Process",
    "Rlimit",
    "RlimitType",
    "Scheduler",
    "SchedulerFlag",
    "SchedulerPolicy",
    "User",
    "words",
]

# In the order of their numbers, from 0.  capabilities(7)
Capability = Literal[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
]

CAPABILITIES: tuple[Capability, ...] = get_args(Capability)  # the index is the number

# In the order of their numbers on most architectures, from 0; `resource.RLIMIT_*` knows the rest.
RlimitType = Literal[
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
]

SchedulerPolicy = Literal[
    "SCHED_OTHER",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_BATCH",
    "SCHED_ISO",
    "SCHED_IDLE",
    "SCHED_DEADLINE",
]

SchedulerFlag = Literal[
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
]


class ConsoleSize(Object, frozen=True, kw_only=True):
    """Size of the terminal in characters; 16 bits each.  ioctl_tty(2) "TIOCSWINSZ"."""

    height: Uint16
    width: Uint16


class User(Object, frozen=True, kw_only=True):
    """Who runs the process, in ids of the container."""

    # From a factory, and so always written: a config.json shows who it runs as.
    uid: Id = field(default_factory=int)
    gid: Id = field(default_factory=int)
    umask: Annotated[int, Meta(ge=0, le=0o777)] | None = None  # None: 0022
    additional_gids: tuple[Id, ...] = ()


class Capabilities(Object, frozen=True, kw_only=True):
    """The five sets; an absent one is empty.  capabilities(7)."""

    bounding: tuple[Capability, ...] = ()
    effective: tuple[Capability, ...] = ()
    inheritable: tuple[Capability, ...] = ()
    permitted: tuple[Capability, ...] = ()
    ambient: tuple[Capability, ...] = ()


class Rlimit(Object, frozen=True, kw_only=True):
    """One resource limit; 2**64-1 is no limit.  getrlimit(2)."""

    type: RlimitType
    hard: Uint64
    soft: Uint64


class IOPriority(Object, frozen=True, kw_only=True):
    """Class and level (0 highest, 7 lowest) of disk access.  ioprio_set(2)."""

    class_: Literal["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"] = field(name="class")
    priority: Annotated[int, Meta(ge=0, le=7)] | None = None


class Scheduler(Object, frozen=True, kw_only=True):
    """Scheduling policy; which members go with which policy is checked.  sched_setattr(2)."""

    policy: SchedulerPolicy
    nice: Annotated[int, Meta(ge=-20, le=19)] | None = None
    priority: Int32 | None = None
    flags: tuple[SchedulerFlag, ...] = ()
    runtime: Uint64 | None = None  # nanoseconds, as the two below
    deadline: Uint64 | None = None
    period: Uint64 | None = None


class ExecCPUAffinity(Object, frozen=True, kw_only=True):
    """CPU lists for processes started by exec: before and after they join the cgroup."""

    initial: str = ""
    final: str = ""


class Process(Object, frozen=True, kw_only=True):
    """What to run, as whom, with what rights and limits."""

    terminal: bool = False
    console_size: ConsoleSize | None = None  # ignored without a terminal
    user: User = field(default_factory=User)
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str
    capabilities: Capabilities | None = None  # None: exec inherits the container's
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool | None = None  # None: false; exec inherits the container's
    apparmor_profile: str = ""
    oom_score_adj: Annotated[int, Meta(ge=-1000, le=1000)] | None = None  # None: leave as inherited
    selinux_label: str = ""
    io_priority: IOPriority | None = None
    scheduler: Scheduler | None = None
    exec_cpu_affinity: ExecCPUAffinity | None = field(default=None, name="execCPUAffinity")


def words(args: Sequence[str]) -> tuple[str, ...]:
    """Take a command; TypeError for one string, which would become one word per letter."""
    if isinstance(args, str):
        raise TypeError(f"args must be a sequence of strings, not {args!r}")
    return tuple(args)
