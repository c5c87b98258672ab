"""Classic BPF as seccomp(2) runs it, in a few lines of Python."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTRUCTION = struct.Struct("=HBBI")
MAX_INSTRUCTIONS = 4096


def seccomp_data(number: int, arch: int, args: Sequence[int] = ()) -> bytes:
    """A call as the filter sees it: struct seccomp_data."""
    return struct.pack("=IIQ6Q", number, arch, 0, *[*args, 0, 0, 0, 0, 0, 0][:6])


def run_filter(program: bytes, data: bytes) -> int:
    """What the filter returns for a call; anything that the kernel would not load is an error."""
    code = list(INSTRUCTION.iter_unpack(program))
    assert 0 < len(code) <= MAX_INSTRUCTIONS
    accumulator, at = 0, 0
    while True:
        op, on_true, on_false, k = code[at]
        at += 1
        match op:
            case 0x20:  # ld [k]
                assert k % 4 == 0
                (accumulator,) = struct.unpack_from("=I", data, k)
            case 0x54:  # and
                accumulator &= k
            case 0x05:  # ja
                at += k
            case 0x15:  # jeq
                at += on_true if accumulator == k else on_false
            case 0x25:  # jgt
                at += on_true if accumulator > k else on_false
            case 0x35:  # jge
                at += on_true if accumulator >= k else on_false
            case 0x45:  # jset
                at += on_true if accumulator & k else on_false
            case 0x06:  # ret
                return k
            case _:
                raise AssertionError(f"instruction {op:#x}")
