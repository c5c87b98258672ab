"""Hand a filter's listener to whoever answers: the agent at `listenerPath`, or this application itself.

OCI config-linux.md "The Container Process State".
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from .. import spec as _spec
from .._convert import convert
from ..errors import SpecError, StateCorruptError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._aio import OwnedFd
    from ..events import SeccompNotifications
    from ..spec import Spec
    from ..store import State

__all__ = [
    "Destination",
    "Supervisor",
    "late_listener",
    "process_state",
    "remembered_supervisor",
    "supervisor",
]

_ORIGIN: Final = "$.linux.seccomp.listenerPath"
_FACT: Final = "seccomp"
_PATIENCE_S: Final = 10.0


class Supervisor(Struct, frozen=True):
    """Who answers for a container, as its state remembers it; without a path its creator."""

    path: str = ""
    metadata: str = ""


def supervisor(spec: Spec) -> Supervisor:
    """Return who answers, by the specification."""
    profile = spec.linux and spec.linux.seccomp
    assert profile, "a filter has a profile"
    return Supervisor(profile.listener_path, profile.listener_metadata)


def late_listener(spec: Spec) -> dict[str, object]:
    """Return what a start that gets a listener will need to know, as facts of the state."""
    return {_FACT: msgspec.to_builtins(supervisor(spec))}


def remembered_supervisor(state: State) -> Supervisor | None:
    """Return who gets the listener that start hands over; None where it hands over none."""
    if _FACT not in state.facts:
        return None
    try:
        return convert(state.facts[_FACT], Supervisor)
    except msgspec.ValidationError as exc:
        raise StateCorruptError("state.json", f"facts.{_FACT}: {exc}") from exc


def process_state(state: State, status: _spec.Status) -> _spec.State:
    """Return the state document that goes with a listener."""
    return _spec.State(
        oci_version=state.oci_version,
        id=state.id,
        status=status,
        pid=state.pid,
        bundle=state.bundle,
        annotations=state.annotations,
    )


class Destination:
    """Where one listener goes.  Connected before the process comes into being that the filter is for.

    Everything blocks, bounded; a failure is a `SpecError` that names the socket.
    """

    def __init__(self, supervisor: Supervisor | None, own: SeccompNotifications | None, id: str) -> None:
        """Without a *supervisor* no listener is expected."""
        self._supervisor = supervisor or Supervisor()
        self._own = own
        self._socket: socket.socket | None = None
        if supervisor is None:
            return
        if supervisor.path:
            self._socket = self._connected()
        elif own is None:
            raise StateError("use", status="created", id=id, reason="its creator answers for its filter")

    def deliver(self, listener: OwnedFd, pid: int, state: _spec.State) -> None:
        """Send *listener*, of the process *pid*, with the container's state; takes it over."""
        if self._socket is None:
            assert self._own is not None
            self._own.add(listener)
            return
        message = _spec.ContainerProcessState(
            oci_version=state.oci_version,
            fds=("seccompFd",),
            pid=pid,
            metadata=self._supervisor.metadata,
            state=state,
        )
        with listener, self._named():
            rest = _spec.encode(message)
            sent = socket.send_fds(self._socket, [rest], [listener.fileno()])
            self._socket.sendall(rest[sent:])
        self.close()

    def close(self) -> None:
        """Let go of the agent: it sees the end of the message, or that there is none."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        # Not settimeout(): that makes connect(2) fail at once while others are queued.
        timeout = struct.pack("ll", int(_PATIENCE_S), int(_PATIENCE_S % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        try:
            with self._named():
                sock.connect(self._supervisor.path)
        except BaseException:
            sock.close()
            raise
        return sock

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as exc:
            raise SpecError(f"{self._supervisor.path}: {exc}", origin=_ORIGIN) from exc
