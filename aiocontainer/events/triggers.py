"""Thresholds that the kernel watches for us: OOM and pressure of v1 by eventfd, of v2 by PSI.

cgroup-v1/memory.rst "OOM Control" and "Memory Pressure"; accounting/psi.rst "Monitoring for pressure
thresholds".
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
from typing import TYPE_CHECKING, Final, Literal, Protocol

from .._aio import OwnedFd
from .._tuples import NamedTuple
from ..errors import CgroupError, SpecError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .notices import PressureLevel

__all__ = ["Files", "Threshold", "Trigger", "oom_trigger", "open_trigger", "threshold"]

_FLAGS: Final = os.EFD_CLOEXEC | os.EFD_NONBLOCK
_LEAST_WINDOW_S: Final = 0.5
_LONGEST_WINDOW_S: Final = 10.0

Kind = Literal["some", "full"]
Resource = Literal["memory", "cpu", "io"]

_LEVELS: Final[dict[str, tuple[Kind, float]]] = {
    "low": ("some", 0.05),
    "medium": ("some", 0.20),
    "critical": ("full", 0.10),
}
"""What v1 calls a level, as the share of time lost in v2: reclaim is noticed; it hurts; nothing moves."""


class Files(Protocol):
    """What is needed of the files of a cgroup."""

    def open(self, controller: str, file: str, *, flags: int = os.O_RDONLY) -> OwnedFd | None:
        """Open one, None where it is not there."""


class Threshold(NamedTuple):
    """When there is too much pressure: the share of a window that some or all processes wait."""

    resource: Resource
    level: PressureLevel | None
    kind: Kind
    share: float
    window_s: float

    @property
    def text(self) -> bytes:
        """As the kernel reads it: microseconds of stall in microseconds of time."""
        return b"%s %d %d\0" % (self.kind.encode(), self.share * self.window_s * 1e6, self.window_s * 1e6)


def threshold(
    level: str | None,
    *,
    resource: str = "memory",
    some: float | None = None,
    full: float | None = None,
    window_s: float = 2.0,
) -> Threshold:
    """Check what a caller asks for; SpecError.

    *level* is one of v1's names, or else *some* or *full* is the share itself.
    """
    if resource not in ("memory", "cpu", "io"):
        raise SpecError(f"{resource!r} is no resource that is waited for", origin="resource")
    if not _LEAST_WINDOW_S <= window_s <= _LONGEST_WINDOW_S:
        raise SpecError(f"{window_s} s: the kernel takes 0.5 to 10", origin="window_s")
    if some is None and full is None:
        if level not in _LEVELS:
            raise SpecError(f"{level!r} is not one of {', '.join(_LEVELS)}", origin="level")
        kind, share = _LEVELS[level]
        return Threshold(resource, level, kind, share, window_s)  # type: ignore[arg-type]
    if some is not None and full is not None:
        raise SpecError("either some or full", origin="full")
    chosen: Kind = "some" if some is not None else "full"
    share = some if some is not None else full or 0.0
    if not 0 < share <= 1:
        raise SpecError(f"{share} is no share of a window", origin=chosen)
    return Threshold(resource, None, chosen, share, window_s)  # type: ignore[arg-type]


class Trigger:
    """One threshold that is armed; `watch` tells of it on a loop, `close` ends it.

    The kernel forgets it when its descriptors are closed.
    """

    def __init__(self, signal: OwnedFd, *others: OwnedFd, counts: bool) -> None:
        """Own the descriptors; *signal* becomes readable.  It *counts* if it is an eventfd."""
        self._signal = signal
        self._others = others
        self._counts = counts
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, callback: Callable[[], None]) -> None:
        """Call *callback* on the running loop whenever the threshold is passed."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._signal.fileno(), self._readable, callback)

    def _readable(self, callback: Callable[[], None]) -> None:
        if self._counts:  # what PSI said, the loop's own look has taken back: psi_trigger_poll()
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._signal.fileno())
        callback()

    def close(self) -> None:
        """Disarm it; a second call does nothing."""
        if self._loop is not None and not self._loop.is_closed() and not self._signal.closed:
            self._loop.remove_reader(self._signal.fileno())
        for fd in (self._signal, *self._others):
            fd.close()


def oom_trigger(files: Files) -> Trigger | None:
    """Arm v1's notice that the memory limit, or one above it, leaves nothing but killing; None: no such file.

    In a thread.  It comes *before* anybody is killed.
    """
    return _eventfd(files, "memory.oom_control", "")


def open_trigger(files: Files, wanted: Threshold) -> Trigger:
    """Arm one threshold of pressure, in a thread; UnsupportedError where the kernel cannot watch it."""
    if wanted.resource == "memory" and wanted.level is not None:
        trigger = _eventfd(files, "memory.pressure_level", wanted.level)
        if trigger is not None:
            return trigger
    return _psi(files, wanted)


def _eventfd(files: Files, file: str, argument: str) -> Trigger | None:
    watched = files.open("memory", file)
    if watched is None:
        return None
    with watched:
        control = files.open("memory", "cgroup.event_control", flags=os.O_WRONLY)
        if control is None:
            return None
        with control, contextlib.ExitStack() as undo:
            event = undo.enter_context(OwnedFd(os.eventfd(0, _FLAGS)))
            words = (str(event.fileno()), str(watched.fileno()), argument)
            order = " ".join(word for word in words if word)
            try:
                os.write(control.fileno(), order.encode())
            except OSError as exc:
                raise CgroupError("cgroup.event_control", exc.errno or 0, value=order) from exc
            undo.pop_all()
            return Trigger(event, counts=True)


def _psi(files: Files, wanted: Threshold) -> Trigger:
    """Have PSI watch it.  Its files say POLLPRI, which event loops do not ask for: an epoll of its own does.

    One each: looking whether an epoll is readable takes the notice from the file, and which it was
    could not be told any more.
    """
    file = f"{wanted.resource}.pressure"
    with contextlib.ExitStack() as undo:
        try:
            pressure = files.open("", file, flags=os.O_RDWR | os.O_NONBLOCK)
            if pressure is None:
                raise UnsupportedError("pressure events", needs=f"{file}: cgroup2, and a kernel with PSI")
            undo.enter_context(pressure)
            os.write(pressure.fileno(), wanted.text)
            with select.epoll() as epoll:
                signal = undo.enter_context(OwnedFd(os.dup(epoll.fileno())))
                epoll.register(pressure.fileno(), select.EPOLLPRI)
        except OSError as exc:
            if exc.errno == errno.EOPNOTSUPP:
                raise UnsupportedError("pressure events", needs="PSI, which is off: psi=1") from exc
            if exc.errno == errno.EINVAL:
                raise UnsupportedError(
                    f"a window of {wanted.window_s} s",
                    needs="CAP_SYS_RESOURCE, or a multiple of 2 s",
                    origin="window_s",
                ) from exc
            raise CgroupError(file, exc.errno or 0, value=wanted.text.decode()) from exc
        undo.pop_all()
        return Trigger(signal, pressure, counts=False)
