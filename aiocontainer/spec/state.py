"""The state document, and what goes with a seccomp descriptor.  OCI runtime.md "State"."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, field

from .base import Object

__all__ = ["ContainerProcessState", "State", "Status"]

Status = Literal["creating", "created", "running", "stopped", "paused"]  # paused: runc's extension

Pid = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class State(Object, frozen=True, kw_only=True):
    """What ``state`` prints and hooks read."""

    oci_version: str
    id: str
    status: Status
    pid: Pid | None = None
    bundle: str  # absolute
    annotations: Mapping[str, str] = field(default_factory=dict)


class ContainerProcessState(Object, frozen=True, kw_only=True):
    """Sent with the descriptors to a seccomp listener.  OCI config-linux.md."""

    oci_version: str
    fds: tuple[str, ...]  # the name of each; ours is "seccompFd"
    pid: Pid
    metadata: str = ""
    state: State
