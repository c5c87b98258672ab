"""System call filter.  OCI config-linux.md "Seccomp"."""

from typing import Annotated, Literal

from msgspec import Meta

from .base import Object, Uint32, Uint64

__all__ = [
    "Seccomp",
    "SeccompAction",
    "SeccompArch",
    "SeccompFlag",
    "SeccompOperator",
    "Syscall",
    "SyscallArg",
]

SeccompAction = Literal[
    "SCMP_ACT_KILL",  # the thread, as SCMP_ACT_KILL_THREAD
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
]

SeccompFlag = Literal[
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
]

SeccompOperator = Literal[
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
]

SeccompArch = Literal[
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
]


class SyscallArg(Object, frozen=True, kw_only=True):
    """A condition on one argument; MASKED_EQ has the mask in `value`, the datum in `value_two`."""

    index: Annotated[int, Meta(ge=0, le=5)]
    value: Uint64
    value_two: Uint64 = 0
    op: SeccompOperator


class Syscall(Object, frozen=True, kw_only=True):
    """One action for some system calls."""

    names: Annotated[tuple[str, ...], Meta(min_length=1)]
    action: SeccompAction
    errno_ret: Uint32 | None = None
    args: tuple[SyscallArg, ...] = ()


class Seccomp(Object, frozen=True, kw_only=True):
    """The whole filter."""

    default_action: SeccompAction
    default_errno_ret: Uint32 | None = None
    architectures: tuple[SeccompArch, ...] = ()  # beside the native one
    flags: tuple[SeccompFlag, ...] | None = None  # None: our choice; empty: none
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[Syscall, ...] = ()

    @property
    def asks(self) -> bool:
        """Whether somebody outside is asked about some of the calls."""
        return any(syscall.action == "SCMP_ACT_NOTIFY" for syscall in self.syscalls)
