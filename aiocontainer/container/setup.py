"""Create: from a specification to an init that waits at its gate, or to nothing at all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from .. import resctrl
from .. import spec as _spec
from .._aio import OwnedFd, in_thread, undo
from ..cgroups import where_is
from ..errors import BootstrapError, HelperError, OutOfMemoryError, SpecError
from ..events import Counters, first_reading
from ..plan.flags import (
    PAUSE_CGROUP,
    PAUSE_CONSOLE,
    PAUSE_CREATED,
    PAUSE_HOOKS,
    PAUSE_MAPS,
    PAUSE_NETWORK,
    PAUSE_READY,
)
from ..plan.options import Options
from ..plan.steps import Pause, Seccomp
from ..store import Record, State, UnitRecord, boot_id, identify, namespace_inodes, timestamp
from .bringup import Bringup
from .fds import Sources, birth_cgroup, cgroup_record
from .hooking import Hooking, later_hooks
from .joined import look_at_joined
from .listener import Destination, late_listener, supervisor
from .maps import prepare_namespace
from .source import find_home, load_source
from .units import end_unit, unit_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from ..cgroups import Cgroup
    from ..cgroups.systemd import Unit
    from ..events import SeccompNotifications
    from ..hooks import Callbacks
    from ..network import MovedDevices
    from ..plan.options import PropertyPolicy
    from ..plan.plan import Plan
    from ..plan.resctrl import ResctrlGroup
    from ..plan.steps import Step
    from ..plan.unit_differences import PropertyDifference
    from ..spec import Spec
    from ..store import Identity, Lock
    from .compiled import Compiled
    from .environment import Environment
    from .process import Process
    from .source import Source
    from .stdio import Redirects

__all__ = ["CreateOptions", "Created", "Setup"]


_MADE: Final = (PAUSE_CREATED, PAUSE_READY)


class CreateOptions(Struct, frozen=True, kw_only=True):
    """What the caller of create says besides the specification."""

    redirects: Redirects
    console_socket: str | None = None
    """Path of the socket that takes the terminal's master; else `Process.console` has it."""
    preserve_fds: int = 0
    listen_fds: int = 0
    listen_fd_names: tuple[str, ...] = ()
    config: str | None = None
    """File instead of the bundle's config.json."""
    no_pivot: bool = False
    no_new_keyring: bool = False
    notify_socket: bool = False
    """Give it a socket of its own to say there that it is ready."""
    systemd_properties: tuple[tuple[str, str], ...] = ()
    property_policy: PropertyPolicy = "careful"
    verify_properties: bool = False
    """Read back what the service manager has of the properties that were asked for."""
    start: bool = False
    """Run the program at once, where nothing has to be done between created and started."""
    reap: bool = True
    callbacks: Callbacks | None = None
    notifications: SeccompNotifications | None = None
    """Where the application itself answers what a filter asks."""


class Created(Struct, frozen=True):
    """What a finished create hands over to the container."""

    state: State
    spec: Spec
    cgroup: Cgroup
    unit: Unit | None
    process: Process
    first: Counters
    """What had been counted before anything ran in the cgroup."""
    started: bool
    """Its program runs already."""
    warnings: tuple[str, ...]
    """What was accepted, but may not be what was meant."""
    differences: tuple[PropertyDifference, ...] = ()
    """What the service manager altered or dropped, where that was read back."""


class Setup:
    """One create.

    Write-ahead: the record with the names of everything is in the store before anything is made.
    """

    def __init__(self, environment: Environment, id: str, source: Source, options: CreateOptions) -> None:
        self._environment = environment
        self._id = id
        self._source = source
        self._options = options
        self._up = Bringup(options.redirects, options.console_socket, reap=options.reap)
        self._destination: Destination | None = None
        self._lock: Lock | None = None
        self._cgroup: Cgroup | None = None
        self._unit: Unit | None = None
        self._differences: tuple[PropertyDifference, ...] = ()
        self._first = Counters()
        self._resctrl: ResctrlGroup | None = None
        self._moved: MovedDevices | None = None
        self._at_once = False
        """The program runs as soon as the container is made."""
        self._kills = 0
        """For want of memory: before us at first, and in the end because of us."""
        self._spec: Spec
        self._plan: Plan
        self._bundle: str
        self._compiled: Compiled
        self._identity: Identity | None

    async def run(self) -> Created:
        """Do it all; on failure or cancellation nothing is left."""
        try:
            met = await in_thread(self._create, interrupt=self._up.interrupt)
            while not isinstance(met, State):
                met = await self._attend(met)
            state = met
            process = await self._up.process(self._args)
        except BaseException as exc:
            await undo(exc, self._undo)
            if self._lock is not None:  # something was begun
                await self._hooking.after_end()
            if self._kills > 0 and isinstance(exc, HelperError | BootstrapError):
                raise OutOfMemoryError("create", self._kills, id=self._id) from exc
            raise
        self._up.launch.close()
        assert self._cgroup is not None
        assert self._lock is not None
        self._lock.release()
        if self._moved is not None:
            self._moved.close()
        if self._at_once:
            process.started()
        return Created(
            state,
            self._spec,
            self._cgroup,
            self._unit,
            process,
            self._first,
            self._at_once,
            self._plan.warnings,
            self._differences,
        )

    @property
    def _args(self) -> tuple[str, ...]:
        return self._spec.process.args if self._spec.process is not None else ()

    # In a thread ------------------------------------------------------------------------------------

    def _create(self) -> State | int:
        """Send the plan, and go on to the first pause that the loop attends to; or else to the end."""
        self._prepare()
        self._environment.store.save_config(self._id, self._compiled.config)  # while the helper works
        self._identity = self._identify_early()
        return self._go_on()

    def _go_on(self) -> State | int:
        """Do the parent's part at each pause; one for the loop is returned.  Then make the state durable."""
        met = self._bootstrap()
        if met == PAUSE_CGROUP:
            return met
        launched = self._up.launched()
        if met not in _MADE:
            return met
        identity = self._identity
        if identity is None or identity.pid != launched.pid:
            identity = identify(launched.pid, launched.pidfd.fileno())
        state = self._save(identity)
        self._up.launch.channel.proceed()  # from here on the init outlives us
        if self._at_once and self._up.launch.channel.paused_or_executed() is not None:
            raise HelperError("the helper paused where nothing is left to do")
        return state

    def _prepare(self) -> None:
        """Compile, record, make cgroup and gate, open what is passed, send the plan."""
        overlay = self._load()
        self._at_once = self._options.start and self._can_start_at_once()
        self._compile(overlay=overlay)
        self._connect()
        spawner = self._environment.spawner
        self._reserve(overlay=overlay)
        compiled, cgroup = self._compiled, self._cgroup
        assert cgroup is not None
        self._up.send(
            spawner,
            self._plan,
            compiled.wire,
            self._sources,
            processes=compiled.traits.processes,
            cgroup_fd=birth_cgroup(cgroup, self._plan) if self._unit is None else -1,
            owned=self._environment.owned,
        )

    def _load(self) -> bool:
        """Read the source; whether it is to lie under a throw-away layer."""
        config = self._options.config
        self._spec, self._bundle, overlay = load_source(self._source, self._environment.host, config=config)
        if self._options.notify_socket:
            from .readiness import with_notify_socket  # only those who use it pay for it

            self._spec = with_notify_socket(self._spec, *self._environment.store.notify_place(self._id))
        return overlay

    def _reserve(self, *, overlay: bool) -> None:
        """Record what will be made, and make the cgroup.

        Every refusal of the specification happens before anything is touched.
        """
        cgroup = self._environment.cgroup(self._plan.cgroup)
        cgroup.survey()
        unit = self._planned_unit(cgroup)
        group = self._survey_resctrl()
        record = Record(
            id=self._id,
            bundle=self._bundle,
            boot_id=boot_id(),
            cgroup=cgroup_record(cgroup, unit),
            resctrl=group,
            devices=self._survey_devices(),
            network=self._network(),
        )
        self._lock = self._environment.store.create(self._id, record.encode())
        if self._options.notify_socket:
            self._environment.store.make_notify(self._id)
        self._cgroup = cgroup
        if self._unit is None:
            cgroup.create()
            self._read_first(cgroup)
        if group is not None:
            resctrl.create(group)
            self._resctrl = group
        if self._unit is None:
            self._limit(cgroup)
            if cgroup.made.get("") == 0:
                self._compile(overlay=overlay, enter_cgroup=True)

    def _compile(self, *, overlay: bool, enter_cgroup: bool = False) -> Compiled:
        options = self._plan_options(overlay=overlay, enter_cgroup=enter_cgroup)
        compiled = self._environment.compiler.compile(self._spec, options)
        self._compiled, self._plan = compiled, compiled.plan
        return compiled

    def _planned_unit(self, cgroup: Cgroup) -> UnitRecord | None:
        """Return what is written down of the unit before it is made: nothing of one that is there."""
        if self._plan.cgroup is None or self._plan.cgroup.unit is None:
            return None
        plan = self._plan.cgroup.unit
        self._unit = self._environment.managers.unit(plan)
        if cgroup.inode():
            return None
        return UnitRecord(name=plan.name, user=plan.user, uid=self._environment.host.euid)

    def _enter_unit(self, pid: int) -> None:
        """Complete what the service manager has made around the first process."""
        assert self._unit is not None
        assert self._cgroup is not None
        assert self._plan.cgroup is not None
        paths = self._plan.cgroup.paths
        actual = paths if self._unit.is_slice else where_is(pid, paths)
        if actual != paths:
            self._cgroup.close()
            self._cgroup = self._environment.cgroup(replace(self._plan.cgroup, paths=actual))
        self._cgroup.adopt(pid, ours=self._unit.is_ours)
        self._read_first(self._cgroup)
        self._limit(self._cgroup)
        if self._subgroup:
            from ..cgroups.delegated import step_down  # only those who use it pay for it

            step_down(pid, actual[""], self._subgroup, owner=self._plan.cgroup.owner)

    @property
    def _subgroup(self) -> str:
        """Name of the cgroup below the container's in which its processes live; "" for its own."""
        cgroup = self._plan.cgroup
        return cgroup.unit.subgroup if cgroup is not None and cgroup.unit is not None else ""

    def _read_first(self, cgroup: Cgroup) -> None:
        """Note what has been counted before there is anything of the container's."""
        fresh = all(cgroup.made.values())
        self._first = first_reading(self._environment.files(cgroup), fresh=fresh)

    def _limit(self, cgroup: Cgroup) -> None:
        """Set all limits before anything that the container brings is looked at."""
        plan = self._plan.cgroup
        if plan is None:
            return
        self._kills = cgroup.oom_kills() if 0 in cgroup.made.values() else 0
        cgroup.set_limits(plan.limits, fresh=True)
        if plan.devices is not None:
            cgroup.set_devices(plan.devices, plan.device_filter)
        if plan.owner is not None and not self._subgroup:
            cgroup.delegate(plan.owner)

    def _go_on_in_unit(self) -> State | int:
        self._enter_unit(self._up.launch.born().pid)
        self._up.launch.channel.proceed()
        return self._go_on()

    def _connect(self) -> None:
        """Reach whoever answers for the filter, if that is loaded before "created"."""
        own, traits = self._options.notifications, self._compiled.traits
        listens = traits.listens_early or traits.listens_late
        if own is not None and (not listens or supervisor(self._spec).path):
            raise SpecError("nothing that this application is asked about", origin="seccomp_listener")
        if traits.listens_early:
            self._destination = Destination(supervisor(self._spec), own, self._id)

    def _can_start_at_once(self) -> bool:
        """Tell whether nobody has anything to do between "created" and "started"."""
        spec = self._spec
        profile = spec.linux.seccomp if spec.linux is not None else None
        return spec.hooks is None and self._options.callbacks is None and not (profile and profile.asks)

    def _sources(self, payload: Mapping[int, OwnedFd], stack: ExitStack) -> Sources:
        assert self._cgroup is not None
        if self._at_once:
            return Sources(stdio=payload, tasks=self._cgroup.open_tasks)
        gate = stack.enter_context(self._environment.store.bind_gate(self._id))
        return Sources(stdio=payload, tasks=self._cgroup.open_tasks, gate=gate.fileno())

    def _identify_early(self) -> Identity | None:
        """Tell who the first process is while it still works, unless it is gone again."""
        process = self._up.launch.born()
        with contextlib.suppress(OSError):
            return identify(process.pid, process.pidfd.fileno())
        return None

    def _save(self, identity: Identity) -> State:
        """Make the state durable, while the init waits to be told so."""
        assert self._cgroup is not None
        state = State(
            id=self._id,
            bundle=self._bundle,
            oci_version=self._spec.oci_version,
            created=timestamp(),
            owner=self._environment.host.euid,
            boot_id=identity.boot_id,
            pid=identity.pid,
            starttime=identity.starttime,
            pidfd_inode=identity.pidfd_inode,
            namespaces=self._own_namespaces(identity.pid),
            cgroup=cgroup_record(self._cgroup, unit_record(self._unit, self._cgroup)),
            resctrl=self._resctrl,
            rootless=not self._environment.host.privileged,
            annotations=dict(self._spec.annotations or {}),
            config_sha256=self._compiled.config_sha256,
            facts=self._facts(),
        )
        self._environment.store.save(self._id, state)
        self._cgroup.rest()
        return state

    def _plan_options(self, *, overlay: bool, enter_cgroup: bool) -> Options:
        options = self._options
        process = self._spec.process
        joined = look_at_joined(self._spec)
        return Options(
            id=self._id,
            bundle=self._bundle,
            no_pivot=options.no_pivot,
            no_new_keyring=options.no_new_keyring,
            cgroups=self._environment.cgroups,
            cgroup_driver=self._environment.cgroup_driver,
            lenient_paths=self._environment.lenient_paths,
            enter_cgroup=enter_cgroup,
            systemd_properties=options.systemd_properties,
            property_policy=options.property_policy,
            overlay=overlay,
            console=bool(process and process.terminal),
            stdio_owner=options.redirects.pipes,
            listen_fds=options.listen_fds,
            listen_fd_names=options.listen_fd_names,
            preserve_fds=options.preserve_fds,
            seccomp_listener=options.notifications is not None,
            home=self._home(),
            environment=self._variables(),
            at_once=self._at_once,
            awaited=options.callbacks is not None and options.callbacks.at_create,
            own_namespaces=joined.own,
            joined_maps=joined.maps,
        )

    def _variables(self) -> tuple[str, ...]:
        """Return what createContainer hooks inherit, if one does."""
        hooks = self._spec.hooks
        if hooks is None or all(hook.env is not None for hook in hooks.create_container):
            return ()
        return tuple(f"{name}={value}" for name, value in self._environment.hook_environment().items())

    def _home(self) -> str | None:
        root = self._spec.root
        if root is None:
            return None
        try:
            fd = OwnedFd(
                os.open(os.path.join(self._bundle, root.path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            )
        except OSError:
            return None  # a root that cannot be opened is refused by name later
        with fd:
            return find_home(self._spec.process, fd.fileno())

    def _own_namespaces(self, pid: int) -> dict[str, int]:
        """Namespaces that differ from ours: those that exec must join, and prove to have joined."""
        ours = self._environment.namespaces
        return {name: inode for name, inode in namespace_inodes(pid).items() if ours.get(name) != inode}

    def _facts(self) -> dict[str, object]:
        facts = late_listener(self._spec) if self._compiled.traits.listens_late else {}
        return facts | {
            "rootfs": os.path.join(self._bundle, self._spec.root.path) if self._spec.root else "",
            "keyring": self._compiled.traits.keyring,
            "owned": self._environment.owned,
            "owner": list(self._environment.owner) if self._environment.owned else None,
            "counted": self._first.remembered(),
            "gate": self._compiled.gate,
            "hooks": later_hooks(self._spec),
            "netDevices": {device.host: device.name for device in self._plan.devices},
            "untrusted": self._options.property_policy == "untrusted",
            "subgroup": self._subgroup,
        }

    def _bootstrap(self) -> int:
        """Do the parent's part at each pause, up to the last before the gate, or to one for the loop."""
        channel = self._up.launch.channel
        while True:
            step = channel.paused()
            if isinstance(step, Pause) and step.kind in (*_MADE, PAUSE_HOOKS, PAUSE_CGROUP):
                return step.kind
            self._meet(step)
            channel.proceed()

    def _meet(self, step: Step) -> None:
        if isinstance(step, Seccomp):
            self._hand_over_listener()
        elif not isinstance(step, Pause):
            raise HelperError("the helper passed its gate before it was created")
        elif step.kind == PAUSE_CONSOLE:
            self._up.take_console()
        elif step.kind == PAUSE_MAPS:
            process = self._up.launch.born()
            prepare_namespace(self._plan, self._environment.host, process.pid, process.pidfd.fileno())
        elif step.kind == PAUSE_NETWORK:
            self._move_devices()
        else:
            raise HelperError(f"nothing to do at {step}")

    def _hand_over_listener(self) -> None:
        assert self._destination is not None
        pid = self._up.launched().pid
        state = _spec.State(
            oci_version=self._spec.oci_version,
            id=self._id,
            status="creating",
            pid=pid,
            bundle=self._bundle,
            annotations=self._spec.annotations,
        )
        self._destination.deliver(self._up.launch.channel.dialogue.taken(), pid, state)

    def _survey_resctrl(self) -> ResctrlGroup | None:
        """Return the container's group with whether we are to make it; there is mostly none."""
        return None if self._plan.resctrl is None else resctrl.survey(self._plan.resctrl)

    def _survey_devices(self) -> list[dict[str, Any]]:
        """Return what must be known to put the devices back, should we be killed."""
        if not self._plan.devices:
            return []
        from ..network import survey  # only those who use it pay for it

        return survey(self._plan.devices)

    def _network(self) -> str:
        namespace = self._spec.linux.namespace("network") if self._spec.linux is not None else None
        return namespace.path if self._plan.devices and namespace is not None else ""

    def _move_devices(self) -> None:
        from ..network import MovedDevices  # only those who use it pay for it

        self._moved = MovedDevices(self._up.launched().pidfd.fileno())
        self._moved.take(self._plan.devices)

    # On the loop ------------------------------------------------------------------------------------

    @property
    def _hooking(self) -> Hooking:
        environment = self._environment.hook_environment()
        return Hooking(self._spec, self._id, self._bundle, self._options.callbacks, environment)

    async def _attend(self, met: int) -> State | int:
        """Do at a pause what has to be waited for, and go on."""
        if met == PAUSE_CGROUP:
            await self._start_unit(self._up.launch.born().pid)
            return await in_thread(self._go_on_in_unit, interrupt=self._up.interrupt)
        await self._run_hooks()
        return await in_thread(self._go_on, interrupt=self._up.interrupt)

    async def _start_unit(self, pid: int) -> None:
        assert self._unit is not None
        await self._unit.start(pid)
        if self._options.verify_properties:
            self._differences = await self._unit.differences()

    async def _run_hooks(self) -> None:
        """Run those outside; those inside are waited for here too, where they keep no thread waiting."""
        await self._hooking.before_pivot(self._up.launched().pid)
        channel = self._up.launch.channel
        channel.proceed()
        await channel.readable()

    async def _undo(self) -> None:
        """Leave nothing of what was made so far."""
        await self._up.undo()
        if self._options.notifications is not None:
            self._options.notifications.close()
        await self._undo_unit()
        await in_thread(self._discard)

    async def _undo_unit(self) -> None:
        """Stop the unit; one that cannot be stopped is still found by its record."""
        if self._unit is None or self._cgroup is None or not self._unit.is_ours:
            return
        try:
            await end_unit(self._unit, self._cgroup, 0)
        except BaseException:
            assert self._lock is not None
            self._lock.release()
            raise

    def _discard(self) -> None:
        """Last comes the record: what could not be removed can still be found by it."""
        if self._destination is not None:
            self._destination.close()
        if self._lock is None:
            return
        with self._lock:
            if self._moved is not None:
                self._moved.give_back()
            if self._resctrl is not None:
                resctrl.remove(self._resctrl)
            if self._cgroup is not None:
                self._kills = self._cgroup.oom_kills() - self._kills
                self._cgroup.remove()
                self._cgroup.close()
            self._environment.store.remove(self._id)
