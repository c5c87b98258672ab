"""Checkpoint: the processes of a running container into images, and then it is gone or goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Final

from .._aio import finish, in_thread
from ..criu.images import Directories, write_descriptors, written_bytes
from ..criu.messages import Kind, encode_request
from ..criu.options import Progress, dump_fields
from ..criu.session import Swrk
from ..criu.unlocking import unlock_network
from ..errors import CriuError, SpecError, UnsupportedError
from ..plan.host import CgroupMode
from .externals import (
    EXTERNAL_NAMESPACES,
    bound,
    check_namespaces,
    descriptor_keys,
    dumped_mounts,
    read_mounts,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .._aio import OwnedFd
    from ..cgroups import Cgroup
    from ..criu.messages import DumpStats, Notice
    from ..criu.options import CheckpointOptions, CommonOptions
    from ..criu.probing import Criu
    from ..spec import Spec
    from ..store import State
    from .environment import Environment

__all__ = ["Checkpointing", "Reporting", "config_file"]

_DEFAULT_CONFIGS: Final = ("/etc/criu/aiocontainer.conf", "/etc/criu/runc.conf")
_ANNOTATION: Final = "org.criu.config"
_LOOK_S: Final = 0.2


def config_file(options: CommonOptions, spec: Spec, *, trusted: bool) -> str | None:
    """Return CRIU's configuration: what the caller says, else the annotation, else the default.

    An empty word is none.  `SpecError` for one that somebody else may write: it can name programs to run.
    """
    path, origin = options.config_file, "config_file"
    if path is None and trusted:
        path, origin = (spec.annotations or {}).get(_ANNOTATION), f"$.annotations['{_ANNOTATION}']"
    if path is None:
        return next(filter(os.path.exists, _DEFAULT_CONFIGS), None)
    if not path:
        return None
    try:
        found = os.stat(path)
    except OSError as exc:
        raise SpecError(f"{path}: {exc.strerror}", origin=origin) from exc
    if not path.startswith("/") or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise SpecError(f"{path}: is not an absolute path of a file that only we can write", origin=origin)
    return path


class Reporting:
    """Tells a callback how far CRIU is."""

    def __init__(self, options: CommonOptions, directories: Directories) -> None:
        self._callback = options.progress
        self._images = directories.images
        self._since = time.monotonic()

    def reached(self, phase: str, written: int = 0) -> None:
        """Tell of a point, if somebody wants to know."""
        if self._callback is not None:
            self._callback(Progress(phase, time.monotonic() - self._since, written))

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Tell how much has been written, now and then, while the block goes on."""
        if self._callback is None:
            yield
            return
        task = asyncio.ensure_future(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            task.cancelled() or task.exception()  # seen: the callback's own affair

    async def _watch(self) -> None:
        last = 0
        while True:
            await asyncio.sleep(_LOOK_S)
            written = await in_thread(lambda: written_bytes(self._images))
            if written != last:
                last = written
                self.reached("pages", written)


class Checkpointing:
    """One checkpoint of a container that runs or is paused."""

    def __init__(
        self,
        environment: Environment,
        record: State,
        cgroup: Cgroup,
        spec: Spec,
        images: str,
        options: CheckpointOptions,
        *,
        paused: bool,
    ) -> None:
        self._environment = environment
        self._record = record
        self._cgroup = cgroup
        self._spec = spec
        self._images = images
        self._options = options
        self._paused = paused
        self._locked = False
        self._died = False
        self.done: bool = False
        """The images are complete; where it was not to go on, it has ended."""

    async def run(self) -> DumpStats:
        """Write the images; `CriuError` where CRIU cannot, and then the container is as it was."""
        criu = await self._environment.criu()
        fields = dump_fields(self._options, criu)
        directories = await in_thread(
            lambda: Directories(self._images, self._options.work, make=True), undo=Directories.close
        )
        try:
            fields |= await in_thread(lambda: self._fields(directories))
            return await self._dump(criu, fields, directories)
        finally:
            directories.close()

    def _fields(self, directories: Directories) -> dict[str, Any]:
        """Look at the container.  In a thread; every refusal happens here."""
        spec, options, pid = self._spec, self._options, self._record.pid
        self._check()
        if options.parent is not None:
            directories.check_parent(options.parent)
        inside = read_mounts(pid)
        external = dumped_mounts(inside, read_mounts("self"), [mount.destination for _, mount in bound(spec)])
        external += self._namespaces()
        keys = descriptor_keys(pid, inside)
        external += dict.fromkeys(key for key in keys if key.startswith(("file[", "tty[")))
        if not options.pre_dump:
            write_descriptors(directories.images, keys)
        more = list(options.more.get("external", ()))
        trusted = not self._record.facts.get("untrusted", False)
        return {
            "images_dir_fd": directories.images.fileno(),
            "work_dir_fd": directories.work.fileno(),
            "pid": pid,
            "external": [*external, *more],
            "freeze_cgroup": self._freezer(),
            "config_file": config_file(options, spec, trusted=trusted),
        }

    def _check(self) -> None:
        """Refuse what CRIU would fail at late, or save without its meaning."""
        linux = self._spec.linux
        if linux is not None and linux.seccomp is not None and linux.seccomp.asks:
            needs = "a filter that asks nobody: its listener cannot be saved"
            raise UnsupportedError("checkpoint", needs=needs, origin="$.linux.seccomp")
        for index, mount in enumerate(self._spec.mounts):
            if mount.uid_mappings or mount.gid_mappings:
                needs = "mounts without maps of their own"
                raise UnsupportedError("checkpoint", needs=needs, origin=f"$.mounts[{index}]")
        check_namespaces(self._spec)

    def _namespaces(self) -> list[str]:
        """Name those that stay outside, by what they are now."""
        found = []
        for each in self._spec.linux.namespaces if self._spec.linux is not None else ():
            inode = self._record.namespaces.get(each.type)
            if each.path and inode is not None and each.type in EXTERNAL_NAMESPACES:
                name, key = EXTERNAL_NAMESPACES[each.type]
                found.append(f"{name}[{inode}]:{key}")
        return found

    def _freezer(self) -> str | None:
        """Return the cgroup in which CRIU stops them all at once; None: it stops one after the other."""
        return self._cgroup.paths.get("" if self._cgroup.mode is CgroupMode.V2 else "freezer")

    async def _dump(self, criu: Criu, fields: dict[str, Any], directories: Directories) -> DumpStats:
        kind = Kind.PRE_DUMP if self._options.pre_dump else Kind.DUMP
        reporting = Reporting(self._options, directories)

        async def attend(notice: Notice, fd: OwnedFd | None) -> None:
            if fd is not None:
                fd.close()
            if notice.script == "status-ready" and self._options.status_fd >= 0:
                await in_thread(lambda: os.write(self._options.status_fd, b"\0"))
            self._locked = self._locked or notice.script == "network-lock"
            reporting.reached(notice.script)

        worker = await Swrk.start(criu.program)
        try:
            async with reporting.watching():
                try:
                    answer = await worker.ask(encode_request(kind, fields), attend)
                except CriuError as exc:
                    self._died = True
                    raise await self._error(directories, exc.problem, exc.log) from exc
            if not answer.success:
                problem = answer.message or (os.strerror(answer.errno) if answer.errno else "it failed")
                raise await self._error(directories, problem, worker.output())
            self.done = True
        finally:
            if worker.answer is not None and worker.answer.kind == kind and worker.answer.success:
                self.done = True
            await worker.close()
            if not self.done:
                await finish(lambda: in_thread(self._recover))
        dumped, _ = await in_thread(directories.stats)
        return dumped

    def _recover(self) -> None:
        """Let it run again: a CRIU that was killed has not."""
        if not self._paused:
            self._cgroup.thaw()
        if self._locked and self._died:
            unlock_network(self._record.pid)

    async def _error(
        self, directories: Directories, problem: str, output: list[str] | tuple[str, ...]
    ) -> CriuError:
        operation = (
            f"{'pre-dump' if self._options.pre_dump else 'checkpoint'} of container {self._record.id!r}"
        )
        return await in_thread(lambda: directories.error(operation, problem, "dump.log", output))
