"""Compile a seccomp profile: the document into rules without ambiguity, and the step that loads them.

OCI config-linux.md "Seccomp".  Numbers of system calls are not known here: libseccomp has them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, get_args

from ..errors import SpecError, UnsupportedError
from ..spec import SeccompOperator
from .filter import Condition, Filter, Rule
from .flags import (
    SECCOMP_ACTIONS,
    SECCOMP_FLAG_NEW_LISTENER,
    SECCOMP_FLAG_SPEC_ALLOW,
    SECCOMP_FLAG_TSYNC,
    SECCOMP_FLAG_WAIT_KILLABLE,
    SECCOMP_FLAGS,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_LOG,
    SECCOMP_RET_NOTIFY,
    SECCOMP_WITH_ERRNO,
)
from .steps import Seccomp as SeccompStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..spec import Seccomp, SyscallArg
    from .host import Host

__all__ = ["compile_filter", "filter_step"]

_ORIGIN: Final = "$.linux.seccomp"
_EPERM: Final = 1
_REMEMBERED: Final = 64

_OPERATORS: Final = {name: number for number, name in enumerate(get_args(SeccompOperator), 1)}
_ARCHITECTURE: Final = "SCMP_ARCH_"


def filter_step(profile: Seccomp, host: Host, *, no_new_privs: bool) -> SeccompStep:
    """Return the step that loads a profile, its program not built yet.

    Loading takes either no_new_privs, and then comes last, or a capability that the payload may not
    have, and then comes early: the rest of the helper's work must pass (`last_calls`).  features.md L65
    """
    if not host.seccomp_flags:
        raise UnsupportedError("seccomp", needs="a kernel with CONFIG_SECCOMP_FILTER", origin=_ORIGIN)
    filter = compile_filter(profile)
    _check_execve(filter)
    return SeccompStep(_ORIGIN, filter, _flags(profile, filter, host), late=no_new_privs)


@lru_cache(maxsize=_REMEMBERED)
def compile_filter(profile: Seccomp) -> Filter:
    """Return the normal form of a profile; every exec asks for it again."""
    default = _action(profile.default_action, profile.default_errno_ret)
    rules: dict[str, dict[Rule, None]] = {}
    others: dict[str, None] = {}
    for syscall in profile.syscalls:
        action = _action(syscall.action, syscall.errno_ret)
        if action == default:
            others.update(dict.fromkeys(syscall.names))  # libseccomp takes no rule that changes nothing
            continue
        variants = _variants(syscall.args)
        for name in syscall.names:
            own = rules.setdefault(name, {})
            for conditions in variants:
                own[Rule(name, action, conditions)] = None
    return Filter(
        default,
        tuple(dict.fromkeys(each.removeprefix(_ARCHITECTURE).lower() for each in profile.architectures)),
        tuple([rule for own in rules.values() for rule in _unambiguous(own)]),
        tuple(name for name in others if name not in rules),
    )


def _action(name: str, errno: int | None) -> int:
    action = SECCOMP_ACTIONS[name]
    if action not in SECCOMP_WITH_ERRNO:
        return action
    return action | (_EPERM if errno is None else errno)


def _variants(args: Sequence[SyscallArg]) -> tuple[tuple[Condition, ...], ...]:
    """Return sets of conditions: all of one must hold.

    There is one set, unless an argument has several conditions: then each stands for itself, whatever
    it is about.  OCI config-linux.md leaves that open, this is what all runtimes do.  features.md S173
    """
    conditions = tuple(
        Condition(each.index, _OPERATORS[each.op], each.value, each.value_two) for each in args
    )
    if len({each.index for each in conditions}) < len(conditions):
        return tuple((each,) for each in conditions)
    return (conditions,)


def _unambiguous(rules: Iterable[Rule]) -> Sequence[Rule]:
    """Return the rules of one system call that count: one without conditions leaves no room for others.

    Of several such the first counts, as with libseccomp: podman's own profile has two for setns(2).
    """
    known = [*rules]
    plain = [rule for rule in known if not rule.conditions]
    return plain[:1] or known


def _flags(profile: Seccomp, filter: Filter, host: Host) -> int:
    """Return SECCOMP_FILTER_FLAG_*.  No list at all leaves the choice to us, an empty one is a choice.

    Ours is SPEC_ALLOW: a filter then does not slow the payload down by mitigating speculative store
    bypass.  Linux 5.16 made that the default, and runc does the same.
    """
    flags = SECCOMP_FLAG_NEW_LISTENER if filter.notifies else 0
    if profile.flags is None:
        return flags | SECCOMP_FLAG_SPEC_ALLOW & host.seccomp_flags
    for index, name in enumerate(profile.flags):
        flag = SECCOMP_FLAGS[name]
        if flag & ~host.seccomp_flags:
            raise UnsupportedError(name, needs="a newer kernel", origin=f"{_ORIGIN}.flags[{index}]")
        flags |= flag
    if not filter.notifies:
        flags &= ~SECCOMP_FLAG_WAIT_KILLABLE  # it is about the listener; EINVAL without one
    return flags & ~SECCOMP_FLAG_TSYNC  # there is one thread to filter


def _check_execve(filter: Filter) -> None:
    """Refuse a filter under which no program can be started; who is asked about it may allow it."""
    if not filter.actions("execve") & {SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, SECCOMP_RET_NOTIFY}:
        raise SpecError("does not allow execve: no program could be started", origin=_ORIGIN)
