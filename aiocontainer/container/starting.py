"""Start: knock at the gate of a created container, whoever created it."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from msgspec import Struct

from .. import native
from .._aio import in_thread
from .._convert import convert
from ..errors import HelperError, NotRunningError, StateCorruptError, StateError
from ..plan.steps import Gate
from ..store import StoreError
from .dialogue import Channel, Dialogue
from .listener import Destination, process_state
from .status import Status

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from ..plan.plan import Plan
    from ..store import State, Store

__all__ = ["gate_facts", "knock", "pass_gate", "raise_failure"]

_ANSWER_S = 60.0
"""How long the init may take from the knock to execve(2); it only has to be scheduled."""


class _KnownStep(Struct, frozen=True):
    """What the state keeps of a step behind the gate, for errors."""

    origin: str
    sentence: str

    def advice(self, errno: int) -> str:  # noqa: ARG002
        return ""

    def __str__(self) -> str:
        return self.sentence


class _GateFacts(Struct, frozen=True):
    """Where the gate stands in the plan, and the steps from there on."""

    index: int
    steps: tuple[_KnownStep, ...]


def gate_facts(plan: Plan) -> object:
    """Return what another process will need to know of *plan* to start it, as plain data; None: nothing."""
    index = next((i for i, step in enumerate(plan.steps) if isinstance(step, Gate)), None)
    if index is None:
        return None
    behind = tuple(_KnownStep(step.origin, str(step)) for step in plan.steps[index:])
    return msgspec.to_builtins(_GateFacts(index, behind))


async def pass_gate(state: State, sock: socket.socket, destination: Destination | None) -> None:
    """Let the init behind *sock* go on to the user's program; returns once execve(2) has worked.

    A listener of its filter goes to *destination*, which is None where none is expected.
    Takes *sock* over.  `BootstrapError` where the program cannot be run, `HookError` where a hook before
    it failed, `NotRunningError` where the init died first.
    """
    facts = _facts(state.facts)
    if destination is not None:
        await in_thread(lambda: _pass_supervised(state, facts, sock, destination))
        return
    dialogue = Dialogue((None,) * facts.index + facts.steps)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None if "startContainer" in state.facts.get("hooks", ()) else _ANSWER_S):
            sock.send(native.PROCEED)  # it waits in the queue until the gate is opened
            while data := await _receive(loop, sock):
                dialogue.feed(native.decode_reply(data, ()))
    except BrokenPipeError:
        raise _dead(state.id) from None
    except TimeoutError:
        raise HelperError(f"the init of container {state.id!r} does not answer") from None
    finally:
        sock.close()
    if dialogue.paused is None:  # end of file, but the gate was never opened
        raise _dead(state.id)


def _pass_supervised(state: State, facts: _GateFacts, sock: socket.socket, destination: Destination) -> None:
    """Do the same where the plan pauses once more, with the listener."""
    sock.settimeout(_ANSWER_S)
    channel = Channel(sock, Dialogue((None,) * facts.index + facts.steps))
    try:
        channel.paused()
        channel.proceed()
        while channel.paused_or_executed() is not None:
            destination.deliver(channel.dialogue.taken(), state.pid, process_state(state, "created"))
            channel.proceed()
    except TimeoutError:
        raise HelperError(f"the init of container {state.id!r} does not answer") from None
    finally:
        channel.close()


async def _receive(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    try:
        return await loop.sock_recv(sock, native.REPLY_SPACE)
    except ConnectionResetError:  # it went without reading what we sent: the end all the same
        return b""


def raise_failure(id: str, document: Mapping[str, Any], replies: Sequence[bytes]) -> NoReturn:
    """Raise what *replies* to PROCEED mean, which are not those of success, for the state *document*."""
    if not replies:
        raise _dead(id)
    facts = _facts(document["facts"])
    dialogue = Dialogue((None,) * facts.index + facts.steps)
    for data in replies:
        dialogue.feed(native.decode_reply(data, ()))
    raise HelperError(f"the init of container {id!r} does not answer as it should")


def _dead(id: str) -> NotRunningError:
    return NotRunningError("start", status=Status.STOPPED, id=id, reason="its init is dead")


def _facts(facts: Mapping[str, Any]) -> _GateFacts:
    try:
        return convert(facts.get("gate"), _GateFacts)
    except msgspec.ValidationError as exc:
        raise StateCorruptError("state.json", f"facts.gate: {exc}") from exc


def knock(store: Store, id: str) -> socket.socket:
    """Connect, and take the gate's name away: from here on the container counts as started.

    Needs the container's lock.  `StateError` where it was started already, `NotRunningError` where the
    init is dead.
    """
    try:
        sock = store.connect_gate(id)
    except StoreError as exc:
        if exc.errno == errno.ENOENT:
            raise StateError("start", status=Status.RUNNING, id=id, reason="already started") from exc
        if exc.errno == errno.ECONNREFUSED:
            raise _dead(id) from exc
        raise
    try:
        store.unlink_gate(id)
    except BaseException:
        sock.close()
        raise
    return sock
