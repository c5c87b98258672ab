"""What a profile says, read word by word, and a built filter held against it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from aiocontainer import native
from aiocontainer.native import seccomp
from aiocontainer.plan.flags import SECCOMP_ACTIONS, SECCOMP_RET_ERRNO
from aiocontainer.plan.seccomp import compile_filter

from .bpf import run_filter, seccomp_data

if TYPE_CHECKING:
    from random import Random

    from aiocontainer.spec import Seccomp, Syscall

__all__ = ["Model", "check", "interesting"]

X86_64, X32, I386 = 0xC000003E, 0x4000003E, 0x40000003
X32_BIT = 1 << 30
ENOSYS = SECCOMP_RET_ERRNO | errno.ENOSYS
ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"


def interesting(profile: Seccomp) -> list[int]:
    """Arguments at which a comparison changes its mind."""
    found = {0, 2**64 - 1}
    for syscall in profile.syscalls:
        for arg in syscall.args:
            for base in (arg.value, arg.value_two, arg.value & arg.value_two):
                found |= {(base + d) % 2**64 for d in (-1, 0, 1)} | {base ^ 2**32}
    return sorted(found)


class Model:
    """A profile read word by word, on one architecture; shares no code with what is tested."""

    def __init__(self, profile: Seccomp, arch: int) -> None:
        self.profile = profile
        mentioned = [n for s in profile.syscalls for n in s.names]
        self.numbers = {n: seccomp.call_number(n, arch) for n in mentioned}
        self.last = max((n for n in self.numbers.values() if n >= 0), default=None)

    def action(self, number: int, arguments: tuple[int, ...]) -> int:
        hides = self.profile.default_action not in (ALLOW, "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
        if hides and self.last is not None and number > self.last:
            return ENOSYS
        for syscall in self.profile.syscalls:
            if any(self.numbers[name] == number for name in syscall.names) and self._matches(
                syscall, arguments
            ):
                return self._value(syscall.action, syscall.errno_ret)
        return self._value(self.profile.default_action, self.profile.default_errno_ret)

    @staticmethod
    def _value(action: str, errno_ret: int | None) -> int:
        data = (1 if errno_ret is None else errno_ret) if action in (ERRNO, "SCMP_ACT_TRACE") else 0
        return SECCOMP_ACTIONS[action] | data

    @staticmethod
    def _matches(syscall: Syscall, arguments: tuple[int, ...]) -> bool:
        held = []
        for arg in syscall.args:
            a, b, c = arguments[arg.index], arg.value, arg.value_two
            held.append(
                {
                    "SCMP_CMP_NE": a != b,
                    "SCMP_CMP_LT": a < b,
                    "SCMP_CMP_LE": a <= b,
                    "SCMP_CMP_EQ": a == b,
                    "SCMP_CMP_GE": a >= b,
                    "SCMP_CMP_GT": a > b,
                    "SCMP_CMP_MASKED_EQ": a & b == c & b,
                }[arg.op]
            )
        repeated = len({arg.index for arg in syscall.args}) < len(syscall.args)
        return any(held) if repeated else all(held)


def check(profile: Seccomp, rnd: Random) -> None:
    """Run the built filter by an interpreter on every architecture of the profile."""
    built = native.build_filter(compile_filter(profile))
    machines = [(X86_64, X86_64, 0)]
    if "SCMP_ARCH_X86" in profile.architectures:
        machines.append((I386, I386, 0))
    if "SCMP_ARCH_X32" in profile.architectures:
        machines.append((X32, X86_64, X32_BIT))
    corners = interesting(profile)
    for token, arch, bit in machines:
        model = Model(profile, token)
        known = {number for number in model.numbers.values() if number >= 0}
        for number in [*known, *(bit | n for n in (0, 57, 400, 449, 460, 1000))]:
            for _ in range(8):
                arguments = [rnd.choice(corners) for _ in range(6)]
                # The upper halves of registers can be anything there, and are not looked at.
                narrow = token in (I386, X32)
                meant = tuple(each % 2**32 if narrow else each for each in arguments)
                found = run_filter(built, seccomp_data(number, arch, arguments))
                assert found == model.action(number, meant), (hex(token), number, arguments)
