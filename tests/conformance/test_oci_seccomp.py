"""OCI config-linux.md "Seccomp": each member of a profile, by calls that a guest makes under it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.guest import PATH
from support.specs import with_linux, with_process

from aiocontainer import Runtime, Spec
from aiocontainer.spec import Seccomp, Syscall, SyscallArg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiocontainer import Completed

pytestmark = [
    pytest.mark.needs("root", "gcc", "busybox"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs x86-64: calls by number"),
]

GETPRIORITY, MKDIR, GETPPID = 140, 83, 110  # x86-64
GETPPID_32 = 64
HUGE = 2**40 + 5


def profile(*rules: Syscall, **members: Any) -> Seccomp:
    return Seccomp(**{"default_action": "SCMP_ACT_ALLOW", "syscalls": rules, **members})


def rule(name: str, *args: SyscallArg, errno_ret: int | None = errno.EDQUOT) -> Syscall:
    return Syscall(names=(name,), action="SCMP_ACT_ERRNO", errno_ret=errno_ret, args=args)


def spec(rootfs: str, seccomp: Seccomp, *words: object) -> Spec:
    base = Spec.default([PATH, *map(str, words)], rootfs=rootfs)
    return with_linux(base, seccomp=seccomp)


async def call(runtime: Runtime, rootfs: str, seccomp: Seccomp, *words: object) -> Completed:
    """What came of one call under a filter."""
    return await runtime.run(spec(rootfs, seccomp, *words))


async def result(runtime: Runtime, rootfs: str, seccomp: Seccomp, number: int, *args: object) -> int:
    done = await call(runtime, rootfs, seccomp, "call", number, *args)
    assert done.exit.clean, done
    assert done.stdout is not None
    return int(done.stdout)


# What a static program needs to start, to make its call, and to say what came of it.
NEEDED = (
    *("execve", "execveat", "brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64"),
    *("readlinkat", "readlink", "getrandom", "mprotect", "newfstatat", "fstat", "write", "exit_group"),
)


@pytest.mark.proves("$.linux.seccomp.defaultAction", "$.linux.seccomp.defaultErrnoRet")
@pytest.mark.parametrize(("given", "expected"), [(None, errno.EPERM), (errno.EXDEV, errno.EXDEV)])
async def test_default_errno(runtime: Runtime, guestfs: str, given: int | None, expected: int) -> None:
    allowed = Syscall(names=NEEDED, action="SCMP_ACT_ALLOW")
    strict = profile(allowed, default_action="SCMP_ACT_ERRNO", default_errno_ret=given)
    assert await result(runtime, guestfs, strict, GETPPID) == -expected


@pytest.mark.proves("$.linux.seccomp.defaultAction")
async def test_default_kills(runtime: Runtime, guestfs: str) -> None:
    allowed = Syscall(names=NEEDED, action="SCMP_ACT_ALLOW")
    strict = profile(allowed, default_action="SCMP_ACT_KILL_PROCESS")
    assert (await call(runtime, guestfs, strict, "call", GETPPID)).exit.signal is signal.SIGSYS


OPERATORS = {
    # Operator: value, and of these arguments those to which the rule applies.
    "SCMP_CMP_NE": (2, {1, 3, HUGE}),
    "SCMP_CMP_LT": (2, {1}),
    "SCMP_CMP_LE": (2, {1, 2}),
    "SCMP_CMP_EQ": (2, {2}),
    "SCMP_CMP_GE": (2, {2, 3, HUGE}),
    "SCMP_CMP_GT": (2, {3, HUGE}),
}


@pytest.mark.proves("$.linux.seccomp.syscalls[].args[].op", "$.linux.seccomp.syscalls[].args[].value")
@pytest.mark.parametrize("op", OPERATORS)
async def test_operator(runtime: Runtime, guestfs: str, op: str) -> None:
    """By the first argument of getpriority(2), all 64 bits of it."""
    value, hit = OPERATORS[op]
    filter = profile(rule("getpriority", SyscallArg(index=0, value=value, op=op)))  # type: ignore[arg-type]
    for argument in (1, 2, 3, HUGE):
        found = await result(runtime, guestfs, filter, GETPRIORITY, argument, 0)
        assert (found == -errno.EDQUOT) == (argument in hit), (op, argument, found)


@pytest.mark.proves("$.linux.seccomp.syscalls[].args[].valueTwo")
async def test_masked_operator(runtime: Runtime, guestfs: str) -> None:
    masked = SyscallArg(index=0, value=0xFF00, value_two=0x1200, op="SCMP_CMP_MASKED_EQ")
    filter = profile(rule("getpriority", masked))
    for argument, hit in ((0x12FF, True), (0x1200, True), (0x1300, False), (0x112FF, True)):
        found = await result(runtime, guestfs, filter, GETPRIORITY, argument, 0)
        assert (found == -errno.EDQUOT) == hit, hex(argument)


@pytest.mark.proves("$.linux.seccomp.syscalls[].args[].index")
@pytest.mark.parametrize("index", range(6))
async def test_index(runtime: Runtime, guestfs: str, index: int) -> None:
    filter = profile(rule("getpriority", SyscallArg(index=index, value=7, op="SCMP_CMP_EQ")))
    for at in range(6):
        args = [7 if at == each else 0 for each in range(6)]
        found = await result(runtime, guestfs, filter, GETPRIORITY, *args)
        assert (found == -errno.EDQUOT) == (at == index)


def names_of(architectures: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"SCMP_ARCH_{name}" for name in architectures)


@pytest.mark.proves("$.linux.seccomp.architectures[]")
@pytest.mark.parametrize(
    ("architectures", "expected"), [((), None), (("X86_64",), None), (("X86_64", "X86"), -errno.EDQUOT)]
)
async def test_architectures(
    runtime: Runtime, guestfs: str, architectures: tuple[str, ...], expected: int | None
) -> None:
    """Rules hold for those that are named; calls of any other kill."""
    filter = profile(rule("getppid"), architectures=names_of(architectures))
    assert await result(runtime, guestfs, filter, GETPPID) == -errno.EDQUOT
    done = await call(runtime, guestfs, filter, "call32", GETPPID_32)
    if expected is None:
        assert done.exit.signal is signal.SIGSYS
    else:
        assert int(done.stdout or b"") == expected


# PTRACE_SECCOMP_GET_METADATA of ptrace(2): flags of the oldest filter of a process.
METADATA = """
import ctypes, os, sys
SEIZE, INTERRUPT, DETACH, METADATA = 0x4206, 0x4207, 17, 0x420d
libc, pid = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
def ptrace(*args):
    result = libc.ptrace(*(ctypes.c_long(each) for each in args[:3]), args[3])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
data = (ctypes.c_uint64 * 2)(0, 0)
ptrace(SEIZE, pid, 0, None)
ptrace(INTERRUPT, pid, 0, None)
os.waitpid(pid, 0x40000000)
ptrace(METADATA, pid, 16, data)
ptrace(DETACH, pid, 0, None)
print(data[1])
"""


@pytest.mark.proves("$.linux.seccomp.flags[]")
@pytest.mark.parametrize(
    ("flags", "logged"), [(None, False), ((), False), (("SECCOMP_FILTER_FLAG_LOG",), True)]
)
async def test_flags(runtime: Runtime, guestfs: str, flags: tuple[str, ...] | None, logged: bool) -> None:
    """As the kernel tells a tracer."""
    filter = profile(rule("getppid"), flags=flags)
    async with runtime.container(spec(guestfs, filter).with_args(["sleep", "60"])) as container:
        command = [sys.executable, "-c", METADATA, str(container.pid)]
        text = await asyncio.to_thread(subprocess.check_output, command, text=True, timeout=20)
    assert bool(int(text) & 2) == logged


@pytest.mark.proves("$.linux.seccomp.syscalls[].errnoRet", "$.linux.seccomp.syscalls[].action")
@pytest.mark.parametrize("given", [None, 0, errno.EXDEV])
async def test_errno(runtime: Runtime, guestfs: str, given: int | None) -> None:
    """0 is success that nothing came of."""
    filter = profile(rule("mkdir", errno_ret=given))
    expected = errno.EPERM if given is None else given
    assert await result(runtime, guestfs, filter, MKDIR, 0, 0) == -expected


async def test_one_call_of_two_minds(runtime: Runtime, guestfs: str) -> None:
    """The first counts, as with libseccomp."""
    filter = profile(rule("mkdir"), rule("mkdir", errno_ret=errno.EXDEV))
    assert await result(runtime, guestfs, filter, MKDIR, 0, 0) == -errno.EDQUOT


@pytest.mark.parametrize("nnp", [True, False])
async def test_there_is_one_filter(runtime: Runtime, guestfs: str, nnp: bool) -> None:
    made = with_process(spec(guestfs, profile(rule("getppid"))), args=("sleep", "60"), no_new_privileges=nnp)
    async with runtime.container(made) as container:
        process = await container.exec(["sleep", "60"])
        for pid in (container.pid, process.pid):
            with open(f"/proc/{pid}/status") as file:
                fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
            assert (fields["Seccomp"], fields["Seccomp_filters"]) == ("2", "1")
        await process.end()
