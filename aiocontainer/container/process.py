"""A process in a container, as the application sees it: the init, or one that exec added."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from typing import TYPE_CHECKING, TypeAlias

from .._aio import OwnedFd
from .._lazy import pattern
from ..errors import NotRunningError, SpecError
from ..events import ExitStatus
from .stdio import Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..console import Pty
    from ..events import Ended, Exits, Monitor, OomVerdict, Watcher

__all__ = ["Process", "SignalName", "signal_number"]

SignalName: TypeAlias = str | int | signal.Signals
"""A signal by name ("TERM", "SIGTERM", "RTMIN+3"), number, or `signal.Signals`."""

_REALTIME = pattern(r"RT(MIN|MAX)(?:([+-])(\d{1,2}))?", re.ASCII)


def signal_number(name: SignalName) -> int:
    """Return the number of a signal; `SpecError` if there is no such signal."""
    if isinstance(name, str) and not (name.isascii() and name.isdecimal()):
        number = _by_name(name.upper().removeprefix("SIG"))
    else:
        number = int(name)
    if number is None or not 0 <= number <= signal.SIGRTMAX:
        raise SpecError(f"no such signal: {name!r}", origin="signal")
    return number


def _by_name(name: str) -> int | None:
    realtime = _REALTIME.fullmatch(name)
    if realtime is None:
        found = signal.Signals.__members__.get(f"SIG{name}")
        return None if found is None else int(found)
    base = signal.SIGRTMIN if realtime[1] == "MIN" else signal.SIGRTMAX
    number = base + int((realtime[2] or "+") + (realtime[3] or "0"))
    return number if signal.SIGRTMIN <= number <= signal.SIGRTMAX else None


def _named(number: int | None) -> signal.Signals | int | None:
    """Give a signal its name; realtime ones between the first and the last have none."""
    try:
        return number if number is None else signal.Signals(number)
    except ValueError:
        return number


def _by_kill(ended: Ended) -> bool | None:
    return None if ended.status is None else ended.status.signal == signal.SIGKILL


class Process:
    """A running or ended process.

    `stdin`, `stdout` and `stderr` are asyncio streams where `PIPE` was asked for, else None;
    `console` is the terminal's master where the process has one and nobody else took it.
    """

    def __init__(
        self,
        pid: int,
        exits: Exits,
        args: Sequence[str],
        *,
        console: Pty | None = None,
    ) -> None:
        """Take over *exits* and *console*."""
        self.pid = pid
        """In our pid namespace; once it has ended, perhaps another's: `send_signal` tells them apart."""
        self.args: tuple[str, ...] = tuple(args)
        """What it was to run."""
        self.console = console
        """The master of its terminal; closed with this."""
        self._exits = exits
        self._streams = Streams()
        self._started: tuple[float, float] | None = None
        self.timed_out: bool = False
        """Its deadline came before its end."""
        self._monitor: Monitor | None = None
        self._concluding: asyncio.Future[None] | None = None

    @property
    def stdin(self) -> asyncio.StreamWriter | None:
        """Writes to the process's standard input."""
        return self._streams.stdin

    @property
    def stdout(self) -> asyncio.StreamReader | None:
        """Reads its standard output; a reader that lags makes the process wait."""
        return self._streams.stdout

    @property
    def stderr(self) -> asyncio.StreamReader | None:
        """Reads its standard error."""
        return self._streams.stderr

    @property
    def exit(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        ended = self._exits.ended
        if ended is None:
            return None
        if self._monitor is not None and self._monitor.last is None:
            # Whoever asks without waiting wants it now: these are one or two files of the kernel.
            self._monitor.conclude(self._monitor.read_last(_by_kill(ended)))
        return self._status(ended)

    async def wait(self) -> ExitStatus:
        """Wait for the end; any number of waiters get the same status, late ones too."""
        ended = await self._exits.wait()
        if self._concluding is not None:
            await asyncio.shield(self._concluding)
        return self._status(ended)

    def observe(self, watcher: Watcher, monitor: Monitor) -> None:
        """Be the init of the container that *monitor* is about: its end is the time of the last reading."""

        def conclude(ended: Ended) -> None:
            self._concluding = watcher.conclude(monitor, _by_kill(ended), lambda: self._status(ended))

        self._monitor = monitor
        self._exits.when_ended(conclude)

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Call *callback* on the loop when it has ended, at once if it has."""
        self._exits.when_ended(lambda _: callback())

    async def communicate(
        self, input: bytes | None = None, *, keep_bytes: int | None = None, drain_s: float | None = 1.0
    ) -> tuple[bytes | None, bytes | None]:
        """Send *input*, read both outputs to their ends, and wait; None for what is no pipe.

        With *keep_bytes* no more than so much of the end of each is kept.  Where something else still
        holds a pipe when the process has ended, what comes within *drain_s* is read too, and then no more;
        None waits for the end of the pipes whatever happens.
        """
        ended = None if drain_s is None else self.wait
        outputs = await self._streams.communicate(input, keep_bytes, ended=ended, drain_s=drain_s)
        await self.wait()
        return outputs

    def send_signal(self, name: SignalName) -> bool:
        """Send a signal by pidfd, so never to another process; False if it has ended."""
        number = signal_number(name)
        sent = self._exits.send_signal(number)
        if sent and number == signal.SIGKILL and self._monitor is not None:
            self._monitor.shot = True
        return sent

    def kill(self) -> bool:
        """Send SIGKILL; False if it has ended."""
        return self.send_signal(signal.SIGKILL)

    async def end(self) -> ExitStatus:
        """Kill it and wait until it is reaped."""
        self.kill()
        return await self.wait()

    def terminate(self) -> bool:
        """Send SIGTERM; False if it has ended."""
        return self.send_signal(signal.SIGTERM)

    def attach(self, streams: Streams) -> None:
        """Take over *streams*."""
        self._streams = streams

    def fileno(self) -> int:
        """Return the pidfd, which stays ours; ValueError once the process has ended."""
        return self._exits.pidfd

    def duplicate(self) -> OwnedFd:
        """Return another pidfd, for use by a thread; `NotRunningError` once the process has ended."""
        if self._exits.ended is not None:
            raise NotRunningError("use", status="stopped", reason=str(self.exit))
        return OwnedFd(os.dup(self._exits.pidfd))

    def close(self) -> None:
        """Give up the streams, the terminal and the pidfd; what is known of the exit stays."""
        self._streams.close()
        if self.console is not None:
            self.console.close()
        self._exits.close()

    def started(self) -> None:
        """Note that execve(2) has worked just now."""
        self._started = (time.time(), time.monotonic())

    def _status(self, ended: Ended) -> ExitStatus:
        at, since = self._started or (None, None)
        # The end may be noticed first, where the program is a short one.
        duration = None if since is None else max(0.0, ended.monotonic - since)
        if ended.status is None:
            return ExitStatus(
                known=False,
                oom=self._oom,
                timed_out=self.timed_out,
                started_at=at,
                exited_at=ended.at,
                duration_s=duration,
            )
        status = ended.status
        return ExitStatus(
            code=status.code,
            signal=_named(status.signal),
            core_dumped=status.core_dumped,
            oom=self._oom,
            timed_out=self.timed_out,
            rusage=status.rusage,
            started_at=at,
            exited_at=ended.at,
            duration_s=duration,
        )

    @property
    def _oom(self) -> OomVerdict | None:
        return None if self._monitor is None else self._monitor.verdict()

    def __repr__(self) -> str:
        return f"<Process {self.pid} {self.args!r}: {self.exit or 'running'}>"
