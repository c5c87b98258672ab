"""What the caller, or a service manager, left to us for the container: descriptors and NOTIFY_SOCKET."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["listen_fd_names", "listen_fds", "missing_descriptor", "notify_address"]

FIRST = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START


def listen_fds(environment: Mapping[str, str] = os.environ) -> int:
    """How many sockets the service manager passed to this very process.  sd_listen_fds(3)."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return 0
    return int(count)


def listen_fd_names(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return their names, one each; empty where the service manager gave none."""
    names = tuple(environment.get("LISTEN_FDNAMES", "").split(":"))
    return names if len(names) == listen_fds(environment) else ()


def missing_descriptor(preserve_fds: int) -> int | None:
    """Return the first descriptor to pass on that is not open: sockets first, then *preserve_fds* more."""
    for fd in range(FIRST, FIRST + listen_fds() + preserve_fds):
        try:
            os.fstat(fd)
        except OSError:
            return fd
    return None


def notify_address(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return where the service manager wants to be told of readiness, if there is one.  sd_notify(3).

    Of another kind than a path, or a name behind "@", is none that could be reached from here.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    return address if address[:1] in ("/", "@") and len(address) > 1 else None
