"""The same filter in fewer instructions: numbers of calls by ranges, not one by one.

What a filter costs at every start is mostly that the kernel compiles it, which goes by its length; and
libseccomp writes a comparison for each call and architecture.  But neighbours mostly share an answer.
So the program is executed for all numbers at once, up to where it returns or looks at an argument, and
written anew as a search over ranges; what looks at arguments is taken over as it is.

Classic BPF over ``struct seccomp_data``.  seccomp(2)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from .._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["compact"]

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP: Final = 0x05
_IF_EQUAL: Final = 0x15
_IF_GREATER: Final = 0x25
_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_CONDITIONAL: Final = frozenset({_IF_EQUAL, _IF_GREATER, _IF_AT_LEAST, 0x45})
_INSTRUCTION: Final = struct.Struct("=HBBI")

_NUMBER: Final = 0  # offsets in struct seccomp_data
_ARCH: Final = 4
_END: Final = 2**32
_FAR: Final = 255
"""As far as a conditional jump goes."""
_MOST_RANGES: Final = 100_000

Instruction = tuple[int, int, int, int]


class _Outcome(NamedTuple):
    """What a range comes to: an answer, or the place in the old program that looks at an argument."""

    answer: int | None
    place: int = 0


class _Range(NamedTuple):
    first: int
    outcome: _Outcome


class _OddError(Exception):
    """The program does something that this module does not follow."""


def compact(program: bytes) -> bytes:
    """Return a program that answers alike and is shorter, or else the program itself."""
    code = [*_INSTRUCTION.iter_unpack(program)]
    try:
        new = _Compactor(code).written()
    except _OddError:
        return program
    return b"".join([_INSTRUCTION.pack(*each) for each in new]) if len(new) < len(code) else program


class _Compactor:
    """One program on its way."""

    def __init__(self, code: Sequence[Instruction]) -> None:
        self._code = code
        self._bounds = {0}
        """First architectures of those that the program may treat alike."""
        self._found = 0

    def written(self) -> list[Instruction]:
        """Return the new program."""
        classes: dict[int, list[_Range]] = {}
        while self._bounds - classes.keys():  # executing it for one shows others
            for arch in self._bounds - classes.keys():
                classes[arch] = _merged(self._ranges(arch))
        arches = _merged_classes(classes)
        old = sorted(self._reached(each.outcome for ranges in arches.values() for each in ranges))
        blocks = [[_LOADED_NUMBER, *_search(ranges)] for ranges in arches.values()]
        head = [(_LOAD, 0, 0, _ARCH), *_dispatch([*arches], blocks)]
        return [*_placed(head, old), *_moved(self._code, old)]

    def _ranges(self, arch: int) -> Iterator[_Range]:
        """Yield what all numbers come to on an architecture, in ascending order."""
        pending = [(0, 0, False, 0, _END)]  # place, what was loaded, whether that is the number; numbers
        while pending:
            at, loaded, is_number, first, end = pending.pop()
            if first >= end:
                continue
            op, on_true, on_false, k = self._code[at]
            at += 1
            if op == _RETURN:
                yield self._range(first, _Outcome(k))
            elif op == _JUMP:
                pending.append((at + k, loaded, is_number, first, end))
            elif op == _LOAD and k == _NUMBER:
                pending.append((at, 0, True, first, end))
            elif op == _LOAD and k == _ARCH:
                pending.append((at, arch, False, first, end))
            elif op == _LOAD:
                yield self._range(first, _Outcome(None, at - 1))
            elif op not in (_IF_EQUAL, _IF_GREATER, _IF_AT_LEAST):
                raise _OddError
            else:
                low, high = _fulfilled(op, k)
                if not is_number:
                    self._bounds |= {each for each in (low, high) if each < _END}
                    jump = on_true if low <= loaded < high else on_false
                    pending.append((at + jump, loaded, False, first, end))
                    continue
                # The last comes first off the stack: ascending.
                pending.append((at + on_false, 0, True, max(first, high), end))
                pending.append((at + on_true, 0, True, max(first, low), min(end, high)))
                pending.append((at + on_false, 0, True, first, min(end, low)))

    def _range(self, first: int, outcome: _Outcome) -> _Range:
        self._found += 1
        if self._found > _MOST_RANGES:
            raise _OddError
        return _Range(first, outcome)

    def _reached(self, outcomes: Iterable[_Outcome]) -> set[int]:
        """Return the places of the old program that are needed on."""
        pending = [each.place for each in outcomes if each.answer is None]
        reached: set[int] = set()
        while pending:
            at = pending.pop()
            if at not in reached:
                reached.add(at)
                pending += _next(self._code[at], at)
        return reached


_LOADED_NUMBER: Final[Instruction] = (_LOAD, 0, 0, _NUMBER)
_PLACE: Final = -1
"""Instruction of a new program that is still to become a jump to a place of the old one."""


def _fulfilled(op: int, k: int) -> tuple[int, int]:
    """Return the first value that fulfils a condition, and the first one after those."""
    if op == _IF_EQUAL:
        return k, k + 1
    return (k + 1 if op == _IF_GREATER else k), _END


def _next(instruction: Instruction, at: int) -> list[int]:
    op, on_true, on_false, k = instruction
    if op == _RETURN:
        return []
    if op == _JUMP:
        return [at + 1 + k]
    return [at + 1 + on_true, at + 1 + on_false] if op in _CONDITIONAL else [at + 1]


def _merged(ranges: Iterable[_Range]) -> list[_Range]:
    """Join neighbours that come to the same."""
    merged: list[_Range] = []
    for each in ranges:
        if not merged or merged[-1].outcome != each.outcome:
            merged.append(each)
    return merged


def _merged_classes(classes: dict[int, list[_Range]]) -> dict[int, list[_Range]]:
    merged: dict[int, list[_Range]] = {}
    for arch in sorted(classes):
        if not merged or merged[next(reversed(merged))] != classes[arch]:
            merged[arch] = classes[arch]
    return merged


def _search(ranges: Sequence[_Range]) -> list[Instruction]:
    """Return a binary search that ends in answers, or in places of the old program."""
    if len(ranges) == 1:
        return [_leaf(ranges[0].outcome)]
    if len(ranges) == 3 and _is_exception(*ranges):
        return [(_IF_EQUAL, 0, 1, ranges[1].first), _leaf(ranges[1].outcome), _leaf(ranges[0].outcome)]
    middle = _middle(len(ranges))
    return _split(ranges[middle].first, _search(ranges[:middle]), _search(ranges[middle:]))


def _is_exception(below: _Range, one: _Range, above: _Range) -> bool:
    """Whether a single number differs from those around it."""
    return below.outcome == above.outcome and above.first == one.first + 1


def _middle(count: int) -> int:
    """Return where to split: in threes where possible, which are often one number among others."""
    return count // 2 if count <= 3 else max(3, count // 2 // 3 * 3)


def _leaf(outcome: _Outcome) -> Instruction:
    return (_PLACE, 0, 0, outcome.place) if outcome.answer is None else (_RETURN, 0, 0, outcome.answer)


def _dispatch(firsts: Sequence[int], blocks: Sequence[list[Instruction]]) -> list[Instruction]:
    """Return code that goes to the block of the range, by its first value, in which the loaded one is."""
    if len(blocks) == 1:
        return blocks[0]
    middle = len(blocks) // 2
    below = _dispatch(firsts[:middle], blocks[:middle])
    return _split(firsts[middle], below, _dispatch(firsts[middle:], blocks[middle:]))


def _split(value: int, below: Sequence[Instruction], above: Sequence[Instruction]) -> list[Instruction]:
    """Return code that goes to one of two blocks: *above* from *value* on."""
    if len(below) <= _FAR:
        return [(_IF_AT_LEAST, len(below), 0, value), *below, *above]
    return [(_IF_AT_LEAST, 0, 1, value), (_JUMP, 0, 0, len(below)), *below, *above]


def _placed(head: Sequence[Instruction], old: Sequence[int]) -> list[Instruction]:
    """Let the new part jump to what is kept of the old one, behind it."""
    where = {place: len(head) + index for index, place in enumerate(old)}
    return [
        (_JUMP, 0, 0, where[each[3]] - at - 1) if each[0] == _PLACE else each for at, each in enumerate(head)
    ]


def _moved(code: Sequence[Instruction], old: Sequence[int]) -> Iterator[Instruction]:
    """Yield what is kept, its jumps shortened by what is not: never longer than they were."""
    where = {place: index for index, place in enumerate(old)}
    for index, place in enumerate(old):
        op, on_true, on_false, k = code[place]
        if op == _JUMP:
            k = where[place + 1 + k] - index - 1
        elif op in _CONDITIONAL:
            on_true = where[place + 1 + on_true] - index - 1
            on_false = where[place + 1 + on_false] - index - 1
        elif op != _RETURN and where[place + 1] != index + 1:
            raise _OddError
        yield op, on_true, on_false, k
