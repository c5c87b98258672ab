"""Cgroups v1: one directory in each hierarchy; in hybrid setups also in the cgroup2 beside them."""

from __future__ import annotations

import contextlib
import errno
import itertools
import time
from typing import TYPE_CHECKING, Final

from ..errors import CgroupError, UnsupportedError
from ..plan.host import CgroupMode
from . import unified
from .base import Hierarchical
from .parse import parse_keyed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..plan.devices import DeviceRule
    from .directory import Directory
    from .mounts import Mounts
    from .stats.parts import Part
    from .stats.reading import KeptFiles, Reading

__all__ = ["Cgroup1"]

_STATE: Final = "freezer.state"
_FREEZE_S: Final = 10.0
_KICK_EVERY: Final = 32
_KICK_S: Final = 0.010


class Cgroup1(Hierarchical):
    """A cgroup in the hierarchies of v1.  A process joins each of them by its ``tasks`` file."""

    mode = CgroupMode.V1

    def __init__(self, directories: Mapping[str, Directory], mounts: Mounts, *, close_mounts: bool) -> None:
        super().__init__(directories, mounts, close_mounts=close_mounts)
        self._controllers = {name: each for key, each in directories.items() for name in key.split(",")}
        self._freezer = self._controller("freezer")

    def _directory_of(self, controller: str) -> Directory | None:
        """Find a controller in v1, or else in the cgroup2 beside it."""
        return self._controller(controller) or self._unified

    def delegate(self, uid: int) -> None:  # noqa: ARG002
        """Refuse: who may write to a hierarchy of v1 can take back what was limited in it."""
        raise UnsupportedError("giving the cgroup away", needs="cgroup v2")

    def oom_kills(self) -> int:
        """Return how often the kernel has killed in it for want of memory.  Linux 4.13."""
        memory = self._controller("memory")
        if memory is None:
            return 0 if self._unified is None else unified.oom_kills(self._unified)
        try:
            return parse_keyed(memory.read("memory.oom_control")).get("oom_kill", 0)
        except CgroupError as exc:
            if exc.errno in (errno.ENOENT, errno.ENODEV):
                return 0
            raise

    def _controller(self, name: str) -> Directory | None:
        return self._controllers.get(name)

    def _prepare(self) -> None:
        """Seed cpuset: nothing can join before it has CPUs and memory nodes.  cgroup-v1/cpusets.rst."""
        cpuset = self._controller("cpuset")
        if cpuset is not None:
            cpuset.inherit("cpuset.cpus")
            cpuset.inherit("cpuset.mems")

    def set_devices(self, rules: Sequence[DeviceRule], program: bytes = b"") -> None:  # noqa: ARG002 - v2's
        """Write *rules* in order; the plan has made sure that the files can express them.

        They begin with a verdict on all devices: who is in it must not run before the exceptions hold.
        """
        devices = self._controller("devices")
        if devices is None:
            if rules:
                needs = "the devices controller"
                raise UnsupportedError("device rules", needs=needs, origin="$.linux.resources")
            return
        with self._standing_still(devices):
            for allow, same in itertools.groupby(rules, key=lambda rule: rule.allow):
                devices.write_each("devices.allow" if allow else "devices.deny", (rule.text for rule in same))

    @contextlib.contextmanager
    def _standing_still(self, directory: Directory) -> Iterator[None]:
        """Freeze it meanwhile, unless it is empty or frozen anyway, or cannot be."""
        freezing = bool(directory.pids()) and not self.is_frozen() and self._try_freeze()
        try:
            yield
        finally:
            if freezing:
                self.thaw()

    def _layouts(self, kept: KeptFiles | None) -> Iterable[tuple[tuple[Part, ...], Reading]]:
        from .stats.reading import Reading, parts1, parts2

        yield parts1(), Reading(self._home, kept)
        if self._unified is not None:  # has what is mounted in no hierarchy of v1
            yield parts2(), Reading(lambda _: self._unified, kept)

    def _home(self, file: str) -> Directory | None:
        """Return where a file would be: it is named by its controller; pressure is told by cgroup2 alone."""
        controller, _, name = file.partition(".")
        return self._unified if name == "pressure" else self._controller(controller)

    def freeze(self) -> None:
        """Stop everything in it; returns when it stands still."""
        if self._freezer is not None:
            _freeze(self._freezer)
        elif self._unified is not None and unified.can_freeze(self._unified):
            unified.freeze(self._unified)
        else:
            raise UnsupportedError("freezing a cgroup", needs="the freezer controller")

    def thaw(self) -> None:
        """Let it run again, whoever froze it in whichever hierarchy; no error when it is gone."""
        if self._freezer is not None:
            _thaw(self._freezer)
        if self._unified is not None:
            unified.thaw(self._unified)

    def _is_frozen(self, directory: Directory) -> bool:
        if directory is self._unified:
            return unified.is_frozen(directory)
        return directory is self._freezer and _state(directory) != "THAWED"


def _freeze(directory: Directory) -> None:
    """Freeze, and wait until it is; CgroupError(ETIMEDOUT), thawed again.

    The kernel does not finish by itself what was forking meanwhile: it has to be looked at, and now
    and then told anew.  cgroup-v1/freezer-subsystem.rst.
    """
    deadline, attempt = time.monotonic() + _FREEZE_S, 0
    try:
        directory.write(_STATE, "FROZEN")
        while (state := _state(directory)) != "FROZEN":
            if time.monotonic() >= deadline:
                raise CgroupError(f"{directory.path}/{_STATE}", errno.ETIMEDOUT, value=state)
            attempt += 1
            if attempt % _KICK_EVERY == 0:
                directory.write(_STATE, "THAWED")
                time.sleep(_KICK_S)
            directory.write(_STATE, "FROZEN")
            time.sleep(0.00001 * attempt)
    except BaseException:
        _thaw(directory)
        raise


def _thaw(directory: Directory) -> None:
    try:
        directory.write(_STATE, "THAWED")
    except CgroupError as exc:
        if exc.errno not in (errno.ENOENT, errno.ENODEV):
            raise


def _state(directory: Directory) -> str:
    """Return THAWED, FREEZING or FROZEN, those above it counted in; what is gone runs."""
    try:
        return directory.read(_STATE).decode().strip()
    except CgroupError as exc:
        if exc.errno in (errno.ENOENT, errno.ENODEV):
            return "THAWED"
        raise
