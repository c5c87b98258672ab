"""What can be known of a container without changing it: state, usage, events, its end."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - of fields
from typing import TYPE_CHECKING, Literal, TypeVar

from msgspec import Struct

from .. import spec as _spec
from .._aio import in_thread
from ..errors import StateError
from ..events import LIMIT, ExitStatus
from .sampling import Accounts, StatsStream
from .status import Status
from .watching import Watching

if TYPE_CHECKING:
    import asyncio

    from ..cgroups import Cgroup
    from ..cgroups.stats.reading import KeptFiles
    from ..cgroups.stats.values import StatsMask
    from ..console import Pty
    from ..events import (
        Event,
        Events,
        Lost,
        Monitor,
        Oom,
        Pressure,
        PressureLevel,
        SeccompNotifications,
    )
    from ..spec import Resources, Spec
    from ..store import State
    from .environment import Environment
    from .process import Process
    from .rates import RatesStream
    from .stats import Stats

__all__ = ["ContainerState", "Observed"]

T = TypeVar("T")


class ContainerState(Struct, frozen=True, kw_only=True):
    """A container as `Container.state` found it."""

    id: str
    status: Status
    pid: int
    """Of the init, in our pid namespace; 0 when it has ended."""
    bundle: str
    """Absolute path."""
    rootfs: str
    """Absolute path of its root file system."""
    created: str
    """RFC 3339 with nanoseconds, UTC."""
    owner: int
    """Effective user id of who created it."""
    annotations: Mapping[str, str]
    oci_version: str
    cgroup_paths: Mapping[str, str]
    """By controller (v1), or "" for the one of v2."""
    namespaces: Mapping[str, int]
    """OCI name to inode, of the namespaces that are not the host's."""


class Observed:
    """A container as those see it who only look; `Container` changes it, too."""

    def __init__(
        self,
        environment: Environment,
        state: State,
        cgroup: Cgroup,
        process: Process | None,
        monitor: Monitor,
        *,
        spec: Spec | None = None,
        notifications: SeccompNotifications | None = None,
    ) -> None:
        """Take over *process*, which is None where the init had ended before we came."""
        self._environment = environment
        self._record = state
        self._cgroup = cgroup
        self._process = process
        self._spec = spec
        self._notifications = notifications
        self._last_stats: Stats | None = None
        self._deleted = False
        self.watching: Watching = Watching(environment.watcher, monitor, process)

    # What it is -------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Its name, unique in the state root."""
        return self._record.id

    @property
    def pid(self) -> int:
        """Process id of the init, in our pid namespace; 0 once it has ended."""
        return self._process.pid if self._process is not None and self._process.exit is None else 0

    @property
    def bundle(self) -> str:
        """Absolute path of the bundle."""
        return self._record.bundle

    @property
    def process(self) -> Process | None:
        """The init; None where it had ended before this container was loaded."""
        return self._process

    @property
    def stdin(self) -> asyncio.StreamWriter | None:
        """The init's standard input, where it is a pipe of ours."""
        return self._process.stdin if self._process else None

    @property
    def stdout(self) -> asyncio.StreamReader | None:
        """The init's standard output, where it is a pipe of ours."""
        return self._process.stdout if self._process else None

    @property
    def stderr(self) -> asyncio.StreamReader | None:
        """The init's standard error, where it is a pipe of ours."""
        return self._process.stderr if self._process else None

    @property
    def console(self) -> Pty | None:
        """The master of the init's terminal, where nobody else took it."""
        return self._process.console if self._process else None

    async def config(self) -> Spec:
        """Return the specification as it was at create; later edits of the bundle do not matter."""
        if self._spec is None:
            store, id = self._environment.store, self.id
            self._spec = _spec.Spec.decode(await in_thread(lambda: store.load_config(id)))
        return self._spec

    async def status(self) -> Status:
        """Find out the status; it is never remembered, because others may change it."""
        if self._deleted or self._process is None or self._process.exit is not None:
            return Status.STOPPED
        return await in_thread(self._look)

    async def state(self) -> ContainerState:
        """Return everything that is known of it now."""
        status = await self.status()
        record = self._record
        return ContainerState(
            id=record.id,
            status=status,
            pid=0 if status is Status.STOPPED else record.pid,
            bundle=record.bundle,
            rootfs=str(record.facts.get("rootfs", "")),
            created=record.created,
            owner=record.owner,
            annotations=record.annotations,
            oci_version=record.oci_version,
            cgroup_paths=self._cgroup.paths,
            namespaces=record.namespaces,
        )

    async def oci_state(self) -> _spec.State:
        """Return the OCI's state document.  OCI runtime.md "State"."""
        state = await self.state()
        return _spec.State(
            oci_version=state.oci_version,
            id=state.id,
            status=state.status.value,
            pid=state.pid or None,
            bundle=state.bundle,
            annotations=state.annotations,
        )

    async def processes(self) -> list[int]:
        """Return the pids of all its processes, in our pid namespace; empty once it has stopped."""
        if await self.status() is Status.STOPPED:
            return []
        return await in_thread(self._cgroup.pids)

    async def stats(self, mask: StatsMask | None = None) -> Stats:
        """Read what it has used: everything, or the parts of *mask*.  It may be created or paused, too.

        `NotRunningError` once it has stopped; `UnsupportedError` without a cgroup, unless only its network
        and resctrl are asked for; `CgroupError` where the kernel's files make no sense.
        """

        def read() -> Stats:
            from .stats import read_stats  # in the thread: it takes a while the first time

            return read_stats(accounts, mask)

        accounts = self.accounts()
        try:
            return await in_thread(read)
        finally:
            self.after_reading()

    def stats_stream(self, interval_s: float, mask: StatsMask | None = None) -> StatsStream:
        """Read what it has used now and every *interval_s* seconds; ends when it stops.

        An asynchronous iterator of what `stats` returns; the first step raises what `stats` raises.
        """

        async def read(kept: KeptFiles | None) -> tuple[Stats, KeptFiles]:
            def read() -> tuple[Stats, KeptFiles]:
                from .stats import sample

                return sample(accounts, mask, kept)

            def undo(done: tuple[Stats, KeptFiles]) -> None:
                done[1].close()  # at once, not when the cancellation and its traceback are collected

            accounts = self.accounts()
            try:
                return await in_thread(read, undo=undo if kept is None else None)
            finally:
                self.after_reading()

        return StatsStream(interval_s, read, self.wait)

    def sample(self, interval_s: float, mask: StatsMask | None = None) -> RatesStream:
        """Tell what it uses per second, every *interval_s* seconds, until it stops.

        An asynchronous iterator of `Rates`; the first comes after one interval.
        """
        from .rates import RatesStream

        return RatesStream(self.stats_stream(interval_s, mask))

    def accounts(self) -> Accounts:
        """Return where it is accounted, for a thread that reads there."""
        return Accounts(self._record, self._cgroup)

    def after_reading(self) -> None:
        """Close again what a reading has opened while the container was deleted."""
        if self._deleted:
            self._cgroup.close()

    @property
    def last_stats(self) -> Stats | None:
        """What it had used in all when `delete` was told to read that."""
        return self._last_stats

    async def resources(self) -> Resources:
        """Return the limits that hold: those of create, with what updates have changed since."""
        store, id = self._environment.store, self.id

        def read() -> Resources:
            from .updating import current_resources  # only those who use it pay for it

            return current_resources(store.load(id), store.load_config(id))

        return await in_thread(read)

    async def wait(self) -> ExitStatus:
        """Wait for the init to end; any number of waiters get the same status, late ones too."""
        if self._process is None:
            return ExitStatus(known=False)
        return await self._process.wait()

    def seccomp_notifications(self) -> SeccompNotifications:
        """Return the system calls that the filter asks about, to be iterated and answered.

        For a container created with ``seccomp_listener=True``; `StateError` for others.  The call
        that starts the program may be among them: iterate while `start` and `exec` are waited for.
        """
        if self._notifications is None:
            raise StateError("listen to", status="created without seccomp_listener", id=self.id)
        return self._notifications

    # Events -----------------------------------------------------------------------------------------

    def events(self, *, pressure: PressureLevel | None = None, limit: int = LIMIT) -> Events[Event]:
        """Tell what happens to it, from now until its init has ended: `Exited` comes last.

        Memory *pressure* is told of from that level on.  A consumer that lags by more than *limit* events
        gets a `Lost` instead of the newest ones.  Any number of consumers; each stream is for one.
        """
        return self.watching.all(pressure, limit)

    def oom_events(self, *, limit: int = LIMIT) -> Events[Oom | Lost]:
        """Tell of kills by the out-of-memory killer, until the init has ended.

        The first step raises `UnsupportedError` where the container has no memory cgroup: nobody would
        count them.
        """
        return self.watching.ooms(limit)

    def pressure_events(
        self,
        level: PressureLevel | None = "medium",
        *,
        resource: Literal["memory", "cpu", "io"] = "memory",
        some: float | None = None,
        full: float | None = None,
        window_s: float = 2.0,
        limit: int = LIMIT,
    ) -> Events[Pressure | Lost]:
        """Tell when too much time is lost by waiting for a resource, until the init has ended.

        *level* is one of v1's for memory, and a share of time in v2: 5 % or 20 % in which some processes
        wait, 10 % in which all do.  Or the share itself: *some* or *full* (0 to 1) of *window_s* (0.5 to
        10; a multiple of 2 without CAP_SYS_RESOURCE).  At most one event in each window.
        The first step raises `UnsupportedError` where the kernel cannot tell.
        """
        return self.watching.pressure(level, resource, some, full, window_s, limit)

    # ------------------------------------------------------------------------------------------------

    def _look(self) -> Status:
        if self._environment.store.has_gate(self.id):
            return Status.CREATED
        return Status.PAUSED if self._cgroup.is_frozen() else Status.RUNNING

    def __repr__(self) -> str:
        return f"<Container {self.id!r} pid {self.pid}>"
