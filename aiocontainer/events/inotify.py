"""Changes of files, told by one inotify instance for everything on a loop; the only user of pyinotify.

inotify(7).  Files of cgroup2 tell of each change that their controllers announce (cgroup-v2.rst); they
do not tell of their removal, so watches have to be taken away by whoever knows of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import logging
import os
import struct
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from .._aio import in_background
from .._tuples import NamedTuple
from ..errors import ContainerError

if TYPE_CHECKING:
    from collections.abc import Callable

with warnings.catch_warnings():
    # It imports asyncore, deprecated before Python 3.12, and from there on a package of its own.
    warnings.simplefilter("ignore", DeprecationWarning)
    import pyinotify

# It prints to standard error by itself; what it complains of are watches that were just removed.
logging.getLogger("pyinotify").handlers.clear()
logging.getLogger("pyinotify").setLevel(logging.CRITICAL)

__all__ = ["APPEARED", "MODIFY", "VANISHED", "Change", "Inotify", "Watch", "WatchError", "instance", "watch"]

_FLAGS: Final = os.O_CLOEXEC | os.O_NONBLOCK
_READ_BYTES: Final = 4096
_EVENT: Final = struct.Struct("iIII")
_KNOBS: Final = {
    errno.ENOSPC: "fs.inotify.max_user_watches",
    errno.EMFILE: "fs.inotify.max_user_instances, or the limit of open files",
}


class WatchError(ContainerError, OSError):
    """inotify has no room for one more watch, or for one more instance."""

    def __str__(self) -> str:
        return f"inotify: {self.strerror}" + (f" ({_KNOBS[self.errno]})" if self.errno in _KNOBS else "")


class Change(NamedTuple):
    """What happened: bits of IN_*, and the name inside a watched directory.  inotify(7)."""

    mask: int
    name: str

    @property
    def overflow(self) -> bool:
        """Whether the kernel has dropped changes: look at everything anew."""
        return bool(self.mask & pyinotify.IN_Q_OVERFLOW)

    @property
    def vanished(self) -> bool:
        """Whether that name is gone."""
        return bool(self.mask & VANISHED)


MODIFY: Final[int] = pyinotify.IN_MODIFY
APPEARED: Final[int] = pyinotify.IN_CREATE | pyinotify.IN_MOVED_TO
VANISHED: Final[int] = pyinotify.IN_DELETE | pyinotify.IN_MOVED_FROM


_instances: WeakKeyDictionary[asyncio.AbstractEventLoop, Inotify] = WeakKeyDictionary()

_lock: Final = threading.RLock()
"""Of that table and of all that is in it: an instance is never closed while somebody adds a watch."""


class Watch:
    """One watched file; `close` ends it, from any thread."""

    __slots__ = ("_inotify", "callback", "number")

    def __init__(self, inotify: Inotify, number: int, callback: Callable[[Change], None]) -> None:
        self._inotify: Inotify | None = inotify
        self.number: int = number
        self.callback: Callable[[Change], None] = callback

    def close(self) -> None:
        """Stop watching; a second call does nothing."""
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            inotify._release(self)  # noqa: SLF001 - two halves of one thing


class Inotify:
    """One inotify descriptor in one event loop; it is closed with its last watch.

    Several may watch the same file: the kernel gives them one number, so they are counted here.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watches: dict[int, list[Watch]] = {}
        self._manager = _Manager()
        self._reader = _Reader(self._manager, self._changed)
        self.closed: bool = False
        self._call(self._start)

    @property
    def count(self) -> int:
        """How many files are watched."""
        return len(self._watches)

    def fileno(self) -> int:
        """Return the descriptor, which stays ours."""
        return int(self._manager.get_fd())

    def watch(self, fd: int, callback: Callable[[Change], None], *, mask: int = MODIFY) -> Watch:
        """Tell *callback* on the loop of each change of the file behind *fd*, which may be closed then.

        From any thread.  *mask* is one and the same for each file.  WatchError.
        """
        with _lock:
            if self.closed:
                raise WatchError(errno.EBADF, os.strerror(errno.EBADF))
            try:
                number = self._manager.add(f"/proc/self/fd/{fd}", mask)
            except WatchError:
                self._end_unused()
                raise
            watch = Watch(self, number, callback)
            self._watches.setdefault(number, []).append(watch)
        return watch

    def _release(self, watch: Watch) -> None:
        with _lock:
            others = self._watches.get(watch.number, [])
            with contextlib.suppress(ValueError):
                others.remove(watch)
            if others or self.closed:
                return
            if self._watches.pop(watch.number, None) is not None:
                self._manager.rm_watch(watch.number)  # no error when the file is gone already
            self._end_unused()

    def _end_unused(self) -> None:
        if not self._watches:
            self.closed = True
            self._call(self._stop)

    def _call(self, function: Callable[[], None]) -> None:
        """Call it on the loop: at once if that is where we are."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            function()
        else:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(function)

    def _start(self) -> None:
        if not self.closed:
            self._loop.add_reader(self.fileno(), self._readable)

    def _stop(self) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(self.fileno())
        in_background(self._manager.close)  # waits for a grace period of the kernel: tens of milliseconds

    def _readable(self) -> None:
        self._reader.read_events()
        self._reader.process_events()

    def _changed(self, event: Any) -> None:
        change = Change(event.mask, getattr(event, "name", ""))
        if change.overflow:
            concerned = [watch for watches in self._watches.values() for watch in watches]
        else:
            concerned = list(self._watches.get(event.wd, ()))
        for watch in concerned:
            watch.callback(change)


class _Calls(pyinotify._CtypesLibcINotifyWrapper):  # type: ignore[misc]  # noqa: SLF001
    """The system calls: of the C library that is loaded anyway, and close-on-exec from birth.

    pyinotify itself runs ldconfig(8) to look for it.
    """

    def init(self) -> bool:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
        self._get_errno_func = ctypes.get_errno
        return True

    def _inotify_init(self) -> int:
        return int(self._libc.inotify_init1(_FLAGS))


class _Manager(pyinotify.WatchManager):  # type: ignore[misc]
    """pyinotify's table of watches, over our calls."""

    def __init__(self) -> None:
        calls = _Calls()
        calls.init()
        self._ignore_events = False
        self._exclude_filter = lambda path: False  # noqa: ARG005
        self._wmd: dict[int, Any] = {}
        self._inotify_wrapper = calls
        self._fd = calls.inotify_init()
        if self._fd < 0:
            raise _error(calls)

    def add(self, path: str, mask: int) -> int:
        """Add one watch and return its number; WatchError."""
        number: int = self.add_watch(path, mask)[path]
        if number < 0:
            raise _error(self._inotify_wrapper)
        return number


def _error(calls: _Calls) -> WatchError:
    number = calls.get_errno() or 0
    return WatchError(number, os.strerror(number))


class _Reader(pyinotify.Notifier):  # type: ignore[misc]
    """pyinotify's queue of events, read in portions that keep no loop waiting."""

    def __init__(self, manager: _Manager, changed: Callable[[Any], None]) -> None:
        super().__init__(manager)
        self._changed = changed

    def read_events(self) -> None:
        """Read what one small buffer takes; names need not be UTF-8."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            number, mask, cookie, size = _EVENT.unpack_from(data, at)
            at += _EVENT.size + size
            name = os.fsdecode(data[at - size : at].rstrip(b"\0"))
            self.append_event(pyinotify._RawEvent(number, mask, cookie, name))  # noqa: SLF001

    def process_events(self) -> None:
        """Hand over what was read.

        pyinotify's own way remembers a minute of renames, to pair them, and goes through all of them each
        time: with each container that is made or goes, every change would become dearer for everybody.
        """
        while self._eventq:
            event = self._eventq.popleft()
            if event.mask & pyinotify.IN_IGNORED:
                self._watch_manager.del_watch(event.wd)
            self._changed(event)


def watch(
    loop: asyncio.AbstractEventLoop, fd: int, callback: Callable[[Change], None], *, mask: int = MODIFY
) -> Watch:
    """Watch a file through the one instance of *loop*, made when needed; from any thread; WatchError."""
    with _lock:
        found = _instances.get(loop)
        if found is None or found.closed:
            found = _instances[loop] = Inotify(loop)
        return found.watch(fd, callback, mask=mask)


def instance(loop: asyncio.AbstractEventLoop) -> Inotify | None:
    """Return the instance of *loop*; None while nothing is watched."""
    found = _instances.get(loop)
    return None if found is None or found.closed else found
