"""Filters by libseccomp, which is opened when a profile asks for it; building one blocks for milliseconds."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec.structs import replace

from .._aio import OwnedFd
from .._tuples import NamedTuple
from ..errors import SpecError, UnsupportedError
from ..plan.bpf import X32_BIT, audit_arch, decisions, enosys_stub, is_narrow, probes
from ..plan.compact import compact
from ..plan.flags import BPF_MAXINSNS
from ._lib import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ..plan.filter import Filter, Rule

__all__ = [
    "INSTRUCTION_SIZE",
    "Libseccomp",
    "architectures",
    "build_filter",
    "call_name",
    "call_number",
    "knows_filter_flags",
    "libseccomp",
]

INSTRUCTION_SIZE: Final = 8  # struct sock_filter

_ORIGIN: Final = "$.linux.seccomp"
_NATIVE: Final = 0
_UNKNOWN: Final = -1
_MAX_NAME: Final = 128

# Calls that an architecture has only as parts of one: libseccomp numbers them down from these.
_PARTS: Final = ((range(-199, -100), "socketcall"), (range(-299, -200), "ipc"))

Decision: TypeAlias = "tuple[int, int, Sequence[Rule]]"
"""Architecture, number, and the rules of a call that libseccomp is not left to decide."""

_REASONS: Final = {
    errno.EDOM: "it cannot be combined with the native one",
    errno.EOPNOTSUPP: "the kernel cannot do that",
    errno.EEXIST: "another rule contradicts it",
    errno.EINVAL: "it makes no sense there",
}


class Libseccomp(NamedTuple):
    """What a filter depends on besides its profile."""

    version: int
    """Major, minor and micro, a byte each."""
    api: int
    """What libseccomp found the kernel to be able to do: seccomp_api_get(3)."""
    native: int
    """Token of the architecture."""


def libseccomp() -> Libseccomp:
    """Open the library, and tell which it is; `UnsupportedError` where there is none."""
    found = ffi.new("struct lib_seccomp *")
    result: int = lib.lib_seccomp_open(found)
    if result < 0:
        needs = "libseccomp.so.2" if result == -errno.ENOENT else "libseccomp 2.4 or newer"
        raise UnsupportedError("seccomp profiles", needs=needs, origin=_ORIGIN)
    return Libseccomp(found.version, found.api, found.native)


def knows_filter_flags(flags: int) -> bool:
    """Whether the kernel knows all of these SECCOMP_FILTER_FLAG_*."""
    return bool(lib.lib_seccomp_knows(flags))


def architectures(names: Iterable[str]) -> dict[int, str]:
    """Return tokens with the names that they came from, the native one among them."""
    tokens = {libseccomp().native: "native"}
    for name in names:
        token: int = lib.lib_seccomp_arch(name.encode())
        if token == 0:
            raise UnsupportedError(
                f"architecture {name}", needs="a newer libseccomp", origin=f"{_ORIGIN}.architectures"
            )
        tokens[token] = name
    return tokens


def call_number(name: str, token: int = _NATIVE) -> int:
    """Return the number of a system call on an architecture, by default the native one.

    Below -1 if the architecture does not have it, but another one does; -1 if libseccomp knows none.
    """
    number: int = lib.lib_seccomp_number(token, name.encode())
    return number


def call_name(number: int, token: int) -> str | None:
    """Return the name of a system call; None if libseccomp does not know it."""
    libseccomp()
    name = ffi.new("char[]", _MAX_NAME)
    if lib.lib_seccomp_name(token, number, name, _MAX_NAME) < 0:
        return None
    return str(ffi.string(name).decode())


def build_filter(filter: Filter) -> bytes:
    """Return the program of a filter, an array of ``struct sock_filter``, with its stub.

    Names that libseccomp does not know are left out.
    """
    tokens = architectures(filter.architectures)
    body = _fitting(compact(_export(_entrusted(filter, tokens), tokens)))
    stub = enosys_stub(_last_calls(filter, tokens), errno.ENOSYS) if filter.hides_newer_calls else b""
    stub += decisions(_own_decisions(body, filter, tokens), filter.default)
    return _fitting(compact(stub + body))


def _fitting(program: bytes) -> bytes:
    count = len(program) // INSTRUCTION_SIZE
    if count > BPF_MAXINSNS:
        raise UnsupportedError(
            f"a filter of {count} instructions", needs=f"at most {BPF_MAXINSNS}", origin=_ORIGIN
        )
    return program


def _entrusted(filter: Filter, tokens: Collection[int]) -> Filter:
    """Return the filter without the rules that are not left to libseccomp anyway.

    Over some of them it never comes to an end (2.5.4, three rules of two conditions).  Parts of another
    call are only its to decide.
    """
    entangled = filter.entangled(narrow=any(map(is_narrow, tokens)))
    own = {name for name in entangled if not any(_is_part(call_number(name, token)) for token in tokens)}
    return replace(filter, rules=tuple(rule for rule in filter.rules if rule.name not in own))


def _is_part(number: int) -> bool:
    return any(number in parts for parts, _ in _PARTS)


def _export(filter: Filter, tokens: dict[int, str]) -> bytes:
    numbers = {rule.name: call_number(rule.name) for rule in filter.rules}
    known = [rule for rule in filter.rules if numbers[rule.name] != _UNKNOWN]
    rules = ffi.new("struct lib_seccomp_rule[]", len(known))
    for target, rule in zip(rules, known, strict=True):
        target.number = numbers[rule.name]
        target.action = rule.action
        target.count = len(rule.conditions)
        for argument, condition in zip(target.args, rule.conditions, strict=False):
            argument.index, argument.op = condition.index, condition.op
            argument.value, argument.value_two = condition.value, condition.value_two
    arches = ffi.new("uint32_t[]", list(tokens))
    profile = ffi.new("struct lib_seccomp_profile *")
    profile.default_action = filter.default
    profile.arch_count, profile.arches = len(tokens), arches
    profile.rule_count, profile.rules = len(known), rules
    refused = ffi.new("uint32_t *")
    fd: int = lib.lib_seccomp_build(profile, refused)
    if fd < 0:
        names = [*tokens.values(), *(rule.name for rule in known)]
        raise _refusal(-fd, names[refused[0]] if refused[0] < len(names) else "the profile")
    with OwnedFd(fd) as program:
        return _content(program.fileno())


def _content(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0)
    if len(data) != size or size == 0 or size % INSTRUCTION_SIZE:
        raise UnsupportedError("seccomp profiles", needs="a libseccomp that exports filters", origin=_ORIGIN)
    return data


def _refusal(error: int, what: str) -> SpecError:
    reason = _REASONS.get(error, os.strerror(error))
    return SpecError(f"libseccomp refuses {what}: {reason}", origin=_ORIGIN)


def _last_calls(filter: Filter, tokens: Iterable[int]) -> dict[int, int]:
    """Return, by architecture, the highest number that the profile mentions."""
    names = {*filter.others, *(rule.name for rule in filter.rules)}
    last = {token: max(_own_numbers(names, token), default=_UNKNOWN) for token in tokens}
    return {token: number for token, number in last.items() if number != _UNKNOWN}


def _own_decisions(body: bytes, filter: Filter, tokens: Collection[int]) -> Iterator[Decision]:
    """Yield what is not left to libseccomp: what it cannot be trusted with, and what it did wrong.

    It leaves out a load of the number now and then (2.5.4: ``read`` with a condition on x32).  So every
    number is tried that the profile could mean, each with arguments at which its rules change their mind.
    """
    entangled = filter.entangled(narrow=any(map(is_narrow, tokens)))
    for token in tokens:
        rules, left = _rules_by_number(filter, token)
        first = min(rules, default=0) & X32_BIT
        for number in range(first, max(rules, default=-1) + 2):
            own = rules.get(number, ())
            trusted = not any(rule.name in entangled for rule in own)
            if trusted and _is_right(body, filter.default, token, number, own):
                continue
            if own or call_name(number, token) not in left:
                yield token, number, own


def _rules_by_number(filter: Filter, token: int) -> tuple[dict[int, tuple[Rule, ...]], set[str]]:
    """Return the rules of each call of an architecture, and the names of those without a number.

    These are parts of another call there, and have, on newer kernels, also one of their own.
    """
    rules: dict[int, tuple[Rule, ...]] = {}
    left: set[str] = set()
    for rule in filter.rules:
        number = call_number(rule.name, token)
        if number >= 0:
            rules[number] = (*rules.get(number, ()), rule)
        elif _is_part(number):
            left.update((rule.name, *(whole for _, whole in _PARTS)))
    return rules, left


def _is_right(body: bytes, default: int, token: int, number: int, rules: Sequence[Rule]) -> bool:
    arch, narrow = audit_arch(token), is_narrow(token)
    for args in probes(rules, narrow=narrow):
        answers = {rule.action for rule in rules if rule.matches(args)} or {default}
        if lib.lib_seccomp_run(body, len(body), number, arch, args) not in answers:
            return False
    return True


def _own_numbers(names: Iterable[str], token: int) -> Iterator[int]:
    for name in names:
        number = call_number(name, token)
        for parts, whole in _PARTS:
            if number in parts:
                number = call_number(whole, token)
        if number >= 0:
            yield number
