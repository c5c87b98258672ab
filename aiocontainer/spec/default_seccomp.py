"""The filter to begin with: what ordinary programs call, and what capabilities allow anyway.

A list of what is allowed, so that what the kernel learns tomorrow is not.  Equal in coverage to the
default profile of moby and containerd, but for two requests of ioctl(2) that put words into a terminal.
What is denied is what has a history of holes (keyrings, io_uring, userfaultfd, bpf), what reaches
beyond namespaces (kernel modules, clocks, reboot, swap, quotas), and new namespaces, which make all
of the former reachable again.

Names that an architecture does not have mean nothing there, so most of the list is the same everywhere.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from .process import CAPABILITIES
from .seccomp import Seccomp, Syscall, SyscallArg

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from .seccomp import SeccompArch

__all__ = ["default_seccomp"]

_EPERM: Final = 1
_ENOSYS: Final = 38

# What a program of the native architecture can run beside it.  The native one is always meant.
_ARCHITECTURES: Final[Mapping[str, tuple[SeccompArch, ...]]] = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "mips64": ("SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32"),
    "mips64el": ("SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "loongarch64": ("SCMP_ARCH_LOONGARCH64",),
}

_ALLOWED: Final[Mapping[str, str]] = {
    # Names, modes and content; every one of them is checked against the caller's credentials.
    "files": """
        access cachestat chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3
        faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown
        fchown32 fchownat fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
        ftruncate ftruncate64 futimesat getcwd getdents getdents64 lchown lchown32 link linkat _llseek
        lseek lstat lstat64 mkdir mkdirat mknod mknodat newfstatat open openat openat2 pipe pipe2 pread64
        preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat
        renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat
        sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat
        utimensat_time64 utimes vmsplice write writev
    """,
    "attributes": """
        fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat
        llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat
    """,
    # To ask for a handle leaks little; to open one, past all directories, takes a capability below.
    "handles, and the caller's own mounts": "name_to_handle_at listmount statmount",
    "waiting for descriptors": """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
        epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1
        inotify_rm_watch _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd
        signalfd4 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
    """,
    # The old interface; io_uring carries out calls that no filter sees.
    "asynchronous input and output": """
        io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
    """,
    # Without userfaultfd, the favourite tool for winning races in the kernel.
    "memory": """
        brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall
        mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
        pkey_mprotect process_mrelease remap_file_pages
    """,
    # prctl cannot be judged by its arguments alone; what needs a capability there asks for it.
    "processes": """
        execve execveat exit exit_group fork getcpu getpgid getpgrp getpid getppid getsid gettid
        get_thread_area kill pause pidfd_open pidfd_send_signal prctl restart_syscall rseq setpgid setsid
        set_thread_area set_tid_address sysinfo tgkill times tkill uname uretprobe vfork wait4 waitid
        waitpid
    """,
    # Since Linux 4.8 a tracer cannot slip past a filter; memory of others is for their own user.
    "debugging": "process_vm_readv process_vm_writev ptrace",
    "locks": """
        futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list set_robust_list
    """,
    "scheduling and limits": """
        getpriority getrlimit getrusage ioprio_get ioprio_set prlimit64 sched_getaffinity sched_getattr
        sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
        sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
        sched_setparam sched_setscheduler sched_yield setpriority setrlimit ugetrlimit
    """,
    "signals": """
        rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
        rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn
    """,
    "credentials": """
        capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid
        getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid
        setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32
        setreuid setreuid32 setuid setuid32
    """,
    # To adjust a clock takes a capability; to read how it is adjusted does not.
    "time": """
        adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
        clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer
        time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
        timer_settime64
    """,
    # But for socket: see below.  On i386 all of them, with any family, are one call whose arguments
    # are in memory, where no filter sees them.
    "sockets": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
        recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
    """,
    "queues, semaphores, shared memory": """
        ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
        mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
        semtimedop_time64 shmat shmctl shmdt shmget
    """,
    "a program's own sandbox": """
        landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp
    """,
    "random numbers, and what this processor can do": "getrandom riscv_hwprobe",
}

_OF_MACHINE: Final[Mapping[str, str]] = {
    "x86_64": "arch_prctl modify_ldt",
    "i686": "modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    "armv7l": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    "ppc64le": "sync_file_range2 swapcontext",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    "riscv64": "riscv_flush_icache",
}

_OF_CAPABILITY: Final[Mapping[str, str]] = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open
        quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

# personality(2): Linux as it is, UNAME26, 32 bits (PER_LINUX32), both, and the question what it is.
# Not among them: no randomized addresses, and reading as executing.
_PERSONALITIES: Final = (0x0, 0x20000, 0x8, 0x20008, 0xFFFFFFFF)

# Families of socket(2) that have no namespaces: AF_VSOCK is the host's way to its virtual machines,
# AF_ALG brings the kernel's cryptography within reach.
_AF_ALG: Final = 38
_AF_VSOCK: Final = 40

# CLONE_NEW* of clone(2), but for the time namespace, which it cannot make.
_NEW_NAMESPACES: Final = 0x7E020000

# ioctl_tty(2): typing into a terminal for its user (TIOCSTI), and by selecting and pasting (TIOCLINUX).
_TYPING: Final = (0x5412, 0x541C)
_TYPING_ON_MIPS: Final = (0x5472, 0x5483)


def default_seccomp(capabilities: Collection[str] | None = (), *, machine: str | None = None) -> Seccomp:
    """Return the default profile for a process that can get at most these *capabilities*.

    None is all of them.  *machine* is as uname(2) says it, by default this one's.
    """
    held = frozenset(CAPABILITIES if capabilities is None else capabilities)
    machine = machine or os.uname().machine
    return Seccomp(
        default_action="SCMP_ACT_ERRNO",
        default_errno_ret=_EPERM,
        architectures=_ARCHITECTURES.get(machine, ()),
        syscalls=(
            *(_allow(names) for names in _ALLOWED.values()),
            *(_allow(names) for name, names in _OF_MACHINE.items() if name == machine),
            *(_allow(names) for name, names in _OF_CAPABILITY.items() if name in held),
            *_conditional(machine),
            *(_restricted_clone(machine) if "CAP_SYS_ADMIN" not in held else ()),
        ),
    )


def _allow(names: str, *conditions: SyscallArg) -> Syscall:
    return Syscall(names=tuple(names.split()), action="SCMP_ACT_ALLOW", args=conditions)


def _conditional(machine: str) -> Iterator[Syscall]:
    for value in _PERSONALITIES:
        yield _allow("personality", SyscallArg(index=0, value=value, op="SCMP_CMP_EQ"))
    yield _allow("socket", SyscallArg(index=0, value=_AF_ALG, op="SCMP_CMP_LT"))
    yield _allow("socket", SyscallArg(index=0, value=_AF_ALG + 1, op="SCMP_CMP_EQ"))
    yield _allow("socket", SyscallArg(index=0, value=_AF_VSOCK, op="SCMP_CMP_GT"))
    requests = _TYPING_ON_MIPS if machine.startswith("mips") else _TYPING
    for mask, value in _all_but(requests):
        yield _allow("ioctl", SyscallArg(index=1, value=mask, value_two=value, op="SCMP_CMP_MASKED_EQ"))


def _restricted_clone(machine: str) -> Iterator[Syscall]:
    # The order of arguments is another one on s390.
    index = 1 if machine.startswith("s390") else 0
    yield _allow("clone", SyscallArg(index=index, value=_NEW_NAMESPACES, op="SCMP_CMP_MASKED_EQ"))
    # Its flags are in memory, where no filter sees them.  With this answer programs fall back to clone.
    yield Syscall(names=("clone3",), action="SCMP_ACT_ERRNO", errno_ret=_ENOSYS)


def _all_but(values: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Return masks and what is under them, for all numbers of 32 bits but *values*; the shortest masks.

    Two conditions on one argument mean that either holds, so "neither this nor that" is said by what
    numbers begin with.  Comparing whole arguments would not do: the kernel ignores the upper halves.
    """
    for bit in reversed(range(32)):
        mask = 2**32 - (1 << bit)
        taken = {value & mask for value in values}
        for value in sorted({each ^ 1 << bit for each in taken} - taken):
            yield mask, value
