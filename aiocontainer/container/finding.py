"""Find a container in the store, whoever created it; and remove one of which only the record is left."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

from .. import resctrl
from .._aio import OwnedFd, in_thread
from ..cgroups import open_cgroup
from ..errors import SpecError, StateCorruptError, StateError
from ..events import Counters, Exits, Monitor
from ..plan.host import CgroupMode
from ..spec import Spec
from ..store import boot_id, open_process
from .container import Container
from .hooking import Hooking
from .process import Process
from .subgroups import home_name
from .units import end_unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..cgroups import Cgroup
    from ..store import CgroupRecord, Lock, Record, State
    from .environment import Environment

__all__ = ["Found", "find", "remove_damaged"]


class Found:
    """A container as it was found in the store, not yet on the loop."""

    def __init__(self, state: State, cgroup: Cgroup, pidfd: int | None) -> None:
        self._state = state
        self._cgroup = cgroup
        self._pidfd = OwnedFd(pidfd) if pidfd is not None else None

    def adopt(self, environment: Environment, forget: Callable[[Container], None]) -> Container:
        """Make the container of it."""
        process = None
        if self._pidfd is not None:
            process = Process(self._state.pid, Exits(self._pidfd, self._state.pid, made=False), ())
        unit = environment.managers.recorded(self._state.cgroup, self._state.boot_id)
        first = Counters.recalled(self._state.facts.get("counted"))
        files = environment.files(self._cgroup, home_name(self._state))
        monitor = Monitor(self._state.id, files, first, environment.watcher.exchange, pid=self._state.pid)
        return Container(environment, self._state, self._cgroup, process, monitor, unit=unit, forget=forget)

    def close(self) -> None:
        """Give it up."""
        self._cgroup.close()
        if self._pidfd is not None:
            self._pidfd.close()


def find(environment: Environment, id: str) -> Found:
    """Look a container up.  In a thread; `NotFoundError`, `StateCorruptError`."""
    state = environment.store.load(id)
    return Found(state, _recorded_cgroup(state.cgroup, state.boot_id), open_process(state.identity))


async def remove_damaged(environment: Environment, id: str) -> Hooking | None:
    """Kill and remove by the write-ahead record alone; without even that, forget the name.

    Returns the hooks that are now to be run, as far as they are known.
    """
    damaged = await in_thread(lambda: _Damaged(environment, id), undo=_Damaged.close)
    try:
        await damaged.end_unit()
        return await in_thread(damaged.remove)
    finally:
        damaged.close()


class _Damaged:
    """What can be known of a container without its state, and its lock."""

    def __init__(self, environment: Environment, id: str) -> None:
        self._environment = environment
        self._id = id
        lock = environment.store.lock(id)
        if lock is None:
            raise StateError("delete", status="creating", id=id, reason="somebody else is at it")
        self._lock: Lock = lock
        self._record: Record | None = None
        with contextlib.suppress(StateCorruptError):
            self._record = environment.store.load_record(id)

    async def end_unit(self) -> None:
        """Stop the unit that was, or was to be, made."""
        record = self._record
        if record is None:
            return
        unit = self._environment.managers.recorded(record.cgroup, record.boot_id)
        if unit is not None:
            await end_unit(unit, _recorded_cgroup(_only_made(record.cgroup), record.boot_id), 0)

    def remove(self) -> Hooking | None:
        """Remove everything, and last the name."""
        record, hooking = self._record, None
        if record is not None:
            hooking = _recorded_hooks(self._environment, record)
            _recorded_cgroup(_only_made(record.cgroup), record.boot_id).remove()
            if record.boot_id == boot_id():
                _give_back(record)
        self._environment.store.remove(self._id)
        return hooking

    def close(self) -> None:
        """Let others at it."""
        self._lock.release()


def _give_back(record: Record) -> None:
    """Put back what is the machine's; an earlier boot has left nothing of it."""
    if record.resctrl is not None:
        resctrl.remove(record.resctrl)
    if record.devices:
        from ..network import recover  # only those who use it pay for it

        recover(record.devices, record.network)


def _recorded_hooks(environment: Environment, record: Record) -> Hooking | None:
    try:
        spec = Spec.decode(environment.store.load_config(record.id))
    except (StateCorruptError, SpecError):
        return None
    return Hooking(spec, record.id, record.bundle, None, environment.hook_environment())


def _only_made(record: CgroupRecord) -> CgroupRecord:
    """Leave out where nothing was to be made: whose processes are there is not known."""
    paths = {hierarchy: path for hierarchy, path in record.paths.items() if record.made.get(hierarchy)}
    return replace(record, paths=paths)


def _recorded_cgroup(record: CgroupRecord, boot: str) -> Cgroup:
    """Open a cgroup again; one of an earlier boot is gone, and its path may be somebody else's now."""
    if boot != boot_id():
        return open_cgroup(CgroupMode.NONE, {})
    return open_cgroup(CgroupMode(record.mode), record.paths, made=record.made)
