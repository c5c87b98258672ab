"""Restore: from images to a container that runs, or to nothing at all.

What a container has on this machine (its name, its cgroup, its place in the state directory) is made as
in create; its processes are made by CRIU, as children of ours: their exits are told to us.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING, Any, Final

from .. import native
from .._aio import OwnedFd, in_thread, undo
from ..criu.images import Directories, give_images, read_descriptors
from ..criu.messages import Kind, RestoreStats, encode_request
from ..criu.options import restore_fields
from ..criu.session import INHERITED, Swrk
from ..errors import CriuError, SpecError, UnsupportedError
from ..plan.compile import keyring_name
from ..plan.mountinfo import parse_own
from ..plan.paths import clean
from ..plan.plan import ResctrlTasks
from ..store import identify
from .checkpointing import Reporting, config_file
from .externals import (
    EXTERNAL_NAMESPACES,
    JOINED_NAMESPACES,
    bound,
    check_namespaces,
    read_mounts,
    restored_mounts,
)
from .joined import open_foreign
from .setup import Created, Setup
from .subgroups import home_paths

if TYPE_CHECKING:
    from contextlib import ExitStack

    from ..criu.messages import Notice
    from ..criu.options import RestoreOptions
    from ..criu.probing import Criu
    from .environment import Environment
    from .setup import CreateOptions
    from .source import Source

__all__ = ["Restoring"]

_GIVEN: Final = ("pipe:[", "socket:[", "file[", "tty[")
"""Descriptors that are given anew; what else 0 to 2 led to is in the images."""

_KEYRING_PERMISSIONS: Final = 0x3F1B0000
"""All for who has it; view, read, search and link for its user, so that exec can join: keyrings(7)."""

_END_S: Final = 10.0


class Restoring(Setup):
    """One restore."""

    def __init__(
        self,
        environment: Environment,
        id: str,
        source: Source,
        images: str,
        made: CreateOptions,
        options: RestoreOptions,
    ) -> None:
        super().__init__(environment, id, source, made)
        self._images = images
        self._asked = options
        self._directories: Directories | None = None
        self._worker: Swrk | None = None
        self._pid = 0
        self._saved: Any = None
        self.stats: RestoreStats = RestoreStats()
        """What CRIU has counted."""

    async def run(self) -> Created:
        """Do it all; on failure or cancellation nothing is left."""
        try:
            criu = await self._environment.criu()
            fields = restore_fields(self._asked, criu)
            with contextlib.ExitStack() as lent:
                passed = await in_thread(lambda: self._begin(fields, lent))
                await self._start_worker(criu, passed)
                await self._restore(fields)
            process = await self._up.process(self._args)
        except BaseException as exc:
            await undo(exc, self._undo)
            if self._lock is not None:
                await self._hooking.after_end()
            raise
        await self._worker_ended()
        assert self._cgroup is not None
        assert self._lock is not None
        self._lock.release()
        process.started()
        return Created(
            self._saved,
            self._spec,
            self._cgroup,
            self._unit,
            process,
            self._first,
            True,
            self._plan.warnings,
            self._differences,
        )

    # Before CRIU ------------------------------------------------------------------------------------

    def _begin(self, fields: dict[str, Any], lent: ExitStack) -> list[int]:
        """Look at everything, and make what is ours to make.  In a thread.  Returns what CRIU inherits."""
        if self._load():
            raise UnsupportedError(
                "restore over a throw-away layer", needs="a root file system", origin="source"
            )
        self._directories = Directories(self._images, self._asked.work, make=False)
        check_namespaces(self._spec)
        self._compile(overlay=False)
        if self._plan.devices:
            needs = "a container that gets its devices from hooks"
            raise UnsupportedError("restore with network devices", needs=needs, origin="$.linux.netDevices")
        self._root = self._find_root()
        images, work = self._open_mounts(lent)
        fields |= {
            "images_dir_fd": images,
            "work_dir_fd": work,
            "root": self._root,
            "external": [*self._mounts(), *self._asked.more.get("external", ())],
            "config_file": config_file(
                self._asked, self._spec, trusted=self._options.property_policy != "untrusted"
            ),
        }
        linux = self._spec.linux
        for each in linux.uid_mappings if linux is not None else ():
            if each.container_id == 0:
                give_images(self._directories.images, each.host_id)
        passed, inherited = self._inherited(lent)
        fields["inherit_fd"] = [{"key": key, "fd": INHERITED + index} for index, key in enumerate(inherited)]
        fields["join_ns"] = self._joined()
        self._reserve(overlay=False)
        self._environment.store.save_config(self._id, self._compiled.config)
        return passed

    def _open_mounts(self, lent: ExitStack) -> list[int]:
        """Make the mount namespace that CRIU begins in; open where images and logs are there."""
        read_only = self._spec.root is not None and self._spec.root.readonly
        paths = [os.path.realpath(path) for path in (self._images, self._asked.work or self._images)]
        try:
            mounts, directories = native.rooted_mounts(self._root, paths, read_only=read_only)
        except OSError as exc:
            raise CriuError("restore", f"no mount namespace for CRIU: {exc}") from exc
        self._mount_namespace, *opened = (
            lent.enter_context(OwnedFd(fd)).fileno() for fd in (mounts, *directories)
        )
        return opened

    def _find_root(self) -> str:
        root = self._spec.root
        if root is None:
            raise SpecError("is needed to restore", origin="$.root")
        path = os.path.realpath(os.path.join(self._bundle, root.path))
        if not os.path.isdir(path):
            raise SpecError(f"{path}: is not a directory", origin="$.root.path")
        return path

    def _mounts(self) -> list[str]:
        """Say where external mounts are here, and make the places where they go."""
        sources: dict[str, tuple[str, bool]] = {}
        with OwnedFd(os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            for index, mount in bound(self._spec):
                origin = f"$.mounts[{index}]"
                source = os.path.realpath(os.path.join(self._bundle, mount.source))
                recursive = "rbind" in mount.options
                if not os.path.lexists(source):
                    raise SpecError(f"{source} does not exist", origin=f"{origin}.source")
                self._make_place(root, mount.destination, directory=os.path.isdir(source))
                sources[clean(mount.destination)] = (source, recursive)
        return restored_mounts(sources, read_mounts("self"))

    def _make_place(self, root: OwnedFd, destination: str, *, directory: bool) -> None:
        """Make what is to be mounted upon, where it is missing and nothing is mounted above it."""
        path = clean(destination)
        if any(path.startswith(f"{clean(other.destination)}/") for other in self._spec.mounts):
            return
        at = OwnedFd(os.dup(root.fileno()))
        parts = [part for part in path.split("/") if part]
        for part in parts[:-1] if not directory else parts:
            with at:
                at = OwnedFd(_enter(at.fileno(), part))
        with at:
            if not directory and parts:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(parts[-1], flags, 0o644, dir_fd=at.fileno()))

    def _inherited(self, lent: ExitStack) -> tuple[list[int], list[str]]:
        """Open streams and namespaces for CRIU: descriptors, and the key of each."""
        assert self._directories is not None
        found: dict[str, int] = {}
        streams = self._up.open_streams(lent)
        for number, key in enumerate(read_descriptors(self._directories.images)):
            if key.startswith(_GIVEN):
                found.setdefault(key, streams[number].fileno())
        for index, each in enumerate(self._spec.linux.namespaces if self._spec.linux is not None else ()):
            if each.path and each.type in EXTERNAL_NAMESPACES:
                opened = open_foreign(each.path, each.type, f"$.linux.namespaces[{index}].path")
                found[EXTERNAL_NAMESPACES[each.type][1]] = lent.enter_context(OwnedFd(opened)).fileno()
        return list(found.values()), list(found)

    def _joined(self) -> list[dict[str, Any]]:
        namespaces = self._spec.linux.namespaces if self._spec.linux is not None else ()
        return [
            {"ns": JOINED_NAMESPACES[each.type], "ns_file": each.path}
            for each in namespaces
            if each.path and each.type in JOINED_NAMESPACES
        ]

    async def _start_worker(self, criu: Criu, passed: list[int]) -> None:
        """Start CRIU, and put it where what it makes will be: in the container's cgroup."""
        keyring = None if self._options.no_new_keyring else keyring_name(self._id)
        worker = await Swrk.start(
            criu.program,
            fds=passed,
            mounts=self._mount_namespace,
            keyring=keyring,
            permissions=_KEYRING_PERMISSIONS,
        )
        self._worker = worker
        if self._unit is not None:
            await self._start_unit(worker.pid)
            await in_thread(lambda: self._enter_unit(worker.pid))
        else:
            await in_thread(lambda: self._enter_cgroup(worker.pid))

    def _enter_cgroup(self, pid: int) -> None:
        assert self._cgroup is not None
        for hierarchy in self._cgroup.paths:
            with OwnedFd(self._cgroup.open_tasks(hierarchy)) as tasks:
                os.write(tasks.fileno(), str(pid).encode())
        for item in self._plan.fds:
            if isinstance(item, ResctrlTasks):
                with OwnedFd(os.open(item.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)) as tasks:
                    os.write(tasks.fileno(), str(pid).encode())

    # The dialogue -----------------------------------------------------------------------------------

    async def _restore(self, fields: dict[str, Any]) -> None:
        worker, directories = self._worker, self._directories
        assert worker is not None
        assert directories is not None
        fields |= await in_thread(lambda: self._cgroup_fields(worker.pid))
        reporting = Reporting(self._asked, directories)

        async def attend(notice: Notice, fd: OwnedFd | None) -> None:
            reporting.reached(notice.script)
            await self._attend_notice(notice, fd)

        try:
            answer = await worker.ask(encode_request(Kind.RESTORE, fields), attend)
        except CriuError as exc:
            raise await self._error(exc.problem, exc.log) from exc
        if not answer.success:
            problem = answer.message or (os.strerror(answer.errno) if answer.errno else "it failed")
            raise await self._error(problem, worker.output())
        if answer.pid != self._pid or self._saved is None:
            raise await self._error(f"it restored process {answer.pid}, and had announced {self._pid}", ())
        self.stats = (await in_thread(directories.stats))[1]
        await self._hooking.after_start(self._pid)

    def _cgroup_fields(self, pid: int) -> dict[str, Any]:
        """Say where in each hierarchy the container is now; without one, CRIU keeps away from them."""
        assert self._cgroup is not None
        if not self._cgroup.paths:
            return {"manage_cgroups_mode": 0}
        with open(f"/proc/{pid}/cgroup", "rb", buffering=0) as file:
            own = parse_own(file.readall())
        return {"cg_root": [{"ctrl": controller, "path": path} for controller, path in own.items()]}

    async def _attend_notice(self, notice: Notice, fd: OwnedFd | None) -> None:
        """Do at a notice what has to be done then; others are only acknowledged."""
        if notice.script == "orphan-pts-master" and fd is not None:
            await in_thread(lambda: self._up.give_console(fd))
            return
        if fd is not None:
            fd.close()
        if notice.pid and not self._pid:
            await in_thread(lambda: self._adopt(notice.pid))
        if notice.script == "setup-namespaces":
            await self._hooking.before_pivot(self._pid)
        elif notice.script == "post-restore":
            await in_thread(self._remember)

    def _adopt(self, pid: int) -> None:
        """Take over the first process: it is a child of ours, so its number is its own until we reap it."""
        if _parent(pid) != os.getpid():
            raise CriuError("restore", f"process {pid} is not a child of ours")
        pidfd = OwnedFd(os.pidfd_open(pid))
        self._up.adopt(pid, pidfd)
        self._pid = pid
        if self._environment.owned:
            self._environment.spawner.adopt(pidfd.fileno())

    def _remember(self) -> None:
        if not self._pid:
            raise CriuError("restore", "there is no process, as far as CRIU has told")
        self._saved = self._save(identify(self._pid, self._up.launched().pidfd.fileno()))

    def _facts(self) -> dict[str, object]:
        facts = super()._facts()
        return facts | {"gate": None, "keyring": not self._options.no_new_keyring, "restored": True}

    async def _error(self, problem: str, output: Any) -> CriuError:
        directories = self._directories
        assert directories is not None
        operation = f"restore of container {self._id!r}"
        return await in_thread(lambda: directories.error(operation, problem, "restore.log", output))

    # Afterwards -------------------------------------------------------------------------------------

    async def _worker_ended(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()
        if self._directories is not None:
            self._directories.close()

    async def _undo(self) -> None:
        """Leave nothing: first CRIU, then what it has made, then what we have."""
        if self._worker is not None:
            self._worker.kill()
        await self._worker_ended()
        if self._cgroup is not None and self._lock is not None:
            await in_thread(self._reap_orphans)
        await super()._undo()

    def _reap_orphans(self) -> None:
        """Kill and reap what CRIU may have made without having told us: children of ours in the cgroup."""
        assert self._cgroup is not None
        places = home_paths(self._cgroup.paths, self._subgroup)
        paths = {path.rstrip("/") for path in places.values()}
        with contextlib.suppress(OSError):
            self._cgroup.kill()
        for pid in _children():
            if pid != self._pid and _is_in(pid, paths):
                _end(pid)


def _enter(at: int, part: str) -> int:
    """Open a directory below another, made if it is missing, and never through a link."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, 0o755, dir_fd=at)
    return os.open(part, flags, dir_fd=at)


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
        text = file.readall()
    return int(text[text.rindex(b")") + 1 :].split()[1])


def _children() -> list[int]:
    found: list[int] = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def _is_in(pid: int, paths: set[str]) -> bool:
    """Whether a process, or what is left of one, is in one of these cgroups."""
    try:
        with open(f"/proc/{pid}/cgroup", "rb", buffering=0) as file:
            own = parse_own(file.readall())
    except (OSError, ValueError):
        return False
    return any(known.endswith(place) for place in own.values() if place != "/" for known in paths)


def _end(pid: int) -> None:
    """Kill a child of ours, and reap it."""
    try:
        pidfd = OwnedFd(os.pidfd_open(pid))
    except OSError:
        return
    with pidfd, contextlib.suppress(ProcessLookupError, ChildProcessError):
        signal.pidfd_send_signal(pidfd.fileno(), signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd.fileno(), select.POLLIN)
        if poll.poll(int(_END_S * 1000)):
            native.wait_pidfd(pidfd.fileno())
