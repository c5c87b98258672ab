"""What a process owns while it comes up: its plan on the way, pipes, streams, terminal."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from .._aio import in_thread
from ..console import Pty, send_master
from ..errors import HelperError
from .launch import Launch
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

    `send` runs in a thread.  `undo` may be called at any time, and kills and closes whatever is there.
    """

    def __init__(self, redirects: Redirects, console_socket: str | None) -> None:
        self._redirects = redirects
        self._console_socket = console_socket
        self._launch: Launch | None = None
        self._ends: dict[int, OwnedFd] = {}
        self._streams: Streams | None = None
        self._console: Pty | None = None
        self._process: Process | None = None

    def send(
        self,
        spawner: native.Spawner,
        plan: Plan,
        wire: bytes,
        sources: Callable[[Mapping[int, OwnedFd], ExitStack], Sources],
        *,
        cgroup_fd: int,
        owned: bool,
    ) -> None:
        """Open the streams and what *plan* wants passed, and send it as *wire* says it.

        *sources* is given the payload's ends of the streams.
        """
        payload, self._ends = self._redirects.open()
        with ExitStack() as stack:
            for end in payload.values():
                stack.enter_context(end)
            fds = sources(payload, stack).open(plan, stack)
            self._launch = Launch(spawner, plan, owned=owned)
            self._launch.send(wire, fds, cgroup_fd)

    @property
    def launch(self) -> Launch:
        """The plan on its way."""
        assert self._launch is not None, "nothing was sent"
        return self._launch

    async def process(self, args: Sequence[str]) -> Process:
        """Return the process that counts, with its streams; it stays ours to undo."""
        self._streams = await Streams.connect(self._ends)
        pid, exits = await self.launch.process()
        self._process = Process(pid, exits, args, streams=self._streams, console=self._console)
        return self._process

    async def take_console(self) -> None:
        """Take the terminal's master that the helper handed over, or send it on to the console socket."""
        dialogue = self.launch.channel.dialogue
        master, dialogue.handed = dialogue.handed, None
        if master is None:
            raise HelperError("the helper sent no terminal")
        path = self._console_socket
        if path is None:
            self._console = Pty(master)
            if self._process is not None:
                self._process.console = self._console
            return
        with master:
            await in_thread(lambda: send_master(path, master.fileno()))

    async def undo(self) -> None:
        """Leave nothing of it."""
        if self._process is not None:
            await self._process.end()
            self._process.close()
        if self._launch is not None:
            await self._launch.abort()
        if self._streams is not None:
            self._streams.close()
        if self._console is not None:
            self._console.close()
        for end in self._ends.values():
            end.close()
