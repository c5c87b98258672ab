"""Shorter filters: whatever the program, every call gets the answer that it got."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.bpf import INSTRUCTION, run_filter, seccomp_data

from aiocontainer.plan.compact import compact

if TYPE_CHECKING:
    from collections.abc import Callable

LOAD, AND, JUMP, RETURN = 0x20, 0x54, 0x05, 0x06
CONDITIONS = (0x15, 0x25, 0x35)
NUMBERS = (0, 1, 2, 3, 4, 7, 100, 2**30, 2**30 + 1, 2**32 - 1)
ARCHES = (0, 3, 0x40000003, 0xC000003E, 2**32 - 1)


@st.composite
def programs(draw: Callable[..., Any]) -> bytes:
    """Programs that the kernel would load: jumps go forward, and the last instruction returns."""
    size = draw(st.integers(1, 40))
    code = []
    for at in range(size):
        left = size - at - 1
        kind = draw(st.sampled_from(("load", "load", "if", "if", "if", "return", "jump", "and")))
        far = st.integers(0, min(left, 255))
        if kind == "load":
            code.append((LOAD, 0, 0, draw(st.sampled_from((0, 0, 4, 4, 16, 20)))))
        elif kind == "if":
            k = draw(st.sampled_from((*NUMBERS, *ARCHES)))
            code.append((draw(st.sampled_from(CONDITIONS)), draw(far), draw(far), k))
        elif kind == "jump":
            code.append((JUMP, 0, 0, draw(far)))
        elif kind == "and" and draw(st.integers(0, 9)) == 0:
            code.append((AND, 0, 0, draw(st.sampled_from((0xFF, 0xFFFFFFFF)))))
        else:
            code.append((RETURN, 0, 0, draw(st.integers(0, 5))))
    return packed(*code, (RETURN, 0, 0, 9))


def packed(*code: tuple[int, int, int, int]) -> bytes:
    return b"".join(INSTRUCTION.pack(*each) for each in code)


def agree(program: bytes, short: bytes, numbers: tuple[int, ...], arches: tuple[int, ...]) -> None:
    for number in numbers:
        for arch in arches:
            for argument in (0, 1, 2, 7, 2**32 - 1, 2**40):
                data = seccomp_data(number, arch, (argument,))
                assert run_filter(short, data) == run_filter(program, data), (number, arch, argument)


@settings(max_examples=120, deadline=None)
@given(programs())
def test_any_program(program: bytes) -> None:
    near = {n + d for n in (*NUMBERS, *ARCHES) for d in (-1, 0, 1)}
    values = tuple(sorted(each for each in near if 0 <= each < 2**32))
    short = compact(program)
    assert len(short) <= len(program)
    agree(program, short, values, (*ARCHES, 1, 4, 0x40000004))


def test_a_list_of_calls_becomes_ranges() -> None:
    listed = packed(
        (LOAD, 0, 0, 4),
        (0x15, 1, 0, 0xC000003E),
        (RETURN, 0, 0, 7),
        (LOAD, 0, 0, 0),
        *[each for n in range(300) for each in ((0x15, 0, 1, n), (RETURN, 0, 0, 1))],
        (RETURN, 0, 0, 2),
    )
    short = compact(listed)
    assert len(short) < 12 * INSTRUCTION.size
    agree(listed, short, (0, 299, 300, 2**32 - 1), (0, 0xC000003D, 0xC000003E, 0xC000003F))


def test_many_ranges_need_long_jumps() -> None:
    spread = packed(
        (LOAD, 0, 0, 0),
        *[
            each
            for n in range(0, 1600, 2)
            for each in ((0x15, 0, 2, n), (LOAD, 0, 0, 0), (RETURN, 0, 0, n % 7))
        ],
        (RETURN, 0, 0, 99),
    )
    short = compact(spread)
    agree(spread, short, (*range(0, 1602, 7), 1598, 1599, 1600, 2**31), (0, 5))


def test_what_it_does_not_follow_stays() -> None:
    odd = packed((LOAD, 0, 0, 0), (AND, 0, 0, 0xFF), (0x15, 0, 1, 3), (RETURN, 0, 0, 1), (RETURN, 0, 0, 2))
    assert compact(odd) is odd
