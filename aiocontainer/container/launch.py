"""One plan on its way: sent to the spawner, its processes reaped or handed out, undone if need be."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from typing import TYPE_CHECKING, Final

from .. import native
from .._aio import OwnedFd
from .._tuples import NamedTuple
from ..errors import HelperError
from .dialogue import Channel, Dialogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.plan import Plan
    from ..plan.steps import Step
    from .dialogue import Spawned

__all__ = ["Launch", "Launched"]

_ABORT_S: Final = 10.0
"""How long an aborted plan may take to say which processes it made, and a killed one to end."""


class Launched(NamedTuple):
    """The process that a plan was for; whoever has it owns the pidfd."""

    pid: int
    pidfd: OwnedFd


class Launch:
    """The processes of one plan, from the request to the moment when execve(2) has worked.

    Everything blocks, and runs in one thread at a time; only `interrupt` may come from another.
    """

    def __init__(self, plan: Plan, *, processes: int, owned: bool) -> None:
        self._plan = plan
        self._owned = owned
        self._channel: Channel[Step] | None = None
        self._interrupted = False
        self._processes = processes

    def send(self, spawner: native.Spawner, wire: bytes, fds: Sequence[int], cgroup_fd: int) -> None:
        """Send the plan, as *wire* says it, with its descriptors, which stay the caller's."""
        ours, helpers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        with helpers, OwnedFd(native.sealed_plan(wire)) as plan:
            self._channel = Channel(ours, Dialogue(self._plan.steps))
            spawner.request(
                plan_fd=plan.fileno(),
                control=helpers.fileno(),
                fds=fds,
                clone_flags=self._plan.clone_flags,
                cgroup_fd=cgroup_fd,
                owned=self._owned,
                own_network=self._plan.own_network,
            )

    @property
    def channel(self) -> Channel[Step]:
        """The dialogue; there is one from `send` on."""
        if self._channel is None:
            raise HelperError("nothing was sent to the helper")
        return self._channel

    def born(self) -> Spawned:
        """Return the first process of the plan, which stays ours."""
        self.channel.spawned(1)
        self._check_interrupted()
        return self.channel.dialogue.spawned[0]

    def process(self) -> Launched:
        """Hand out the process that counts: the last that the plan makes.

        Those before it end by themselves, and are reaped here.
        """
        self.channel.spawned(self._processes)
        self._check_interrupted()
        spawned = self.channel.dialogue.spawned
        while len(spawned) > 1:
            _reap(spawned[0])
            del spawned[0]
        self._processes = 0
        self._check_interrupted()  # again: until now `interrupt` has seen too few of them, or too many
        last = spawned.pop()  # nothing is left that abort would have to kill
        return Launched(last.pid, last.pidfd)

    def interrupt(self) -> None:
        """Make the thread that waits for the helper give up, soon; from any thread."""
        self._interrupted = True
        if self._channel is not None and len(self._channel.dialogue.spawned) >= self._processes:
            self._channel.interrupt()

    def abort(self) -> None:
        """Kill and reap every process that the plan has made and that nobody has taken over."""
        if self._channel is None:
            return
        self._channel.settled(self._processes, _ABORT_S)
        self._channel.close()
        spawned = self._channel.dialogue.spawned
        for process in spawned:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process.pidfd.fileno(), signal.SIGKILL)
        while spawned:
            _reap(spawned.pop())

    def close(self) -> None:
        """Close the control socket."""
        if self._channel is not None:
            self._channel.close()

    def _check_interrupted(self) -> None:
        """Give up now: `interrupt` came before the processes were announced."""
        if self._interrupted:
            raise HelperError("interrupted")


def _reap(process: Spawned) -> None:
    """Wait for a process that is about to end, and close its pidfd."""
    with process.pidfd as pidfd:
        poll = select.poll()
        poll.register(pidfd.fileno(), select.POLLIN)
        if not poll.poll(int(_ABORT_S * 1000)):
            raise HelperError(f"process {process.pid} of the helper does not end")
        with contextlib.suppress(ChildProcessError):  # reaped already, by whoever waits for all children
            native.wait_pidfd(pidfd.fileno())
