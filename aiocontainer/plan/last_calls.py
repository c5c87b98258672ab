"""What the helper still calls under a filter that is loaded before its work is done.

A filter that would not let it finish is refused here, with the step's name, and not by the kernel in
the middle of things.  A test runs the helper under filters that allow just what this table says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import SpecError
from .flags import SECCOMP_RET_ALLOW, SECCOMP_RET_LOG
from .steps import Capabilities, Credentials, Cwd, Exec, Gate, Hook, Label, Pause, Program, Seccomp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .filter import Rule
    from .steps import Step

__all__ = ["check_last_calls", "last_calls"]

# Commands of prctl(2) and fcntl(2): the arguments that the helper gives and filters look at.
_SET_PDEATHSIG: Final = 1
_SET_DUMPABLE: Final = 4
_SET_KEEPCAPS: Final = 8
_GET_SECUREBITS: Final = 27
_SET_SECUREBITS: Final = 28
_CAP_AMBIENT: Final = 47
_SETFD: Final = 2
_SETFL: Final = 4
_DUPFD_CLOEXEC: Final = 1030

Call = tuple[str, tuple[int | None, ...]]
"""Name, and the first arguments as far as they are always the same; None: any."""


def _calls(names: str, *, prctl: Sequence[int] = (), fcntl: Sequence[int] = ()) -> tuple[Call, ...]:
    plain: list[Call] = [(name, ()) for name in names.split()]
    return (
        *plain,
        *(("prctl", (option,)) for option in prctl),
        *(("fcntl", (None, command)) for command in fcntl),
    )


# Between steps, and to say what has failed.
_ALWAYS: Final = _calls("close exit_group sendmsg", prctl=(_SET_DUMPABLE,))

_CHECK_PROGRAM: Final = "openat2 newfstatat faccessat2"

_OF_STEP: Final[Mapping[type[Step], tuple[Call, ...]]] = {
    Credentials: _calls(
        "setgroups setresgid setresuid", prctl=(_GET_SECUREBITS, _SET_SECUREBITS, _SET_KEEPCAPS)
    ),
    Capabilities: _calls("capset", prctl=(_CAP_AMBIENT, _SET_KEEPCAPS)),
    Cwd: _calls("openat openat2 fchdir getcwd"),
    Label: _calls("openat2 fstatfs write read"),
    Program: _calls(_CHECK_PROGRAM),
    Pause: _calls("read close_range dup3", fcntl=(_DUPFD_CLOEXEC,)),
    Gate: _calls("accept4 getsockopt read"),
    Hook: _calls(
        f"{_CHECK_PROGRAM} chdir clock_gettime close_range dup3 execve getpid getppid kill lseek memfd_create"
        " pidfd_open pidfd_send_signal pipe2 poll read rt_sigaction setsid umask vfork waitid write",
        prctl=(_SET_PDEATHSIG,),
        fcntl=(_SETFL,),
    ),
    # execve(2) itself is judged apart: somebody may be asked about it.
    Exec: _calls("close_range dup3 prlimit64 rt_sigaction umask", fcntl=(_SETFD, _DUPFD_CLOEXEC)),
}


_PASSES: Final = frozenset({SECCOMP_RET_ALLOW, SECCOMP_RET_LOG})


def last_calls(steps: Sequence[Step]) -> dict[Call, Step]:
    """Return the calls of these steps, each with the first that makes it."""
    found: dict[Call, Step] = {}
    for step in steps:
        for call in (*_OF_STEP.get(type(step), ()), *_ALWAYS):
            found.setdefault(call, step)
    return found


def check_last_calls(steps: Sequence[Step]) -> None:
    """Refuse an early filter under which the helper could not get as far as the program.

    Nobody is there to answer for the helper's own calls.
    """
    early = ((i, step) for i, step in enumerate(steps) if isinstance(step, Seccomp) and not step.late)
    for index, filter in early:
        rules: dict[str, list[Rule]] = {}
        for rule in filter.filter.rules:
            rules.setdefault(rule.name, []).append(rule)
        for (name, args), step in last_calls(steps[index:]).items():
            if not filter.filter.outcomes(rules.get(name, ()), args) <= _PASSES:
                raise SpecError(
                    f"does not allow {name}, which it takes to {step}; "
                    "with noNewPrivileges the filter would be loaded after that",
                    origin=filter.origin,
                )
