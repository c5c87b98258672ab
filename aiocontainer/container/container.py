"""A container: the OCI lifecycle as awaitable methods."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from .. import resctrl
from .. import spec as _spec
from .._aio import finish, in_thread, undo
from ..errors import (
    HookError,
    NotFoundError,
    NotRunningError,
    OutOfMemoryError,
    SpecError,
    StateCorruptError,
    StateError,
)
from .entering import Entering, ExecOptions
from .hooking import Hooking
from .listener import Destination, remembered_supervisor
from .observed import Observed
from .process import Process, SignalName, signal_number
from .starting import knock, pass_gate
from .status import Status, after, require
from .stdio import Redirects
from .units import end_unit
from .updating import Update, read_resources

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Sequence

    from ..cgroups import Cgroup
    from ..cgroups.systemd import Unit
    from ..criu.messages import DumpStats
    from ..events import ExitStatus, Monitor, SeccompNotifications
    from ..hooks import Callbacks
    from ..plan.hooks import HookKind
    from ..plan.unit_differences import PropertyDifference
    from ..spec import IntelRdt, Resources, Spec
    from ..store import Lock, State
    from .deadline import Deadline
    from .environment import Environment
    from .readiness import Readiness
    from .stats import Stats
    from .stdio import Redirect

__all__ = ["Container"]

T = TypeVar("T")

_KILL_S = 30.0
"""How long a killed process may take to end: it can sit in an uninterruptible system call."""


class Container(Observed):
    """One container; made by `Runtime.create`, `Runtime.container` and `Runtime.load`.

    Operations that change it take turns, also with other processes.  A cancelled `start`, `kill`
    or `delete` is finished first: none leaves a container half-way.  Hooks may take for ever and are
    not waited for then: they are killed, and those of `start` stop the container as if they had failed.
    """

    def __init__(
        self,
        environment: Environment,
        state: State,
        cgroup: Cgroup,
        process: Process | None,
        monitor: Monitor,
        *,
        unit: Unit | None = None,
        spec: Spec | None = None,
        callbacks: Callbacks | None = None,
        notifications: SeccompNotifications | None = None,
        property_differences: tuple[PropertyDifference, ...] = (),
        forget: Callable[[Container], None] = lambda _: None,
    ) -> None:
        """Take over *process*, which is None where the init had ended before we came."""
        super().__init__(environment, state, cgroup, process, monitor, spec=spec, notifications=notifications)
        self._unit = unit
        self.property_differences: tuple[PropertyDifference, ...] = property_differences
        """Properties of its unit that the service manager altered or dropped, as read back at create."""
        self._callbacks = callbacks
        self._left: Hooking | None = None
        """Has hooks to run, for it is gone."""
        self._forget = forget
        self._turn = asyncio.Lock()
        self._deadlines: set[Deadline] = set()

    # Lifecycle --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Run the user's program; returns once execve(2) has worked.  OCI runtime.md "Start".

        Raises `StateError` unless created, `BootstrapError` where the program cannot be run, `HookError`
        where a hook failed: the container is stopped then, and its poststop hooks have run.
        """
        if self._has_hooks("startContainer", "poststart"):
            await self._start_with_hooks()
        else:
            await finish(self._start)

    async def readiness(self) -> Readiness | None:
        """Listen for its program to say by sd_notify(3) that it is ready: call it before `start`.

        What is returned has to be closed, by ``with``; its `wait` tells.  None unless the container was
        created with *notify_socket*.  `NotRunningError` once it has stopped.
        """
        from .readiness import Readiness  # only those who use it pay for it

        require(await self.status(), "start", id=self.id)
        assert self._process is not None
        pidfd = self._process.duplicate()
        store = self._environment.store
        try:
            notify = await in_thread(lambda: store.bind_notify(self.id), undo=_close)
        except BaseException:
            pidfd.close()
            raise
        if notify is None:
            pidfd.close()
            return None
        return Readiness(notify, pidfd, lambda: store.unlink_notify(self.id))

    async def exec(
        self,
        args: Sequence[str] | _spec.Process,
        *,
        stdin: Redirect = None,
        stdout: Redirect = None,
        stderr: Redirect = None,
        env: Mapping[str, str] | Sequence[str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        tty: bool = False,
        console_socket: str | None = None,
        no_new_privileges: bool | None = None,
        apparmor: str | None = None,
        selinux_label: str | None = None,
        capabilities: Sequence[str] = (),
        additional_gids: Sequence[int] = (),
        preserve_fds: int = 0,
        cgroup_paths: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        ignore_paused: bool = False,
        reap: bool = True,
    ) -> Process:
        """Run another process in it: all its namespaces, its cgroup, its credentials.

        *args* may be a whole OCI process object; what else is given overrides it.  *env* adds to the
        container's environment, *capabilities* to its sets (never to the inheritable one), *user* is
        ``uid[:gid]``.  *cgroup_paths* name cgroups that are there already, below the container's: by
        controller where each has a hierarchy of its own (v1), or "" for all.  *stdin*, *stdout*, *stderr*,
        *console_socket* and *preserve_fds* are as in `Runtime.create`.  A cancelled exec leaves no process
        behind.  `BootstrapError` where the program cannot be run, `NotRunningError` once it has stopped.
        After *timeout_s* the process and all that it has started are killed, or when this runtime ends;
        `ExitStatus.timed_out` tells.  `UnsupportedError` for one without a cgroup.  It is this application
        that keeps the deadline: should it be killed, the process lives on in a "detached" container.
        `PausedError` for a container that is paused; with *ignore_paused* this waits until it is resumed.
        Without *reap* its status is left to whoever inherits it when this program ends.
        """
        options = ExecOptions(
            redirects=Redirects(stdin, stdout, stderr),
            env=_pairs(env),
            cwd=cwd,
            user=user,
            tty=tty,
            console_socket=console_socket,
            no_new_privileges=no_new_privileges,
            apparmor=apparmor,
            selinux_label=selinux_label,
            capabilities=tuple(capabilities),
            additional_gids=tuple(additional_gids),
            preserve_fds=preserve_fds,
            cgroup_paths=dict(cgroup_paths or {}),
            timeout_s=timeout_s,
            reap=reap,
        )
        spec = await self.config()
        async with self._turn:
            status = await self.status()
            waits = ignore_paused and status is Status.PAUSED
            if not waits:
                require(status, "exec", id=self.id)
            assert self._process is not None
            entering = Entering(
                self._environment,
                self._record,
                self._cgroup,
                self._process,
                spec,
                args,
                options,
                self._notifications,
                self._unit,
            )
            process = None if waits else await entering.run()
        if process is None:  # and not in our turn: resume needs one
            process = await entering.run()
        self._keep(process, entering.deadline)
        return process

    def _keep(self, process: Process, deadline: Deadline | None) -> None:
        """Tell when a process that exec added ends, and end it in time."""
        if deadline is not None:
            self._deadlines.add(deadline)
            deadline.begin(process, self._deadlines.discard)
        process.when_ended(lambda: self.watching.exec_exited(process))

    async def kill(self, name: SignalName = signal.SIGTERM, *, all: bool = False) -> None:
        """Send a signal to the init, or to *all* processes; `NotRunningError` once it has stopped.

        SIGKILL without a pid namespace of its own goes to all, as nothing else would end the rest.
        """
        number = signal_number(name)
        require(await self.status(), "kill", id=self.id)
        everyone = all or (number == signal.SIGKILL and "pid" not in self._record.namespaces)
        if everyone:
            if number == signal.SIGKILL:
                self.watching.shot()
            await in_thread(lambda: self._cgroup.kill(number))
        elif self._process is None or not self._process.send_signal(number):
            raise NotRunningError("kill", status=Status.STOPPED, id=self.id)
        elif number == signal.SIGKILL:
            await in_thread(self._cgroup.thaw)  # v1: a frozen process does not even die

    async def stop(self, *, grace_s: float = 10.0, name: SignalName = signal.SIGTERM) -> ExitStatus:
        """Ask the init to end by the signal *name*, and kill it where it has not after *grace_s* seconds.

        Returns how it ended, also where it had ended before.  Init of a pid namespace has no default actions:
        what does not handle the signal is killed after *grace_s*.  signal(7)
        """
        with contextlib.suppress(NotRunningError):
            await self.kill(name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    return await self.wait()
            await self.kill(signal.SIGKILL)
        return await self.wait()

    async def pause(self) -> None:
        """Freeze all its processes; returns once the kernel says that they are.

        `StateError` unless created or running; `UnsupportedError` without a cgroup that can freeze.
        """
        await self._freeze("pause", self._cgroup.freeze)
        self.watching.froze(True)

    async def resume(self) -> None:
        """Let its processes go on; `NotRunningError` unless paused."""
        await self._freeze("resume", self._cgroup.thaw)
        self.watching.froze(False)

    async def update(
        self,
        resources: Resources | Mapping[str, object] | bytes | str,
        *,
        intel_rdt: IntelRdt | None = None,
    ) -> None:
        """Change limits: what *resources* do not say stays, and -1 takes a limit away.

        They may be a mapping or JSON of the OCI's ``resources``, too.  All of it takes effect or nothing:
        what is refused raises `SpecError`, `UnsupportedError` or `CgroupError`, with what was set already
        set back.  *intel_rdt* changes the schemas of a container that has some.  `NotRunningError` once it
        has stopped.
        """
        asked = read_resources(resources)
        await finish(lambda: self._update(asked, intel_rdt))

    async def delete(self, *, force: bool = False, read_stats: bool = False) -> None:
        """Remove what create made; *force* kills it first, and does not mind its being gone.

        Raises `StateError` while it runs.  The bundle is not touched.  OCI runtime.md "Delete".
        Poststop hooks come last; what fails of them is logged.  With *read_stats* the usage is read
        before its cgroup goes, for `last_stats`.
        """
        try:
            await finish(lambda: self._delete(force=force, read_stats=read_stats))
        finally:
            left, self._left = self._left, None
            if left is not None:
                await left.after_end()

    # Saving -----------------------------------------------------------------------------------------

    async def checkpoint(
        self,
        *,
        images: str | os.PathLike[str],
        leave_running: bool = False,
        pre_dump: bool = False,
        **options: Any,
    ) -> DumpStats:
        """Save its processes into the directory *images* with CRIU; then it is gone, as after `delete`.

        Unless it is to go on: *leave_running*, or *pre_dump*, which saves memory only, for another
        checkpoint whose ``parent`` it is.  *options* are those of `CheckpointOptions`.  The directory is
        made, for us alone.  `CriuError` with the lines of CRIU's log that say why: then, and if this is
        cancelled before the images are complete, the container is as it was.  `UnsupportedError` without
        CRIU or protobuf, or for what they cannot do; `StateError` unless running or paused.
        """
        from ..criu.options import CheckpointOptions
        from .checkpointing import Checkpointing

        asked = CheckpointOptions(leave_running=leave_running, pre_dump=pre_dump, **options)
        spec = await self.config()
        goes_on = leave_running or pre_dump
        checkpointing: Checkpointing | None = None
        try:
            async with self._turn:
                status = await self.status()
                require(status, "checkpoint", id=self.id)
                checkpointing = Checkpointing(
                    self._environment,
                    self._record,
                    self._cgroup,
                    spec,
                    os.fspath(images),
                    asked,
                    paused=status is Status.PAUSED,
                )
                return await checkpointing.run()
        finally:
            if checkpointing is not None and checkpointing.done and not goes_on:
                self.watching.shot()
                await self.delete(force=True)

    async def checkpoint_in_rounds(
        self, *, images: str | os.PathLike[str], most: int = 8, pages: int = 1000, **options: Any
    ) -> list[DumpStats]:
        """Save its memory while it runs, until little is left to save, and then all of it.

        Rounds go into directories ``1``, ``2``, ... below *images*, each with what has changed since the
        one before; the checkpoint into ``last``, which is what `Runtime.restore` takes.  There are no more
        rounds than *most*, and none after one that wrote at most *pages*, or no less than the one before.
        Returns what each has counted.  Raises what `checkpoint` raises, and takes its *options*.
        """
        from .rounds import checkpoint_in_rounds

        return await checkpoint_in_rounds(self.checkpoint, os.fspath(images), most, pages, options)

    # ------------------------------------------------------------------------------------------------

    async def end_deadlines(self) -> None:
        """Let every deadline of exec come now: nobody will be there to keep it."""
        for deadline in tuple(self._deadlines):
            await deadline.end()

    def close(self) -> None:
        """Let go of it without touching it: streams, terminal and pidfd."""
        if self._process is not None:
            self._process.close()
        if self._notifications is not None:
            self._notifications.close()
        self.watching.close()
        self._cgroup.close()
        self._forget(self)

    async def _locked(self, work: Callable[[Lock], T], *, on_store: bool = False) -> T:
        """Do *work* in our turn among processes; *work* releases the lock or keeps it.

        In a thread, unless all of it is *on_store* and the store is in memory: then a hop would take
        longer than the few calls, which wait for nothing.

        flock(2) is asked, not waited for, so that nobody's thread is blocked by somebody else.
        """
        store, id = self._environment.store, self.id

        def attempt() -> tuple[T] | None:
            lock = store.lock(id)
            return None if lock is None else (work(lock),)

        delay_s = 0.0005
        at_once = on_store and self._environment.store.in_memory
        while (done := attempt() if at_once else await in_thread(attempt)) is None:
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, 0.05)
        return done[0]

    async def _start(self) -> None:
        """Knock and go through; under `finish`, so never cancelled half-way."""
        async with self._turn:
            if self._deleted or self._process is None or self._process.exit is not None:
                after(Status.STOPPED, "start", id=self.id)
            await self._go_through()

    async def _go_through(self) -> None:
        assert self._process is not None
        destination = await self._destination()  # while nothing is lost yet should it fail
        try:
            lock, gate = await self._locked(self._knock, on_store=True)
            with lock:
                await pass_gate(self._record, gate, destination)
        except NotRunningError as exc:
            kills = await in_thread(self._cgroup.oom_kills)
            if kills > 0:
                raise OutOfMemoryError("start", kills, id=self.id, certain=False) from exc
            if (exit := self._process.exit) is not None:
                exc.add_note(f"its init was {exit}" if exit.signal else f"its init {exit}")
            raise
        finally:
            if destination is not None:
                destination.close()
        self._process.started()
        self.watching.started()

    async def _start_with_hooks(self) -> None:
        hooking = await self._hooking()
        async with self._turn:
            after(await self.status(), "start", id=self.id)
            async with self._stopped_by_failure(hooking, Exception):
                await hooking.before_start(self._record.pid)
            going = asyncio.ensure_future(self._go_through())
            async with self._stopped_by_failure(hooking, HookError, going):
                await asyncio.shield(going)
        async with self._stopped_by_failure(hooking, Exception):
            await hooking.after_start(self._record.pid)

    @contextlib.asynccontextmanager
    async def _stopped_by_failure(
        self, hooking: Hooking, failure: type[Exception], going: asyncio.Future[None] | None = None
    ) -> AsyncIterator[None]:
        """Stop the container at a failure or cancellation of its hooks; *going* then ends by itself."""
        try:
            yield
        except (failure, asyncio.CancelledError) as exc:
            await undo(exc, lambda: self._halt(going))
            if self._has_hooks("poststop"):
                await hooking.after_end()
                await undo(exc, self._forget_hooks)
            raise

    async def _halt(self, going: asyncio.Future[None] | None) -> None:
        with contextlib.suppress(NotRunningError):
            await self.kill(signal.SIGKILL)
        if going is not None:
            await asyncio.wait([going])
            going.cancelled() or going.exception()  # seen
        async with asyncio.timeout(_KILL_S):
            await self.wait()

    # Hooks ------------------------------------------------------------------------------------------

    def _has_hooks(self, *kinds: HookKind) -> bool:
        """Whether there is something to run at one of these points, as far as this process knows."""
        if self._callbacks is not None:
            return True
        return not set(kinds).isdisjoint(self._record.facts.get("hooks", ()))

    async def _hooking(self) -> Hooking:
        """Return the hooks as they were at create."""
        environment = self._environment.hook_environment()
        return Hooking(await self.config(), self.id, self.bundle, self._callbacks, environment)

    async def _forget_hooks(self) -> None:
        """Remember that the hooks have run for the last time."""
        self._callbacks = None
        self._record = replace(self._record, facts={**self._record.facts, "hooks": []})
        store, record = self._environment.store, self._record

        def save(lock: Lock) -> None:
            with lock:
                store.save(record.id, record)

        await self._locked(save)

    async def _destination(self) -> Destination | None:
        """Reach whoever answers for the filter, if start hands over its listener."""
        remembered = remembered_supervisor(self._record)
        if remembered is None:
            return None
        own, id = self._notifications, self.id
        return await in_thread(lambda: Destination(remembered, own, id), undo=Destination.close)

    def _knock(self, lock: Lock) -> tuple[Lock, socket.socket]:
        try:
            return lock, knock(self._environment.store, self.id)
        except BaseException:
            lock.release()
            raise

    async def _freeze(self, operation: str, change: Callable[[], None]) -> None:
        async with self._turn:
            after(await self.status(), operation, id=self.id)
            await finish(lambda: in_thread(change))

    async def _update(self, asked: Resources, rdt: IntelRdt | None) -> None:
        async with self._turn:
            require(await self.status(), "update", id=self.id)
            update = Update(self._environment, self._cgroup, self.id, asked, rdt)

            def begin(lock: Lock) -> Lock:
                with contextlib.ExitStack() as undo:
                    undo.enter_context(lock)
                    update.begin(lock, by_manager=self._unit is not None)
                    undo.pop_all()
                return lock

            with await self._locked(begin):
                if self._unit is not None and update.properties:
                    try:
                        await self._tell_unit(self._unit, update)
                    except BaseException as exc:
                        await undo(exc, lambda: in_thread(update.undo))
                        raise
                self._record = await in_thread(update.save)
            self.watching.updated()
        for warning in update.warnings:
            from logging import getLogger  # only those who use it pay for it

            getLogger("aiocontainer").warning("container %s: %s", self.id, warning)

    @staticmethod
    async def _tell_unit(unit: Unit, update: Update) -> None:
        await in_thread(update.hold)
        try:
            await unit.update(update.properties)
            await unit.settle()
        finally:
            await in_thread(update.release)

    async def _delete(self, *, force: bool, read_stats: bool) -> None:
        async with self._turn:
            if self._deleted:
                return
            status = await self.status()
            if not force:
                require(status, "delete", id=self.id)
            hooking = await self._last_hooks(force=force) if self._has_hooks("poststop") else None
            try:
                await self._end(status)
                if read_stats:
                    await self._read_last()
                await self._end_unit()
                await self._locked(self._remove)
                self._left = hooking
            except NotFoundError:  # somebody else was faster
                if not force:
                    raise
            await self.end_deadlines()
            self._deleted = True
            self.watching.deleted()
            self.close()

    async def _last_hooks(self, *, force: bool) -> Hooking | None:
        """Read the poststop hooks while they can be; *force* does without those that cannot."""
        try:
            return await self._hooking()
        except (StateCorruptError, SpecError):
            if not force:
                raise
            return None

    async def _end(self, status: Status) -> None:
        """Kill what still runs, and wait until it is gone."""
        if self._process is None:
            return
        if status is Status.STOPPED:
            await self._process.wait()  # what is to be told of the end has been told then
            return
        self._process.kill()
        if status is Status.PAUSED:
            await in_thread(self._cgroup.thaw)
        try:
            async with asyncio.timeout(_KILL_S):
                await self._process.wait()
        except TimeoutError:
            reason = "killed, but its init does not end"
            raise StateError("delete", status=status, id=self.id, reason=reason) from None

    async def _read_last(self) -> None:
        """Read what it has used in all, before its unit or its cgroup goes."""

        def read() -> Stats | None:
            from .stats import last_stats

            return last_stats(accounts)

        accounts = self.accounts()
        self._last_stats = await in_thread(read)

    async def _end_unit(self) -> None:
        record = self._record.cgroup.unit
        if self._unit is not None:
            await end_unit(self._unit, self._cgroup, record.inode if record is not None else 0)

    def _remove(self, lock: Lock) -> None:
        with lock:
            self._cgroup.remove()
            if self._record.resctrl is not None:
                resctrl.remove(self._record.resctrl)
            self._environment.store.remove(self.id)
        self._report_devices()

    def _report_devices(self) -> None:
        """Tell of network devices that were moved in: with their namespace they go, or come back renamed."""
        moved: dict[str, str] = self._record.facts.get("netDevices", {})
        for host, name in moved.items():
            from logging import getLogger  # only those who use it pay for it

            text = "container %s: network device %s was moved in as %s, and is not moved back"
            getLogger("aiocontainer").warning(text, self.id, host, name)


def _close(notify: socket.socket | None) -> None:
    if notify is not None:
        notify.close()


def _pairs(env: Mapping[str, str] | Sequence[str] | None) -> tuple[str, ...]:
    """Write an environment as the OCI does: NAME=VALUE."""
    if isinstance(env, Mapping):
        return tuple(f"{name}={value}" for name, value in env.items())
    return tuple(env or ())
