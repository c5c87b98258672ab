"""Exec: one more process in a running container, or none."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from .. import native
from .._aio import OwnedFd, in_thread, undo
from ..cgroups import may_move
from ..errors import HelperError, OutOfMemoryError, SpecError, UnsupportedError
from ..plan import options as _plan_options
from ..plan.exec import compile_exec
from ..plan.flags import PAUSE_CONSOLE
from ..plan.steps import Pause, Seccomp
from ..spec import Capabilities, User
from ..spec import Process as ProcessSpec
from ..spec.ids import parse_user
from .bringup import Bringup
from .compiled import traits_of
from .deadline import Deadline
from .fds import Sources, birth_cgroup
from .listener import Destination, process_state, supervisor
from .source import find_home
from .subgroups import entered, home_name, home_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..cgroups import Cgroup
    from ..cgroups.systemd import Unit
    from ..events import SeccompNotifications
    from ..plan.plan import Plan
    from ..spec import Spec
    from ..store import State
    from .environment import Environment
    from .process import Process
    from .stdio import Redirects

__all__ = ["Entering", "ExecOptions", "merged"]


class ExecOptions(Struct, frozen=True, kw_only=True):
    """What the caller of exec says besides the program."""

    redirects: Redirects
    env: tuple[str, ...] = ()
    cwd: str | None = None
    user: str | None = None
    tty: bool = False
    console_socket: str | None = None
    no_new_privileges: bool | None = None
    apparmor: str | None = None
    selinux_label: str | None = None
    capabilities: tuple[str, ...] = ()
    additional_gids: tuple[int, ...] = ()
    preserve_fds: int = 0
    cgroup_paths: Mapping[str, str] = {}
    timeout_s: float | None = None
    reap: bool = True


def merged(args: Sequence[str] | ProcessSpec, base: ProcessSpec | None, options: ExecOptions) -> ProcessSpec:
    """Return the process to run: *args* if it is one, else the container's own with other arguments.

    Options override either.  Capabilities are added to the bounding, effective and permitted sets, never
    to the inheritable one: CVE-2022-29162.
    """
    if isinstance(args, ProcessSpec):
        process = args
    elif isinstance(args, str):
        raise SpecError("is a list of arguments, not a command line", origin="args")
    else:
        process = replace(base or ProcessSpec(cwd="/"), args=tuple(args), terminal=False)
    changes: dict[str, object] = {}
    if options.env:
        changes["env"] = (*process.env, *options.env)
    if options.cwd is not None:
        changes["cwd"] = options.cwd
    if options.tty:
        changes["terminal"] = True
    if options.no_new_privileges is not None:
        changes["no_new_privileges"] = options.no_new_privileges
    if options.apparmor is not None:
        changes["apparmor_profile"] = options.apparmor
    if options.selinux_label is not None:
        changes["selinux_label"] = options.selinux_label
    if options.capabilities:
        changes["capabilities"] = _with_capabilities(process.capabilities, options.capabilities)
    user = _user(process.user, options)
    if user is not process.user:
        changes["user"] = user
    return replace(process, **changes)


def _user(user: User, options: ExecOptions) -> User:
    if options.user is not None:
        uid, gid = parse_user(options.user)
        user = User(uid=uid, gid=user.gid if gid is None else gid, umask=user.umask)
    if options.additional_gids:
        user = replace(user, additional_gids=(*user.additional_gids, *options.additional_gids))
    return user


def _with_capabilities(had: Capabilities | None, more: tuple[str, ...]) -> Capabilities:
    had = had or Capabilities()
    added = {
        name: tuple(dict.fromkeys((*(getattr(had, name) or ()), *more)))
        for name in ("bounding", "effective", "permitted")
    }
    return replace(had, **added)


class Entering:
    """One exec; on failure or cancellation no process of it is left."""

    def __init__(
        self,
        environment: Environment,
        state: State,
        cgroup: Cgroup,
        init: Process,
        spec: Spec,
        args: Sequence[str] | ProcessSpec,
        options: ExecOptions,
        own: SeccompNotifications | None = None,
        unit: Unit | None = None,
    ) -> None:
        self._environment = environment
        self._state = state
        self._cgroup = cgroup
        self._subgroup = home_name(state)
        self._place = home_of(cgroup, self._subgroup, environment.cgroup_mounts)
        """What it enters: where the container's processes are."""
        self._init = init
        self._spec = spec
        self._options = options
        self._own = own
        self._deadline: Deadline | None = None
        if options.timeout_s is not None:
            if options.cgroup_paths:
                raise SpecError("a process with a deadline gets a cgroup of its own", origin="cgroup_paths")
            self._deadline = Deadline(self._place, options.timeout_s, environment.cgroup_mounts)
        self._process = merged(args, spec.process, options)
        self._kills = 0
        """For want of memory, before us."""
        self._up = Bringup(options.redirects, options.console_socket, reap=options.reap)
        self._unit = unit
        self._moved = False
        """By the service manager, because we may not."""
        self._destination: Destination | None = None

    async def run(self) -> Process:
        """Return the process once execve(2) has worked; `BootstrapError` where it has not."""
        try:
            with self._init.duplicate() as pidfd:
                await in_thread(lambda: self._enter(pidfd.fileno()), interrupt=self._up.interrupt)
            if self._moved:
                await self._attach()
                await in_thread(self._go_on, interrupt=self._up.interrupt)
            process = await self._up.process(self._process.args)
        except BaseException as exc:
            await undo(exc, self._undo)
            if isinstance(exc, HelperError):
                await self._explain(exc)
            raise
        finally:
            if self._destination is not None:
                self._destination.close()
            if self._place is not self._cgroup:
                self._place.close()
        process.started()
        self._up.launch.close()
        return process

    async def _attach(self) -> None:
        """Have the manager of the unit move the process, which waits."""
        assert self._unit is not None
        below = (self._subgroup, self._options.cgroup_paths.get("", "").strip("/"))
        await self._unit.attach("".join(f"/{each}" for each in below if each), [self._up.launch.born().pid])

    @property
    def deadline(self) -> Deadline | None:
        """What ends the process, once it has been told to begin."""
        return self._deadline

    async def _undo(self) -> None:
        await self._up.undo()
        if self._deadline is not None:
            await in_thread(self._deadline.remove)

    async def _explain(self, failure: HelperError) -> None:
        """Raise what the end of a helper may mean, where the kernel has killed for want of memory since."""
        kills = await in_thread(self._cgroup.oom_kills) - self._kills
        if kills > 0:
            raise OutOfMemoryError("exec in", kills, id=self._state.id, certain=False) from failure

    # In a thread ------------------------------------------------------------------------------------

    def _enter(self, init: int) -> None:
        """Send the plan, and do the parent's part until execve(2) has worked, or it waits to be moved."""
        user = self._unit is not None and self._unit.user
        self._moved = user and not may_move(self._place.paths)
        self._kills = self._cgroup.oom_kills()
        plan = compile_exec(self._process, self._spec, self._environment.host, self._plan_options())
        if self._deadline is not None:
            if self._moved:
                raise UnsupportedError("a deadline for exec", needs="the right to move processes")
            self._deadline.create()
        self._destination = self._reached(plan)
        self._send(self._environment.filters.complete(plan), init)
        if self._moved:
            self._up.launch.channel.paused()
        else:
            self._bootstrap()

    def _go_on(self) -> None:
        self._up.launch.channel.proceed()
        self._bootstrap()

    def _bootstrap(self) -> None:
        pid = self._up.launched().pid
        channel, destination = self._up.launch.channel, self._destination
        assert destination is not None
        while (step := channel.paused_or_executed()) is not None:
            if isinstance(step, Seccomp):
                destination.deliver(channel.dialogue.taken(), pid, process_state(self._state, "running"))
            elif isinstance(step, Pause) and step.kind == PAUSE_CONSOLE:
                self._up.take_console()
            else:
                raise HelperError(f"nothing to do at {step}")
            channel.proceed()

    def _reached(self, plan: Plan) -> Destination:
        """Reach whoever answers for the process's filter."""
        traits = traits_of(plan)
        listens = traits.listens_early or traits.listens_late
        return Destination(supervisor(self._spec) if listens else None, self._own, self._state.id)

    def _send(self, plan: Plan, init: int) -> None:
        """Open what is passed, send the plan."""
        with self._entered() as cgroup:
            self._up.send(
                self._environment.spawner,
                plan,
                native.encode_plan(plan.steps, len(plan.fds)),
                lambda payload, _: Sources(
                    stdio=payload, tasks=cgroup.open_tasks, init=init, init_pid=self._init.pid
                ),
                processes=traits_of(plan).processes,
                cgroup_fd=-1 if self._moved else birth_cgroup(cgroup, plan),
                owned=self._environment.owned,
            )

    def _entered(self) -> AbstractContextManager[Cgroup | Deadline]:
        if self._deadline is not None:
            return nullcontext(self._deadline)
        return entered(self._place, self._options.cgroup_paths, self._init.pid)

    def _plan_options(self) -> _plan_options.ExecOptions:
        return _plan_options.ExecOptions(
            id=self._state.id,
            namespaces=self._state.namespaces,
            cgroup_paths=self._place.paths,
            moved_by_manager=self._moved,
            enter_cgroup=(self._deadline or self._place).made.get("") == 0,
            resctrl=self._state.resctrl.task_files if self._state.resctrl is not None else (),
            keyring=bool(self._state.facts.get("keyring")),
            console=self._process.terminal,
            stdio_owner=self._options.redirects.pipes,
            preserve_fds=self._options.preserve_fds,
            home=self._home(),
        )

    def _home(self) -> str | None:
        try:
            root = OwnedFd(os.open(f"/proc/{self._init.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError:
            return None
        with root:
            return find_home(self._process, root.fileno())
