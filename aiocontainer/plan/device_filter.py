"""Device rules as a BPF program for cgroup v2, where no file takes them.  BPF_PROG_TYPE_CGROUP_DEVICE.

The program reads the request once, then tries the rules from the last to the first, because the last
that matches decides.  A request can ask for several accesses at a time (open(2) for reading and
writing): it is granted once each has been allowed by some rule, and refused as soon as one is denied.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .devices import DeviceRule

__all__ = ["INSN_SIZE", "device_filter"]

INSN_SIZE: Final = 8
_INSN: Final = struct.Struct("=BBhi")  # struct bpf_insn: code, registers, offset, immediate
_LITTLE: Final = struct.pack("=H", 1) == b"\1\0"

# bpf.h: codes of the few instructions that are needed.
_LDX_W: Final = 0x61
_MOV32_X: Final = 0xBC
_MOV64_K: Final = 0xB7
_AND32_K: Final = 0x54
_RSH32_K: Final = 0x74
_JNE_K: Final = 0x55
_JNE32_K: Final = 0x56
_JSET_K: Final = 0x45
_JA: Final = 0x05
_EXIT: Final = 0x95

# Registers: the context, then what is read from it.
_RESULT, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR = range(6)

# struct bpf_cgroup_dev_ctx: access_type (access << 16 | type), major, minor.
_TYPES: Final = {"b": 1, "c": 2}
_ACCESSES: Final = {"m": 1, "r": 2, "w": 4}
_ALL: Final = 7

Insn = tuple[int, int, int, int, int]  # code, destination, source, offset, immediate


def _verdict(allow: bool) -> list[Insn]:
    return [(_MOV64_K, _RESULT, 0, 0, int(allow)), (_EXIT, 0, 0, 0, 0)]


_PROLOGUE: Final[list[Insn]] = [
    (_LDX_W, _TYPE, _CONTEXT, 0, 0),
    (_MOV32_X, _ACCESS, _TYPE, 0, 0),
    (_AND32_K, _TYPE, 0, 0, 0xFFFF),
    (_RSH32_K, _ACCESS, 0, 0, 16),
    (_LDX_W, _MAJOR, _CONTEXT, 4, 0),
    (_LDX_W, _MINOR, _CONTEXT, 8, 0),
]


def device_filter(rules: Sequence[DeviceRule]) -> bytes:
    """Assemble the program: an array of ``struct bpf_insn`` for bpf(2)."""
    return _assemble(tuple(rules))


@lru_cache(maxsize=32)
def _assemble(rules: tuple[DeviceRule, ...]) -> bytes:
    program = [*_PROLOGUE]
    for rule in reversed(rules):
        program += _block(rule)
        if rule.type == "a":  # decides everything: the verifier takes no code that is never reached
            break
    else:
        program += _verdict(allow=False)
    return b"".join(_encode(insn) for insn in program)


def _block(rule: DeviceRule) -> list[Insn]:
    """Return the code of one rule: tests that skip it, then what it says."""
    action = _action(rule)
    tests = _tests(rule)
    size = len(tests) + len(action)
    skipping = [(code, reg, 0, size - at - 1, value) for at, (code, reg, value) in enumerate(tests)]
    return [*skipping, *action]


def _tests(rule: DeviceRule) -> list[tuple[int, int, int]]:
    """Return the comparisons that have to hold, as jumps taken when they do not."""
    tests = []
    if rule.type != "a":
        tests.append((_JNE_K, _TYPE, _TYPES[rule.type]))
    for register, number in ((_MAJOR, rule.major), (_MINOR, rule.minor)):
        if number is not None:
            tests.append((_JNE32_K, register, number))
    return tests


def _action(rule: DeviceRule) -> list[Insn]:
    mask = sum(_ACCESSES[each] for each in rule.access)
    if mask == _ALL:
        return _verdict(rule.allow)
    verdict = _verdict(rule.allow)
    if rule.allow:  # this much is granted: done, if nothing is left to be asked for
        return [
            (_AND32_K, _ACCESS, 0, 0, ~mask),
            (_JNE_K, _ACCESS, 0, len(verdict), 0),
            *verdict,
        ]
    return [(_JSET_K, _ACCESS, 0, 1, mask), (_JA, 0, 0, len(verdict), 0), *verdict]


def _encode(insn: Insn) -> bytes:
    code, destination, source, offset, immediate = insn
    registers = destination | source << 4 if _LITTLE else destination << 4 | source
    signed = immediate - 2**32 if immediate >= 2**31 else immediate
    return _INSN.pack(code, registers, offset, signed)
