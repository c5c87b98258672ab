"""Setting limits: the writes of a plan, one after the other, all of them or none."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from typing import TYPE_CHECKING, Final

from .._lazy import pattern
from .._tuples import NamedTuple
from ..errors import CgroupError, SpecError, UnsupportedError
from .parse import restoring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..plan.plan import CgroupWrite
    from .directory import Directory

__all__ = ["Limits"]

_ADVICE: Final = (
    ("cpuset.", errno.EACCES, "not all of them are those of the cgroup above"),
    ("cpuset.", errno.ENOSPC, "a cgroup with processes needs some"),
    ("cpu.rt_", errno.EINVAL, "the cgroup above has no such budget left"),
    ("cpu.max", errno.EINVAL, "more than the cgroup above may use, or below 1 ms"),
    ("cpu.cfs_", errno.EINVAL, "more than the cgroup above may use, or below 1 ms"),
    ("io.", errno.ENODEV, "no such block device"),
    ("blkio.", errno.ENODEV, "no such block device"),
    ("rdma.", errno.ENODEV, "no such device"),
    ("net_prio.", errno.ENODEV, "no such network device"),
)
"""Beginning of a file's name, what the kernel says, and what it means by that."""

_USAGE: Final = {
    "memory.limit_in_bytes": "memory.usage_in_bytes",
    "memory.memsw.limit_in_bytes": "memory.memsw.usage_in_bytes",
}
"""Files of v1 that refuse with EBUSY what is below their usage, and the usage."""

_OF_A_DEVICE: Final = pattern(r"[0-9]+:[0-9]+ ")


class _Done(NamedTuple):
    """What is to be written so that a file is as it was."""

    directory: Directory
    file: str
    lines: Sequence[str]


class Limits:
    """Sets limits of one cgroup.

    *find* gives the directory for a controller, None where there is none; *enable* has it passed on to
    there, where that is possible, and tells whether it was.
    """

    def __init__(
        self, find: Callable[[str], Directory | None], enable: Callable[[Directory, str], bool]
    ) -> None:
        self._find = find
        self._enable = enable
        self._fresh = False
        self._done: list[_Done] = []

    def set(self, writes: Iterable[CgroupWrite], *, fresh: bool) -> None:
        """Write them all in order; the first that is refused is raised, with what was written undone.

        A *fresh* cgroup goes away then: what we made of it is not set back.
        """
        self._done = []
        self._fresh = fresh
        try:
            for group, members in itertools.groupby(writes, key=lambda write: write.group):
                for some in [[*members]] if group else ([each] for each in members):
                    self._set_group(some)
        except BaseException:
            self.undo()
            raise

    def _set_group(self, writes: Sequence[CgroupWrite]) -> None:
        """Write what depends on each other: what is invalid now may be valid after the others."""
        waiting = writes
        while waiting:
            refused: list[CgroupWrite] = []
            first: CgroupError | None = None
            for write in waiting:
                try:
                    self._set(write)
                except CgroupError as exc:
                    if exc.errno != errno.EINVAL:
                        raise
                    refused.append(write)
                    first = first or exc
            if first is not None and len(refused) == len(waiting):
                raise first
            waiting = refused

    def _set(self, write: CgroupWrite) -> None:
        directory = self._find(write.controller)
        if directory is None:
            if write.optional:
                return
            raise UnsupportedError(
                write.file, needs=f"the {write.controller} controller", origin=write.origin
            )
        for check in write.only:
            used = sum(_number(directory, file) for file in check.files)
            if used >= check.limit_bytes:
                raise _refused(directory, write, errno.EBUSY, f"{used} bytes are in use")
        if self._write(directory, write):
            return
        if write.controller and self._enable(directory, write.controller) and self._write(directory, write):
            return
        if not write.optional:
            raise UnsupportedError(write.file, needs=_missing(directory, write), origin=write.origin)

    def _write(self, directory: Directory, write: CgroupWrite) -> bool:
        """Write to the file or to what can take its place; False when there is neither."""
        if self._write_one(directory, write):
            return True
        return write.otherwise is not None and self._write_one(directory, write.otherwise)

    def _write_one(self, directory: Directory, write: CgroupWrite) -> bool:
        lines = self._restoring(directory, write)
        try:
            # An empty write would not reach the kernel.
            directory.write(write.file, write.value or "\n")
        except CgroupError as exc:
            if exc.errno in (errno.ENOENT, errno.EOPNOTSUPP):
                return False
            raise _refused(directory, write, exc.errno or 0, _advice(directory, write, exc.errno)) from exc
        if lines:
            self._done.append(_Done(directory, write.file, lines))
        if write.exact:
            _check_exact(directory, write)
        return True

    def _restoring(self, directory: Directory, write: CgroupWrite) -> Sequence[str]:
        """Return what brings the file back to where it is now; nothing where it does not tell."""
        if self._fresh and directory.made:
            return ()
        with contextlib.suppress(CgroupError):
            return restoring(write.file, write.value, directory.read(write.file))
        return ()

    def undo(self) -> None:
        """Undo what was done, the last first, so that all goes back the way it came."""
        for directory, file, lines in reversed(self._done):
            try:
                for line in lines:
                    directory.write(file, line)
            except CgroupError as exc:
                from logging import getLogger  # only those who use it pay for it

                getLogger("aiocontainer").warning("could not be set back: %s", exc)


def _refused(directory: Directory, write: CgroupWrite, number: int, advice: str) -> CgroupError:
    path = f"{directory.path}/{write.file}"
    return CgroupError(path, number, value=write.value, origin=write.origin, advice=advice)


def _advice(directory: Directory, write: CgroupWrite, number: int | None) -> str:
    if number == errno.EBUSY and write.file in _USAGE:
        return f"{_number(directory, _USAGE[write.file])} bytes are in use, and cannot be given back"
    for start, each, advice in _ADVICE:
        if write.file.startswith(start) and number == each:
            return advice
    return ""


def _check_exact(directory: Directory, write: CgroupWrite) -> None:
    held = _number(directory, write.file)
    if held != int(write.value):
        what = "least" if held > int(write.value) else "most"
        raise SpecError(f"the kernel takes {held} at {what}, not {write.value}", origin=write.origin)


def _number(directory: Directory, file: str) -> int:
    """Read a number; what is not there counts as 0."""
    try:
        return int(directory.read(file))
    except CgroupError as exc:
        if exc.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            return 0
        raise


def _missing(directory: Directory, write: CgroupWrite) -> str:
    """Tell why a file is missing: a controller that is not passed on, a scheduler, or a kernel without it."""
    controller = write.controller
    what = "a kernel that has this file"
    if "weight" in write.file and _OF_A_DEVICE.match(write.value):  # EOPNOTSUPP.  bfq-iosched.rst
        what = "a device whose I/O scheduler is BFQ"
    try:
        passed = os.fsdecode(directory.read("cgroup.controllers")).split()
    except CgroupError:
        return what
    if not controller or controller in passed:
        return what
    return f"the {controller} controller passed on to {directory.path} (cgroup.subtree_control above it)"
