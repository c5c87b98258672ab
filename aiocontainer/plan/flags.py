"""Numbers of the kernel and of ``wire.h`` by name: one table for each kind.

The parsers, the listing and what is sent to the helper all read these tables.  Values are part of
the kernel's ABI for every architecture that it supports, so they need no compiler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from ..spec import Capability, RlimitType

if TYPE_CHECKING:
    from collections.abc import Mapping

# mount_setattr(2).  The atime modes are values of one three-bit field, not flags.
MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_NODEV: Final = 0x4
MOUNT_ATTR_NOEXEC: Final = 0x8
MOUNT_ATTR_ATIME: Final = 0x70
MOUNT_ATTR_RELATIME: Final = 0x0
MOUNT_ATTR_NOATIME: Final = 0x10
MOUNT_ATTR_STRICTATIME: Final = 0x20
MOUNT_ATTR_NODIRATIME: Final = 0x80
MOUNT_ATTR_NOSYMFOLLOW: Final = 0x200000

# What the listing calls them: the option that sets the flag, the option that clears it.
ATTR_WORDS: Final = (
    (MOUNT_ATTR_RDONLY, "ro", "rw"),
    (MOUNT_ATTR_NOSUID, "nosuid", "suid"),
    (MOUNT_ATTR_NOEXEC, "noexec", "exec"),
    (MOUNT_ATTR_NODEV, "nodev", "dev"),
    (MOUNT_ATTR_NODIRATIME, "nodiratime", "diratime"),
    (MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"),
)
ATIME_WORDS: Final[Mapping[int, str]] = {
    MOUNT_ATTR_RELATIME: "relatime",
    MOUNT_ATTR_NOATIME: "noatime",
    MOUNT_ATTR_STRICTATIME: "strictatime",
}

# mount(2): propagation.
MS_REC: Final = 1 << 14
MS_UNBINDABLE: Final = 1 << 17
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20

PROPAGATION: Final[Mapping[str, int]] = {
    "private": MS_PRIVATE,
    "slave": MS_SLAVE,
    "shared": MS_SHARED,
    "unbindable": MS_UNBINDABLE,
    "rprivate": MS_PRIVATE | MS_REC,
    "rslave": MS_SLAVE | MS_REC,
    "rshared": MS_SHARED | MS_REC,
    "runbindable": MS_UNBINDABLE | MS_REC,
}

# clone(2).
CLONE_NEWTIME: Final = 0x80
CLONE_NEWNS: Final = 0x20000
CLONE_NEWCGROUP: Final = 0x2000000
CLONE_NEWUTS: Final = 0x4000000
CLONE_NEWIPC: Final = 0x8000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

# OCI names, in the order in which they are joined: the user namespace first, because it gives the
# right to join the others, the mount namespace last, because it takes the paths away.
NAMESPACES: Final[Mapping[str, int]] = {
    "user": CLONE_NEWUSER,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "network": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
    "mount": CLONE_NEWNS,
}

# capabilities(7): the document's list is in the order of the numbers.
CAPABILITIES: Final[Mapping[str, int]] = {name: number for number, name in enumerate(get_args(Capability))}
CAP_SETGID: Final = CAPABILITIES["CAP_SETGID"]
CAP_SETPCAP: Final = CAPABILITIES["CAP_SETPCAP"]
CAP_SYS_ADMIN: Final = CAPABILITIES["CAP_SYS_ADMIN"]
CAP_SYS_RESOURCE: Final = CAPABILITIES["CAP_SYS_RESOURCE"]
CAP_MKNOD: Final = CAPABILITIES["CAP_MKNOD"]

# setrlimit(2): the same.
RLIMITS: Final[Mapping[str, int]] = {name: number for number, name in enumerate(get_args(RlimitType))}
RLIM_INFINITY: Final = 2**64 - 1

# stat(2): the types of device nodes that mknod(2) makes.
S_IFIFO: Final = 0o010000
S_IFCHR: Final = 0o020000
S_IFBLK: Final = 0o060000

# seccomp(2): flags of a filter, and what it returns.
SECCOMP_FLAG_TSYNC: Final = 1
SECCOMP_FLAG_LOG: Final = 2
SECCOMP_FLAG_SPEC_ALLOW: Final = 4
SECCOMP_FLAG_NEW_LISTENER: Final = 8
SECCOMP_FLAG_WAIT_KILLABLE: Final = 32

SECCOMP_FLAGS_SINCE_5_12: Final = (
    SECCOMP_FLAG_TSYNC | SECCOMP_FLAG_LOG | SECCOMP_FLAG_SPEC_ALLOW | SECCOMP_FLAG_NEW_LISTENER
)

SECCOMP_FLAGS: Final[Mapping[str, int]] = {
    "SECCOMP_FILTER_FLAG_TSYNC": SECCOMP_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": SECCOMP_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SECCOMP_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": SECCOMP_FLAG_WAIT_KILLABLE,
}

SECCOMP_RET_KILL_PROCESS: Final = 0x80000000
SECCOMP_RET_KILL_THREAD: Final = 0
SECCOMP_RET_TRAP: Final = 0x00030000
SECCOMP_RET_ERRNO: Final = 0x00050000
SECCOMP_RET_NOTIFY: Final = 0x7FC00000
SECCOMP_RET_TRACE: Final = 0x7FF00000
SECCOMP_RET_LOG: Final = 0x7FFC0000
SECCOMP_RET_ALLOW: Final = 0x7FFF0000
SECCOMP_RET_ACTION: Final = 0xFFFF0000
SECCOMP_RET_DATA: Final = 0xFFFF

SECCOMP_ACTIONS: Final[Mapping[str, int]] = {
    "SCMP_ACT_KILL": SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": SECCOMP_RET_KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_TRAP": SECCOMP_RET_TRAP,
    "SCMP_ACT_ERRNO": SECCOMP_RET_ERRNO,
    "SCMP_ACT_TRACE": SECCOMP_RET_TRACE,
    "SCMP_ACT_ALLOW": SECCOMP_RET_ALLOW,
    "SCMP_ACT_LOG": SECCOMP_RET_LOG,
    "SCMP_ACT_NOTIFY": SECCOMP_RET_NOTIFY,
}
SECCOMP_WITH_ERRNO: Final = (SECCOMP_RET_ERRNO, SECCOMP_RET_TRACE)
"""Actions that have a number as their data."""

BPF_MAXINSNS: Final = 4096

# wire.h.
WIRE_MAX_STEPS: Final = 4096
WIRE_MAX_FDS: Final = 240
WIRE_MAX_MOUNTS: Final = 1024
WIRE_MAX_TEXT: Final = 4096

PAUSE_MAPS: Final = 1
PAUSE_CGROUP: Final = 2
PAUSE_CONSOLE: Final = 3
PAUSE_CREATED: Final = 4
PAUSE_HOOKS: Final = 5
PAUSE_NETWORK: Final = 6
PAUSE_READY: Final = 7

LABEL_APPARMOR_EXEC: Final = 1
LABEL_SELINUX_EXEC: Final = 2
LABEL_SELINUX_KEYS: Final = 3

RESET_SIGNALS: Final = 1
RESET_AFFINITY: Final = 2
RESET_SCHEDULER: Final = 4
RESET_PERSONALITY: Final = 8
RESET_MEMPOLICY: Final = 16
RESET_ALL: Final = 31

MOUNT_MAKE_DIR: Final = 1
MOUNT_MAKE_FILE: Final = 2
MOUNT_RECURSIVE: Final = 4
MOUNT_SETATTR_RECURSIVE: Final = 8
MOUNT_OPTIONAL: Final = 16
MOUNT_PROCFS: Final = 32
MOUNT_KEEP_MODE: Final = 64
MOUNT_RDONLY_SB: Final = 128
MOUNT_DEVICE_NODE: Final = 256
MOUNT_COPY_UP: Final = 512
MOUNT_KEEP_OWNER: Final = 1024
MOUNT_SOURCE_NOFOLLOW: Final = 2048
MOUNT_TARGET_NOFOLLOW: Final = 4096
MOUNT_COPY_LINK: Final = 8192

ROOTFS_CLONE: Final = 0
ROOTFS_OPEN: Final = 1
ROOTFS_THROWAWAY: Final = 2
ROOTFS_LAYERS: Final = 3

PIVOT_ROOT: Final = 0
PIVOT_MOVE: Final = 1
PIVOT_CHROOT: Final = 2


def attr_words(added: int, cleared: int = 0) -> list[str]:
    """Mount attributes as the options that ask for them."""
    words = []
    for flag, on, off in ATTR_WORDS:
        if added & flag:
            words.append(on)
        elif cleared & flag:
            words.append(off)
    # A mount made new has relatime unless told otherwise: worth a word only where it was asked for.
    if added & MOUNT_ATTR_ATIME or cleared & MOUNT_ATTR_ATIME:
        words.append(ATIME_WORDS.get(added & MOUNT_ATTR_ATIME, "atime?"))
    return words


def namespace_words(flags: int) -> str:
    """Which namespaces CLONE_NEW* flags name."""
    return ", ".join(name for name, flag in NAMESPACES.items() if flags & flag)


def propagation_words(flags: int) -> list[str]:
    """Propagation as the option that asks for it; none for 0."""
    return [name for name, value in PROPAGATION.items() if value == flags]


def seccomp_words(action: int) -> str:
    """Answer of a filter as the document says it: "ERRNO 1"."""
    kind, data = action & SECCOMP_RET_ACTION, action & SECCOMP_RET_DATA
    names = {value: name for name, value in SECCOMP_ACTIONS.items()}
    word = names[kind].removeprefix("SCMP_ACT_")
    return f"{word} {data}" if kind in SECCOMP_WITH_ERRNO else word


def capability_words(mask: int) -> str:
    """Names of a capability set, short and lower case; of a long set, what is missing."""
    names = [(name.removeprefix("CAP_").lower(), mask >> number & 1) for name, number in CAPABILITIES.items()]
    have = [name for name, held in names if held]
    missing = [name for name, held in names if not held]
    if not have:
        return "none"
    if not missing:
        return "all"
    return ", ".join(have) if len(have) <= len(missing) else f"all but {', '.join(missing)}"
