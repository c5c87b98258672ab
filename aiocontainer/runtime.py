"""The composition root: picks what containers share, creates and finds them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from msgspec.structs import replace

from ._aio import finish, in_thread, undo
from .container import Completed, Container
from .container.environment import Environment
from .container.finding import Found, find, remove_damaged
from .container.following import Following
from .container.joined import look_at_joined
from .container.setup import Created as Made
from .container.setup import CreateOptions, Setup
from .container.source import Command, Source, load_source
from .container.stdio import Redirects
from .container.subgroups import home_name
from .errors import ContainerError, NotFoundError, SpecError, StateCorruptError, UnsupportedError
from .events import LIMIT, Created, Interest, Monitor, SeccompNotifications, threshold
from .plan.compile import compile_plan
from .plan.options import JobMode, Options, PropertyPolicy
from .probe import has_systemd, probe
from .spec.ids import check_id
from .store import Store, default_root

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from logging import Logger
    from types import TracebackType

    from .cgroups.stats.values import StatsMask
    from .container.rates import RatesOfAll
    from .container.stats import Stats
    from .container.stdio import Redirect
    from .container.sweeping import Leftover
    from .criu.probing import Criu
    from .events import Event, Events, PressureLevel
    from .hooks import Callbacks
    from .images import Image, ImageLimits
    from .plan.options import CgroupDriver
    from .plan.plan import Plan
    from .spec import Features

__all__ = ["Runtime"]

CgroupChoice = Literal["auto", "cgroupfs", "systemd", "delegated", "none"]
Lifetime = Literal["owner", "detached"]


class Runtime:
    """Creates and finds containers under one state root, as an async context manager.

    *cgroups* says who makes cgroups: we ("cgroupfs", and "auto" as far as we may), systemd as one scope
    for each container, or we in one scope that systemd has "delegated" to this runtime; or "none".
    *root* None is ``/run/aiocontainer``, or a directory of the user's own.  With *lifetime* "owner"
    containers made here end with the block, and with this process whatever ends it; "detached" ones
    live on.  *hook_environment* is for hooks outside the container that say nothing of an environment:
    that of this process, or none.  *criu* is the program that saves and restores.
    Under systemd a start "fail"s where the unit has another job, or with *job_mode* "replace" cancels that
    one; *lenient_paths* takes a ``cgroupsPath`` of ``prefix:name``, and ``name/a/b`` for processes below.
    Nothing is opened before it is needed.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        cgroups: CgroupChoice = "auto",
        lifetime: Lifetime = "owner",
        hook_environment: Literal["inherit", "clear"] = "inherit",
        job_mode: JobMode = "fail",
        lenient_paths: bool = False,
        criu: str = "criu",
    ) -> None:
        if cgroups not in get_args(CgroupChoice):
            raise SpecError(f"{cgroups!r} is no way to manage cgroups", origin="cgroups")
        if cgroups in ("systemd", "delegated") and not has_systemd():
            raise UnsupportedError(
                f"cgroups={cgroups!r}", needs="systemd as this machine's service manager", origin="cgroups"
            )
        if lifetime not in ("owner", "detached"):
            raise SpecError(f"{lifetime!r} is no lifetime", origin="lifetime")
        self._root = os.fspath(root) if root is not None else None
        self._cgroups = cgroups
        if hook_environment not in ("inherit", "clear"):
            raise SpecError(f"{hook_environment!r} is no environment", origin="hook_environment")
        if job_mode not in get_args(JobMode):
            raise SpecError(f"{job_mode!r} is no mode of a job", origin="job_mode")
        self._job_mode: JobMode = job_mode
        self._lenient_paths = lenient_paths
        self._owned = lifetime == "owner"
        self._criu = criu
        self._hooks_inherit = hook_environment == "inherit"
        self._environment: Environment | None = None
        self._containers: dict[str, Container] = {}
        self._creating: set[str] = set()
        self._following: Following | None = None
        self._images: list[Image] = []
        self._mine: set[str] = set()
        """Ids of containers that end with this runtime."""

    @property
    def _driver(self) -> CgroupDriver:
        return "systemd" if self._cgroups == "systemd" else "cgroupfs"

    @property
    def root(self) -> str:
        """The state root."""
        return self._root or default_root()

    async def __aenter__(self) -> Self:
        self._environment = await in_thread(self._open, undo=Environment.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await finish(self._close)

    # Creating ---------------------------------------------------------------------------------------

    async def create(
        self,
        id: str | None,
        source: Source,
        *,
        config: str | None = None,
        stdin: Redirect = None,
        stdout: Redirect = None,
        stderr: Redirect = None,
        console_socket: str | None = None,
        preserve_fds: int = 0,
        listen_fds: int = 0,
        listen_fd_names: Sequence[str] = (),
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        notify_socket: bool = False,
        systemd_properties: Mapping[str, object] | None = None,
        property_policy: PropertyPolicy = "careful",
        verify_properties: bool = False,
        callbacks: Callbacks | None = None,
        seccomp_listener: bool = False,
        start: bool = False,
        reap: bool = True,
    ) -> Container:
        """Create a container whose init waits to be started.  OCI runtime.md "Create".

        With *start* its program runs already: sooner than by `Container.start`, where no hook has a say.

        *source* is a bundle directory, a `Spec`, the bytes of a ``config.json``, or a `Command`; it is read
        once.  *config* names a bundle's file, where it is not ``config.json``.  An *id* of None is made up.
        *stdin*, *stdout* and *stderr* are None for our own, `PIPE`, `DEVNULL`, for stderr `STDOUT`, or a
        descriptor or file, which stays the caller's.  *console_socket* is a path where somebody waits for
        the master of its terminal.  From descriptor 3 on, *listen_fds* sockets and then *preserve_fds* more
        of ours are passed, and stay ours; *listen_fd_names* are for sd_listen_fds_with_names(3).
        *no_pivot* is for a root on a ramdisk, *no_new_keyring* keeps our session keyring.
        *callbacks* are awaited where hooks run.
        *systemd_properties* are for the container's unit, in values of Python or `gvariant.Variant`; they win
        over annotations, of which *property_policy* takes all but dangerous ones ("careful"), only safe ones,
        where the bundle is "untrusted", or "any".
        With *verify_properties* they are read back, and what systemd altered or dropped is a warning in the
        log and in `Container.property_differences`.
        With *seccomp_listener* this application answers, by `Container.seccomp_notifications`, for system
        calls with SCMP_ACT_NOTIFY.
        With *notify_socket* its program finds a socket for sd_notify(3) at $NOTIFY_SOCKET, to which
        `Container.readiness` listens.
        Without *reap* the status of its init is left to whoever inherits it when this program ends.
        Raises `SpecError` or `UnsupportedError` before anything is touched, `ExistsError` for an id in
        use, `BootstrapError` where a step fails, `HookError` where a hook does.  On any failure or
        cancellation nothing is left; poststop hooks run all the same.
        """
        return await self._create(
            id,
            source,
            CreateOptions(
                config=config,
                redirects=Redirects(stdin, stdout, stderr),
                console_socket=console_socket,
                preserve_fds=preserve_fds,
                listen_fds=listen_fds,
                listen_fd_names=tuple(listen_fd_names),
                no_pivot=no_pivot,
                no_new_keyring=no_new_keyring,
                notify_socket=notify_socket,
                systemd_properties=_property_texts(systemd_properties),
                property_policy=_checked_policy(property_policy),
                verify_properties=self._can_verify(verify_properties),
                callbacks=callbacks,
                notifications=SeccompNotifications() if seccomp_listener else None,
                start=start,
                reap=reap,
            ),
        )

    async def image(
        self,
        reference: str | os.PathLike[str],
        *,
        cache: str | os.PathLike[str] | None = None,
        platform: str | None = None,
        limits: ImageLimits | None = None,
    ) -> Image:
        """Find an image on disk and unpack it, as `Image.open` does; it stays until this runtime ends."""
        from .images import Image  # only those who use it pay for it

        image = await Image.open(reference, cache=cache, platform=platform, limits=limits)
        self._images.append(image)
        return image

    @contextlib.asynccontextmanager
    async def container(
        self, source: Source, *, id: str | None = None, **options: Any
    ) -> AsyncIterator[Container]:
        """Own a started container for the length of a block; *options* are those of `create`.

        Leaving the block, by whatever exception or cancellation, kills and removes it.
        """
        container = await self.create(id, source, start=True, **options)
        try:
            yield container
        finally:
            await finish(lambda: container.delete(force=True))

    async def run(
        self,
        source: Source | Sequence[str],
        *,
        id: str | None = None,
        input: bytes | None = None,
        stdout: Redirect = PIPE,
        stderr: Redirect = PIPE,
        timeout_s: float | None = None,
    ) -> Completed:
        """Run a container to its end and remove it, like `subprocess.run`.

        A list of arguments is short for `Command` of it.  Raises `TimeoutError` after *timeout_s*, with
        nothing left.
        """
        if isinstance(source, Sequence) and not isinstance(source, str | bytes):
            source = Command(source)
        redirects = Redirects(DEVNULL if input is None else PIPE, stdout, stderr)
        async with asyncio.timeout(timeout_s):
            container = await self._create(id, source, CreateOptions(redirects=redirects, start=True))
            try:
                process = container.process
                assert process is not None
                # What reads its usage in the end is loaded meanwhile.
                (out, err), _ = await asyncio.gather(process.communicate(input), in_thread(_load_stats))
            finally:
                await finish(lambda: container.delete(force=True, read_stats=True))
        return Completed(
            args=process.args,
            exit=await process.wait(),
            stdout=out,
            stderr=err,
            stats=container.last_stats,
        )

    def plan(
        self,
        source: Source,
        *,
        id: str = "container",
        systemd_properties: Mapping[str, object] | None = None,
        property_policy: PropertyPolicy = "careful",
    ) -> Plan:
        """Return what `create` would do, step by step, without touching anything; blocks briefly."""
        host = self._environment.host if self._environment is not None else probe()
        spec, bundle, overlay = load_source(source, host)
        terminal = bool(spec.process and spec.process.terminal)
        cgroups = self._cgroups != "none"
        joined = look_at_joined(spec)
        options = Options(
            id=id,
            bundle=bundle,
            console=terminal,
            cgroups=cgroups,
            cgroup_driver=self._driver,
            lenient_paths=self._lenient_paths,
            systemd_properties=_property_texts(systemd_properties),
            property_policy=_checked_policy(property_policy),
            overlay=overlay,
            own_namespaces=joined.own,
            joined_maps=joined.maps,
        )
        return compile_plan(spec, host, options)

    @staticmethod
    def features() -> Features:
        """Return what this build can do, whatever the machine has.  OCI features.md."""
        from ._features import features  # only those who ask pay for it

        return features()

    @staticmethod
    def machine() -> dict[str, Any]:
        """Return what this machine has for containers, and what we may use of it; blocks briefly."""
        from .container.machine import describe  # only those who ask pay for it

        return describe(probe())

    # Finding ----------------------------------------------------------------------------------------

    async def load(self, id: str) -> Container:
        """Find a container, whoever created it; `NotFoundError`, `StateCorruptError`.

        What this runtime created is the same object again.
        """
        known = self._containers.get(id)
        if known is not None:
            return known
        environment = self._ready()
        found = await in_thread(lambda: find(environment, id), undo=Found.close)
        known = self._containers.get(id)
        if known is not None:  # somebody else was at it, too
            found.close()
            return known
        return self._keep(found.adopt(environment, self._forget))

    async def list(self) -> AsyncIterator[Container]:
        """Go through all containers of the root; what cannot be read is a warning in the log."""
        store = self._ready().store
        for id in await in_thread(store.ids):
            try:
                container = await self.load(id)
            except NotFoundError:
                continue  # gone meanwhile
            except ContainerError as exc:
                _log().warning("%s", exc)
                continue
            yield container

    async def stats(
        self, ids: Iterable[str] | None = None, *, mask: StatsMask | None = None
    ) -> dict[str, Stats]:
        """Read what all containers of the root have used, or those of *ids*, in one batch; by id.

        Those that have stopped, or are no more, are left out; what cannot be read is a warning in the log.
        Without a cgroup a container tells of its network and its share of cache alone.
        """
        store = self._ready().store
        containers = dict(self._containers)
        known = {id: container.accounts() for id, container in containers.items()}
        wanted = None if ids is None else tuple(ids)

        def read() -> tuple[dict[str, Stats], list[ContainerError]]:
            from .container.stats import read_all

            return read_all(store, known, wanted, mask)

        try:
            found, failed = await in_thread(read)
        finally:
            for container in containers.values():
                container.after_reading()
        for exc in failed:
            _log().warning("%s", exc)
        return found

    def sample(self, interval_s: float, *, mask: StatsMask | None = None) -> RatesOfAll:
        """Tell what all containers of the root use per second, by id, at intervals, without end.

        The first comes after one interval.  Each is made of two batches as `stats` reads them.
        """
        from .container.rates import RatesOfAll

        return RatesOfAll(interval_s, lambda: self.stats(mask=mask))

    async def delete(self, id: str, *, force: bool = False) -> None:
        """Delete a container by its id; *force* also removes one that is half-made or damaged.

        Such a one is found by its write-ahead record.  `NotFoundError` unless *force*.
        """
        try:
            container = await self.load(id)
        except StateCorruptError:
            if not force:
                raise
            environment = self._ready()
            hooking = await finish(lambda: remove_damaged(environment, id))
            if hooking is not None:
                await hooking.after_end()
        except NotFoundError:
            if not force:
                raise
        else:
            await container.delete(force=force)

    async def sweep(self, *, dry_run: bool = False) -> tuple[Leftover, ...]:
        """Remove what was left by owners that were killed, and by interrupted creations; returns what.

        Found by what was written down beforehand.  Never touched: what has a living owner, what another
        process is working on, and containers that were to outlive who made them ("detached").  With *dry_run*
        they are only listed.  What cannot be removed is an `ExceptionGroup` after all the others.
        """
        environment = self._ready()

        def look() -> list[Leftover]:
            from .container.sweeping import find_leftovers  # only those who use it pay for it

            return find_leftovers(environment)

        leftovers = await in_thread(look)
        failures = []
        for leftover in () if dry_run else leftovers:
            try:
                await self.delete(leftover.id, force=True)
            except ContainerError as exc:
                failures.append(exc)
        if failures:
            raise ExceptionGroup("leftovers could not be removed", failures)
        return tuple(leftovers)

    # Events -----------------------------------------------------------------------------------------

    def events(self, *, pressure: PressureLevel | None = None, limit: int = LIMIT) -> Events[Event]:
        """Tell what happens to all containers of the root, whoever made them, from now on.

        Memory *pressure* is told of from that level on.  A consumer that lags by more than *limit* events
        gets a `Lost` instead of the newest ones.  Any number of consumers; each stream is for one, and
        ends with this runtime.
        """
        wanted = None if pressure is None else threshold(pressure)
        watcher = self._ready().watcher
        watcher.on_dropped = self._stop_following
        return watcher.events(Interest(threshold=wanted), limit=limit, prepare=self._follow)

    async def _follow(self) -> None:
        """Notice what other processes do in our root, as long as somebody listens to all."""
        if self._following is None:
            self._following = Following(
                self._ready(), self.load, known=self._containers, creating=self._creating
            )
        await self._following.begin()

    def _stop_following(self) -> None:
        if self._following is not None and not self._ready().watcher.exchange.listens_to_all():
            self._following.stop()

    # Saved containers -------------------------------------------------------------------------------

    async def criu(self) -> Criu:
        """Return which CRIU is there, and what it and this kernel can do; asked once.

        `UnsupportedError` where CRIU or protobuf is missing or too old, `CriuError` where it does not answer.
        """
        return await self._ready().criu()

    async def restore(
        self,
        id: str | None,
        source: Source,
        *,
        images: str | os.PathLike[str],
        stdin: Redirect = None,
        stdout: Redirect = None,
        stderr: Redirect = None,
        console_socket: str | None = None,
        no_new_keyring: bool = False,
        systemd_properties: Mapping[str, object] | None = None,
        property_policy: PropertyPolicy = "careful",
        verify_properties: bool = False,
        callbacks: Callbacks | None = None,
        **options: Any,
    ) -> Container:
        """Bring back what `Container.checkpoint` saved into *images*, as a new container that runs.

        *source* is as for `create`: the root and the mounts are as it says, and may be elsewhere than they
        were; what the processes are is in the images.  Streams that were pipes, or led outside, are given
        anew.  Of its hooks prestart, createRuntime and poststart run.  *options* are those of
        `RestoreOptions`.  Raises what `create` raises, and `CriuError` with the lines of CRIU's log that
        say why.  On any failure or cancellation nothing is left.
        """
        from .container.restoring import Restoring
        from .criu.options import RestoreOptions

        asked = RestoreOptions(**options)
        made = CreateOptions(
            redirects=Redirects(stdin, stdout, stderr),
            console_socket=console_socket,
            no_new_keyring=no_new_keyring,
            systemd_properties=_property_texts(systemd_properties),
            property_policy=_checked_policy(property_policy),
            verify_properties=self._can_verify(verify_properties),
            callbacks=callbacks,
            start=True,
        )
        environment = self._ready()
        id = _checked_id(id)
        await environment.prepare()
        restoring = Restoring(environment, id, source, os.fspath(images), made, asked)
        return await self._bring_up(id, made, restoring.run)

    # ------------------------------------------------------------------------------------------------

    async def _create(self, id: str | None, source: Source, options: CreateOptions) -> Container:
        environment = self._ready()
        id = _checked_id(id)
        await environment.prepare()
        # Who listens wants to be there before anything of the user's runs.
        setup = replace(options, start=options.start and not environment.watcher.exchange.listens(id))
        return await self._bring_up(id, options, Setup(environment, id, source, setup).run)

    async def _bring_up(
        self, id: str, options: CreateOptions, make: Callable[[], Awaitable[Made]]
    ) -> Container:
        """Make a container by *make*, and keep it."""
        environment = self._ready()
        self._creating.add(id)
        try:
            created = await make()
        finally:
            self._creating.discard(id)
        files = environment.files(created.cgroup, home_name(created.state))
        exchange = environment.watcher.exchange
        container = Container(
            environment,
            created.state,
            created.cgroup,
            created.process,
            Monitor(id, files, created.first, exchange, pid=created.state.pid),
            unit=created.unit,
            spec=created.spec,
            callbacks=options.callbacks,
            notifications=options.notifications,
            property_differences=created.differences,
            forget=self._forget,
        )
        for warning in (*created.warnings, *created.differences):
            _log().warning("container %s: %s", id, warning)
        if self._owned:
            self._mine.add(id)
        self._keep(container)
        exchange.publish(Created(id=id, pid=created.state.pid))
        if exchange.listens(id):
            await self._arm(container)
        if created.started:
            container.watching.started()
        elif options.start:
            await self._start(container)
        return container

    async def _arm(self, container: Container) -> None:
        """Watch a new container before anything of the user's runs; a cancelled create leaves nothing."""
        try:
            if self._following is not None:
                await self._following.meet(container.id)
            await container.watching.arm_fresh()
        except (ContainerError, OSError) as exc:
            _log().warning("container %s: not all of its events can be told: %s", container.id, exc)
        except BaseException as exc:
            await undo(exc, lambda: container.delete(force=True))
            raise

    async def _start(self, container: Container) -> None:
        """Start what was created to be started, or leave nothing of it."""
        try:
            await container.start()
        except BaseException as exc:
            await undo(exc, lambda: container.delete(force=True))
            raise

    def _keep(self, container: Container) -> Container:
        self._containers[container.id] = container
        return container

    def _can_verify(self, wanted: bool) -> bool:
        """Return what is wanted, unless there is nothing to read properties back from."""
        if wanted and self._driver != "systemd":
            raise UnsupportedError(
                "reading properties back", needs="the systemd cgroup driver", origin="verify_properties"
            )
        return wanted

    def _forget(self, container: Container) -> None:
        if self._containers.get(container.id) is container:
            del self._containers[container.id]
            self._mine.discard(container.id)

    def _ready(self) -> Environment:
        if self._environment is None:
            raise RuntimeError("a Runtime is used inside its 'async with' block")
        return self._environment

    def _open(self) -> Environment:
        return Environment(
            Store(self._root),
            cgroups=self._cgroups != "none",
            cgroup_driver=self._driver,
            delegated=self._cgroups == "delegated",
            job_mode=self._job_mode,
            lenient_paths=self._lenient_paths,
            owned=self._owned,
            hooks_inherit=self._hooks_inherit,
            criu=self._criu,
        )

    async def _close(self) -> None:
        environment, self._environment = self._environment, None
        assert environment is not None
        try:
            await self._end_owned()
        finally:
            if self._following is not None:
                await self._following.close()
            for container in tuple(self._containers.values()):
                await container.end_deadlines()
            await environment.watcher.close()
            for container in tuple(self._containers.values()):
                container.close()
            for image in self._images:
                image.close()
            await in_thread(environment.close)
            await environment.finish()

    async def _end_owned(self) -> None:
        owned = [self._containers[id] for id in self._mine]
        results = await asyncio.gather(*(c.delete(force=True) for c in owned), return_exceptions=True)
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise ExceptionGroup("containers could not be removed", failures)


def _property_texts(properties: Mapping[str, object] | None) -> tuple[tuple[str, str], ...]:
    """Write them as text, which has the types and can be compared."""
    if not properties:
        return ()
    from .spec import property_text

    return tuple((name, property_text(name, value)) for name, value in properties.items())


def _checked_id(id: str | None) -> str:
    """Check an id, or make one up."""
    return check_id(id) if id is not None else f"aioc-{os.urandom(8).hex()}"


def _checked_policy(policy: PropertyPolicy) -> PropertyPolicy:
    """Take no misspelt policy for a lax one."""
    if policy not in get_args(PropertyPolicy):
        raise SpecError(f"{policy!r} is no policy", origin="property_policy")
    return policy


def _load_stats() -> None:
    from .container import stats  # noqa: F401 - loaded, not used


def _log() -> Logger:
    """Return this package's logger; most programs never get here, and save the import."""
    from logging import getLogger

    return getLogger("aiocontainer")
