"""Rules of the system call filter.  OCI config-linux.md "Seccomp"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import SpecError
from .shared import absolute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model import Spec
    from ..seccomp import Seccomp, SeccompAction, Syscall
    from .shared import Problems

__all__ = ["listener_problems", "seccomp_problems", "seccomp_warnings"]

_NOTIFY = "SCMP_ACT_NOTIFY"

# What goes with an action: SECCOMP_RET_DATA, and for an errno what the kernel can return.
_DATA = {"SCMP_ACT_ERRNO": range(4096), "SCMP_ACT_TRACE": range(2**16)}

_HERE = "$.linux.seccomp"


def seccomp_problems(spec: Spec) -> Problems:
    """Everything wrong with the filter."""
    filter = spec.linux and spec.linux.seccomp
    if not filter:
        return
    if filter.default_action == _NOTIFY:
        yield SpecError(f"{_NOTIFY} cannot be the default", origin=f"{_HERE}.defaultAction")
    yield from _data(filter.default_action, filter.default_errno_ret, f"{_HERE}.defaultErrnoRet")
    for index, rule in enumerate(filter.syscalls):
        yield from _rule(rule, f"{_HERE}.syscalls[{index}]")
    yield from _listener(filter)


def listener_problems(spec: Spec) -> Problems:
    """Nobody to ask, where the filter wants to ask somebody."""
    filter = spec.linux and spec.linux.seccomp
    if filter and _notifies(filter) and not filter.listener_path:
        yield SpecError(f"required by {_NOTIFY}, and missing", origin=f"{_HERE}.listenerPath")


def seccomp_warnings(spec: Spec) -> Iterator[str]:
    """Everything odd in the filter."""
    filter = spec.linux and spec.linux.seccomp
    if filter and filter.listener_path and not _notifies(filter):
        yield f"{_HERE}.listenerPath: ignored, no rule has {_NOTIFY}"


def _data(action: SeccompAction, value: int | None, origin: str) -> Problems:
    if value is None:
        return
    if action not in _DATA:
        yield SpecError(f"{action} returns no errno", origin=origin)
    elif value not in _DATA[action]:
        yield SpecError(f"{value} is too large for {action}", origin=origin)


def _rule(rule: Syscall, origin: str) -> Problems:
    yield from _data(rule.action, rule.errno_ret, f"{origin}.errnoRet")
    for index, name in enumerate(rule.names):
        if not name:
            yield SpecError("a system call has a name", origin=f"{origin}.names[{index}]")
        elif name == "write" and rule.action == _NOTIFY:
            # Handing over the listener is itself a write: it would wait for itself.
            yield SpecError(f"{_NOTIFY} is not possible for write", origin=f"{origin}.names[{index}]")


def _listener(filter: Seccomp) -> Problems:
    if filter.listener_path:
        yield from absolute(filter.listener_path, f"{_HERE}.listenerPath")
        return
    if filter.listener_metadata:
        yield SpecError("only with listenerPath", origin=f"{_HERE}.listenerMetadata")


def _notifies(filter: Seccomp) -> bool:
    return any(rule.action == _NOTIFY for rule in filter.syscalls)
