"""What a process owns while it comes up: its plan on the way, pipes, streams, terminal."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from .._aio import in_thread
from ..events import Exits
from .launch import Launch, Launched
from .process import Process
from .stdio import Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .. import native
    from .._aio import OwnedFd
    from ..plan.plan import Plan
    from .fds import Sources
    from .stdio import Redirects

__all__ = ["Bringup"]


class Bringup:
    """Held by create and by exec until the process is theirs to hand out.

    `send`, `launched` and `take_console` run in a thread, `process` and `undo` on the loop.  `undo` may
    be called whenever no thread is at it, and kills and closes whatever is there.
    """

    def __init__(self, redirects: Redirects, console_socket: str | None, *, reap: bool) -> None:
        self._redirects = redirects
        self._console_socket = console_socket
        self._reap = reap
        self._launch: Launch | None = None
        self._launched: Launched | None = None
        self._interrupted = False
        self._ends: dict[int, OwnedFd] = {}
        self._master: OwnedFd | None = None
        self._streams: Streams | None = None
        self._process: Process | None = None

    def send(
        self,
        spawner: native.Spawner,
        plan: Plan,
        wire: bytes,
        sources: Callable[[Mapping[int, OwnedFd], ExitStack], Sources],
        *,
        processes: int,
        cgroup_fd: int,
        owned: bool,
    ) -> None:
        """Open the streams and what *plan* wants passed, and send it as *wire* says it.

        It makes so many *processes*, one after the other.  *sources* is given the payload's ends of the
        streams.
        """
        with ExitStack() as stack:
            payload = self.open_streams(stack)
            fds = sources(payload, stack).open(plan, stack)
            self._launch = Launch(plan, processes=processes, owned=owned)
            if self._interrupted:
                self._launch.interrupt()
            self._launch.send(spawner, wire, fds, cgroup_fd)

    def open_streams(self, stack: ExitStack) -> Mapping[int, OwnedFd]:
        """Open the streams; *stack* owns the payload's ends."""
        payload, self._ends = self._redirects.open()
        for end in payload.values():
            stack.enter_context(end)
        return payload

    def adopt(self, pid: int, pidfd: OwnedFd) -> None:
        """Take over a process that nobody here has launched."""
        self._launched = Launched(pid, pidfd)

    @property
    def launch(self) -> Launch:
        """The plan on its way."""
        assert self._launch is not None, "nothing was sent"
        return self._launch

    def interrupt(self) -> None:
        """Make the thread that waits for the helper, or soon will, give up."""
        self._interrupted = True
        if self._launch is not None:
            self._launch.interrupt()

    def launched(self) -> Launched:
        """Take over the process that counts; it stays ours to undo."""
        if self._launched is None:
            self._launched = self.launch.process()
        return self._launched

    def take_console(self) -> None:
        """Take the terminal's master that the helper handed over, or send it on to the console socket."""
        self.give_console(self.launch.channel.dialogue.taken())

    def give_console(self, master: OwnedFd) -> None:
        """Take *master* over, or send it on to the console socket."""
        self._master = master
        from .. import console  # in a thread, and only those who have a terminal pay for it

        if self._console_socket is not None:
            with master:
                console.send_master(self._console_socket, master.fileno())
            self._master = None

    async def process(self, args: Sequence[str]) -> Process:
        """Return the process with its streams; it stays ours to undo until the caller has it."""
        assert self._launched is not None, "nothing was launched"
        exits = Exits(self._launched.pidfd, self._launched.pid, reap=self._reap)
        console = None
        if self._master is not None:
            from ..console import Pty  # loaded by `give_console`

            console = Pty(self._master)
        self._process = Process(self._launched.pid, exits, args, console=console)
        self._streams = await Streams.connect(self._ends)
        self._process.attach(self._streams)
        return self._process

    async def undo(self) -> None:
        """Leave nothing of it."""
        if self._process is not None:
            await self._process.end()
            self._process.close()
        elif self._launched is not None:
            self._process = Process(self._launched.pid, Exits(self._launched.pidfd, self._launched.pid), ())
            await self._process.end()
            self._process.close()
        if self._launch is not None:
            await in_thread(self._launch.abort)
        if self._master is not None:
            self._master.close()
        for end in self._ends.values():
            end.close()
