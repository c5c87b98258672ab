"""Open what a plan wants passed: `Plan.fds`, in order, in the host's namespaces.

Runs in a thread.  Sources are opened from the plan alone, never from a path that a container sent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from typing import TYPE_CHECKING

from .. import native
from .._aio import OwnedFd
from ..cgroups import MANAGED
from ..errors import HelperError, SpecError
from ..plan.plan import (
    CgroupTasks,
    Directory,
    GateSocket,
    InitPidfd,
    InitRoot,
    Layers,
    NamespaceFile,
    Overlay,
    Plan,
    PlanFd,
    Preserved,
    ResctrlTasks,
    Stdio,
    Tree,
)
from ..store import CgroupRecord
from .joined import open_foreign, sourced
from .trees import open_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from ..cgroups import Cgroup
    from ..store import UnitRecord
    from .deadline import Deadline

__all__ = ["Sources", "birth_cgroup", "cgroup_record"]

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Sources:
    """Where the descriptors of a plan come from, besides the host's paths.

    Everything here is lent: only what `open` itself opens is closed by *stack*.
    """

    def __init__(
        self,
        *,
        stdio: Mapping[int, OwnedFd],
        tasks: Callable[[str], int] | None = None,
        gate: int = -1,
        init: int = -1,
        init_pid: int = 0,
    ) -> None:
        self._stdio = stdio
        self._tasks = tasks
        self._gate = gate
        self._init = init
        self._init_pid = init_pid

    def open(self, plan: Plan, stack: ExitStack) -> list[int]:
        """Return the descriptors of *plan* by index; *stack* owns those that are new."""
        return [self._descriptor(item, stack) for item in plan.fds]

    def _descriptor(self, item: PlanFd, stack: ExitStack) -> int:
        match item:
            case Stdio(number=number, owner=owner):
                return _given(self._stdio[number].fileno(), owner)
            case Preserved(number=number):
                return _preserved(number)
            case GateSocket():
                return self._gate
            case InitPidfd():
                return self._init
        return stack.enter_context(OwnedFd(self._opened(item))).fileno()

    def _opened(
        self,
        item: NamespaceFile | Tree | Directory | InitRoot | Overlay | Layers | CgroupTasks | ResctrlTasks,
    ) -> int:
        match item:
            case Directory(path=path, origin=origin):
                return sourced(lambda: os.open(path, _DIRECTORY), origin, path)
            case InitRoot():
                return self._init_root()
            case NamespaceFile(path=path, type=type, origin=origin):
                return open_foreign(path, type, origin)
            case Tree():
                return open_tree(item)
            case Overlay(lower=lower, origin=origin, owner=owner):
                return sourced(lambda: native.overlay(lower, owner=owner), origin, lower)
            case Layers():
                return sourced(lambda: _stack(item), item.origin, item.source)
            case ResctrlTasks(path=path):
                flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
                return sourced(lambda: os.open(path, flags), "$.linux.intelRdt", path)
            case CgroupTasks(hierarchy=hierarchy):
                assert self._tasks is not None
                return self._tasks(hierarchy)

    def _init_root(self) -> int:
        """Open the root of the container's init, which is still the process that its pidfd is of."""
        try:
            with OwnedFd(os.open(f"/proc/{self._init_pid}/root", _DIRECTORY)) as root:
                signal.pidfd_send_signal(self._init, 0)
                return root.detach()
        except OSError as exc:
            raise HelperError(f"root of the container's init: {exc.strerror}", errno=exc.errno or 0) from exc


def _stack(item: Layers) -> int:
    upper = (item.upper, item.work) if item.upper else None
    return native.layered(
        item.layers, source=item.source, upper=upper, owner=item.owner, userxattr=item.userxattr
    )


def birth_cgroup(cgroup: Cgroup | Deadline, plan: Plan) -> int:
    """Return the cgroup2 directory that clone3(2) is to place a process in.

    -1 where there is none, or where the plan has a step to enter it later.
    """
    return cgroup.dirfd() if "" in cgroup.paths and CgroupTasks("") not in plan.fds else -1


def cgroup_record(cgroup: Cgroup, unit: UnitRecord | None = None) -> CgroupRecord:
    """Return what must be remembered of *cgroup* to find and remove it."""
    made = dict(cgroup.made)
    if unit is not None:  # what is above it is the service manager's, where units have to be
        made |= {hierarchy: min(made[hierarchy], 1) for hierarchy in MANAGED if hierarchy in made}
    return CgroupRecord(mode=cgroup.mode.value, paths=dict(cgroup.paths), made=made, unit=unit)


def _given(fd: int, owner: tuple[int, int] | None) -> int:
    """Return the descriptor; a pipe is its owner's then, unless we are not allowed to give it away."""
    if owner is not None and stat.S_ISFIFO(os.fstat(fd).st_mode):
        with contextlib.suppress(PermissionError):
            os.fchown(fd, *owner)
    return fd


def _preserved(number: int) -> int:
    try:
        os.fstat(number)
    except OSError as exc:
        raise SpecError(f"descriptor {number} is not open", origin="preserve_fds") from exc
    return number
