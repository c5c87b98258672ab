"""F5: profiles through libseccomp and our own instructions, run by an interpreter, against the document."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from random import Random

from support import seccomp_model

from aiocontainer import SpecError, UnsupportedError, native
from aiocontainer.native.seccomp import INSTRUCTION_SIZE
from aiocontainer.plan.flags import BPF_MAXINSNS, SECCOMP_ACTIONS
from aiocontainer.plan.seccomp import compile_filter
from aiocontainer.spec import Seccomp, Syscall, SyscallArg

from .source import Source

# Not those that i386 has as parts of socketcall and ipc: their arguments are elsewhere.
NAMES = (
    *("read", "write", "openat", "mkdir", "clone", "personality", "prctl", "chown32", "mmap2", "execve"),
    *("ioctl", "futex_time64", "close_range", "openat2", "no_such_call"),
)
ACTIONS = [name for name in SECCOMP_ACTIONS if name != "SCMP_ACT_NOTIFY"]
OPERATORS = [f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")]
ARCHITECTURES = ((), ("SCMP_ARCH_X86",), ("SCMP_ARCH_X86", "SCMP_ARCH_X32"), ("SCMP_ARCH_X86_64",))

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2


def condition(source: Source) -> SyscallArg:
    return SyscallArg(
        index=source.below(6),
        value=source.number(),
        value_two=source.number(),
        op=source.pick(OPERATORS),  # type: ignore[arg-type]
    )


def profile(source: Source) -> Seccomp:
    """Rules of a few calls, each call with one action: two would be refused for what they are."""
    syscalls = []
    for name in dict.fromkeys(source.pick(NAMES) for _ in range(source.below(7))):
        action = source.pick(ACTIONS)
        numbered = action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
        errno_ret = source.below(4095) if numbered and source.flag() else None
        for _ in range(source.below(4) + 1):
            args = tuple(condition(source) for _ in range(source.below(4)))
            syscalls.append(Syscall(names=(name,), action=action, errno_ret=errno_ret, args=args))  # type: ignore[arg-type]
    return Seccomp(
        default_action=source.pick(ACTIONS),  # type: ignore[arg-type]
        architectures=source.pick(ARCHITECTURES),  # type: ignore[arg-type]
        syscalls=tuple(syscalls),
    )


def one(data: bytes) -> None:
    source = Source(data)
    asked = profile(source)
    seed, load = source.integer(4), source.below(16) == 0
    try:
        built = native.build_filter(compile_filter(asked))
    except (SpecError, UnsupportedError):
        return
    assert len(built) // INSTRUCTION_SIZE <= BPF_MAXINSNS
    seccomp_model.check(asked, Random(seed))
    if load:
        loads(built)


def loads(program: bytes) -> None:
    """The kernel takes it: tried by a child that then ends, if the filter lets it."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("@HxxxxxxP", len(program) // INSTRUCTION_SIZE, ctypes.addressof(buffer))
    pid = os.fork()
    if pid == 0:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        failed = libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, header, 0, 0)
        # Behind the filter nothing may work: only a refusal ends with this status.
        if failed and ctypes.get_errno() == errno.EINVAL:
            os._exit(99)
        os._exit(0)  # or by a signal, where even that is filtered
    for _ in range(2000):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            assert not (os.WIFEXITED(status) and os.WEXITSTATUS(status) == 99), "refused by the kernel"
            return
        os.sched_yield()
    os.kill(pid, 9)  # it may not even end itself
    os.waitpid(pid, 0)
