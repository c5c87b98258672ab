"""One plan on its way: sent to the spawner, its processes watched, and undone if it comes to that."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import TYPE_CHECKING

from .. import native
from .._aio import OwnedFd
from ..errors import HelperError
from ..events import Exits
from ..plan.steps import Fork
from .dialogue import Channel, Dialogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.plan import Plan
    from ..plan.steps import Step

__all__ = ["Launch"]

_ABORT_S = 10.0
"""How long an aborted plan may take to say which processes it made before they are killed unheard."""


class Launch:
    """The processes of one plan, from the request to the moment when execve(2) has worked.

    `send` runs in a thread, everything else on the loop.  `abort` undoes whatever there is by then,
    and may be called at any time.
    """

    def __init__(self, spawner: native.Spawner, plan: Plan, *, owned: bool) -> None:
        self.plan = plan
        self._spawner = spawner
        self._owned = owned
        self._socket: socket.socket | None = None
        self._channel: Channel[Step] | None = None
        self._exits: list[Exits] = []
        self._processes = 1 + sum(isinstance(step, Fork) for step in plan.steps)

    def send(self, wire: bytes, fds: Sequence[int], cgroup_fd: int) -> None:
        """Send the plan and its descriptors, which stay the caller's; blocks only while the queue is full."""
        ours, helpers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._socket = ours
        ours.setblocking(False)
        with helpers, OwnedFd(native.sealed_plan(wire)) as plan:
            self._spawner.request(
                plan_fd=plan.fileno(),
                control=helpers.fileno(),
                fds=fds,
                clone_flags=self.plan.clone_flags,
                cgroup_fd=cgroup_fd,
                owned=self._owned,
            )

    @property
    def channel(self) -> Channel[Step]:
        """The dialogue; attached to the running loop at the first use after `send`."""
        if self._channel is None:
            if self._socket is None:
                raise HelperError("nothing was sent to the helper")
            self._channel = Channel(self._socket, Dialogue(self.plan.steps))
        return self._channel

    async def process(self) -> tuple[int, Exits]:
        """Return pid and exit watch of the process that counts: the last that the plan makes.

        The caller owns the watch.  Those before it end by themselves, and are waited for here.
        """
        process = await self.channel.spawned(self._processes)
        pid = process.pid
        self._watch()
        for passing in self._exits[:-1]:
            await passing.wait()
            passing.close()
        exits = self._exits.pop()
        self._exits.clear()
        self._processes = 0  # nothing is left that abort would have to kill
        return pid, exits

    def close(self) -> None:
        """Close the control socket."""
        if self._channel is not None:
            self._channel.close()
        elif self._socket is not None:
            self._socket.close()

    async def abort(self) -> None:
        """Kill and reap every process that the plan has made and that nobody has taken over."""
        if self._socket is None:
            return
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ABORT_S):
                    await self.channel.settled(self._processes)
            self._watch()
            for exits in self._exits:
                exits.send_signal(signal.SIGKILL)
            self.close()
            for exits in self._exits:
                await exits.wait()
        finally:
            self.close()
            for exits in self._exits:
                exits.close()
            self._exits.clear()

    def _watch(self) -> None:
        """Take over the pidfds announced so far."""
        spawned = self.channel.dialogue.spawned
        self._exits += [Exits(process.pidfd) for process in spawned]
        spawned.clear()
