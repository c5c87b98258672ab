"""Instructions that stand before libseccomp's: what it cannot say, and what it gets wrong.

Classic BPF over ``struct seccomp_data``.  seccomp(2)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from .filter import EQ, GE, GT, LE, LT, MASKED_EQ, NE
from .flags import SECCOMP_RET_ERRNO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .filter import Condition, Rule

__all__ = ["X32_BIT", "audit_arch", "decisions", "enosys_stub", "is_narrow", "probes"]

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54
_JUMP: Final = 0x05
_IF_EQUAL: Final = 0x15
_IF_GREATER: Final = 0x25
_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_INSTRUCTION: Final = struct.Struct("=HBBI")

_NUMBER: Final = 0  # offsets in struct seccomp_data
_ARCH: Final = 4
_ARGS: Final = 16
_LOW: Final = 0 if struct.pack("=H", 1)[0] else 4  # the half of an argument that comes first
_HIGH: Final = 4 - _LOW
_WORD: Final = 2**32 - 1

_X86_64: Final = 0xC000003E
_X32: Final = 0x4000003E
"""What libseccomp calls x32; to the kernel it is x86-64 with a bit in the number."""
X32_BIT: Final = 1 << 30
_64_BIT: Final = 1 << 31  # __AUDIT_ARCH_64BIT

Instruction = tuple[int, int, int, int]


def audit_arch(token: int) -> int:
    """Return the architecture as the kernel tells it to a filter."""
    return _X86_64 if token == _X32 else token


def is_narrow(token: int) -> bool:
    """Whether arguments have 32 bits; what else is in their registers does not count.

    x32 is among them, as libseccomp has it, though a register can hold more there.
    """
    return not token & _64_BIT


def enosys_stub(last: Mapping[int, int], errno: int) -> bytes:
    """Return instructions under which calls above the *last* of their architecture fail.

    *last* has tokens of architectures.  Everything else goes on to the filter, also calls of other
    architectures.  features.md S178
    """
    ranges: dict[int, list[tuple[int, int]]] = {}
    for token, number in last.items():
        if token == _X32:
            ranges.setdefault(_X86_64, []).append(((number | X32_BIT) + 1, _WORD))
        else:
            end = X32_BIT - 1 if token == _X86_64 else _WORD
            ranges.setdefault(token, []).append((number + 1, end))
    blocks = {arch: _answer(newer, SECCOMP_RET_ERRNO | errno) for arch, newer in ranges.items()}
    return _by_arch(blocks)


def decisions(calls: Iterable[tuple[int, int, Sequence[Rule]]], default: int) -> bytes:
    """Return instructions that decide these calls: token of the architecture, number, and all rules.

    A rule that matches answers, in their order, and where none does the *default*.
    """
    blocks: dict[int, list[Instruction]] = {}
    for token, number, rules in calls:
        body = [*_decision(rules, default, narrow=is_narrow(token))]
        block = blocks.setdefault(audit_arch(token), [])
        block += [(_IF_EQUAL, 1, 0, number), (_JUMP, 0, 0, len(body)), *body]
    return _by_arch(blocks)


def probes(rules: Sequence[Rule], *, narrow: bool) -> Iterator[list[int]]:
    """Yield arguments with which to try these rules: where comparisons change their mind, and beside it."""
    corners = _corners(rules, narrow=narrow)
    yield [0] * 6
    yield [_WORD if narrow else 2**64 - 1] * 6
    for index, values in corners.items():
        for turn, value in enumerate(values):
            # The other arguments take their turns, so that each rule is met and missed.
            args = [own[turn % len(own)] if (own := corners.get(i)) else 0 for i in range(6)]
            args[index] = value
            yield args
    for rule in rules:
        args = [0] * 6
        for condition in rule.conditions:
            args[condition.index] = condition.value_two if condition.op == MASKED_EQ else condition.value
        yield [each & _WORD for each in args] if narrow else args


def _corners(rules: Sequence[Rule], *, narrow: bool) -> dict[int, list[int]]:
    """Return, by index, values around those of the conditions."""
    mask = _WORD if narrow else 2**64 - 1
    corners: dict[int, dict[int, None]] = {}
    for rule in rules:
        for condition in rule.conditions:
            base = (condition.value, condition.value_two)
            near = (each + d for each in base for d in (-1, 0, 1, 1 << 32, -(1 << 32)))
            # The halves in each other's place, too: one may be compared with what the other should be.
            swapped = (high << 32 | low for each in base for high in _halves(each) for low in _halves(each))
            corners.setdefault(condition.index, {}).update((v & mask, None) for v in (*near, *swapped))
    return {index: list(values) for index, values in corners.items()}


def _halves(value: int) -> tuple[int, int]:
    return value >> 32, value & _WORD


def _by_arch(blocks: Mapping[int, Iterable[Instruction]]) -> bytes:
    """Return code that goes through the block of the call's architecture, with its number loaded.

    A block returns, or ends with the number still or again loaded.
    """
    code: list[Instruction] = [(_LOAD, 0, 0, _ARCH)] if blocks else []
    for arch, block in blocks.items():
        body = [(_LOAD, 0, 0, _NUMBER), *block, (_LOAD, 0, 0, _ARCH)]
        code += [(_IF_EQUAL, 1, 0, arch), (_JUMP, 0, 0, len(body)), *body]
    return b"".join([_INSTRUCTION.pack(*each) for each in code])


def _answer(ranges: Iterable[tuple[int, int]], action: int) -> Iterator[Instruction]:
    """Return for numbers in one of *ranges*."""
    for first, last in ranges:
        yield _IF_AT_LEAST, 0, 2, first
        yield _IF_GREATER, 1, 0, last
        yield _RETURN, 0, 0, action


def _decision(rules: Sequence[Rule], default: int, *, narrow: bool) -> Iterator[Instruction]:
    for rule in rules:
        checks = [_check(condition, narrow=narrow) for condition in rule.conditions]
        left = sum(map(len, checks)) + 1
        for check in checks:
            for op, on_true, on_false, k in check:
                left -= 1
                yield op, _resolved(on_true, left), _resolved(on_false, left), k
        yield _RETURN, 0, 0, rule.action
    yield _RETURN, 0, 0, default


_FAIL: Final = -1
"""A jump to behind the rule."""


def _resolved(jump: int, left: int) -> int:
    return left if jump == _FAIL else jump


def _check(condition: Condition, *, narrow: bool) -> list[Instruction]:
    """Return code that goes on where *condition* holds, and jumps where not."""
    op, value = condition.op, condition.value
    high, low = value >> 32, value & _WORD
    load_high = (_LOAD, 0, 0, _ARGS + 8 * condition.index + _HIGH)
    load_low = (_LOAD, 0, 0, _ARGS + 8 * condition.index + _LOW)
    if op == MASKED_EQ:
        wanted = condition.value_two & value
        low_part = [load_low, (_AND, 0, 0, low), (_IF_EQUAL, 0, _FAIL, wanted & _WORD)]
        if narrow:
            return low_part if not wanted >> 32 else [_NEVER]
        return [load_high, (_AND, 0, 0, high), (_IF_EQUAL, 0, _FAIL, wanted >> 32), *low_part]
    low_part = [load_low, (*_LOW_HALF[op], low)]
    if narrow:
        # The upper half is 0: below that of a value with one.
        return low_part if not high else [] if op in (NE, LT, LE) else [_NEVER]
    return [load_high, *((*each, high) for each in _HIGH_HALF[op]), *low_part]


_NEVER: Final[Instruction] = (_IF_AT_LEAST, _FAIL, 0, 0)

# Instruction, jumps if true and if false; of the high half, past what is left of it and the low one.
_LOW_HALF: Final[Mapping[int, tuple[int, int, int]]] = {
    EQ: (_IF_EQUAL, 0, _FAIL),
    NE: (_IF_EQUAL, _FAIL, 0),
    GT: (_IF_GREATER, 0, _FAIL),
    GE: (_IF_AT_LEAST, 0, _FAIL),
    LT: (_IF_AT_LEAST, _FAIL, 0),
    LE: (_IF_GREATER, _FAIL, 0),
}
_HIGH_HALF: Final[Mapping[int, Sequence[tuple[int, int, int]]]] = {
    EQ: ((_IF_EQUAL, 0, _FAIL),),
    NE: ((_IF_EQUAL, 0, 2),),
    GT: ((_IF_GREATER, 3, 0), (_IF_EQUAL, 0, _FAIL)),
    GE: ((_IF_GREATER, 3, 0), (_IF_EQUAL, 0, _FAIL)),
    LT: ((_IF_GREATER, _FAIL, 0), (_IF_EQUAL, 0, 2)),
    LE: ((_IF_GREATER, _FAIL, 0), (_IF_EQUAL, 0, 2)),
}
