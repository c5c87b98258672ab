"""Readings of a container: its cgroup, its network, its share of cache.  What reads runs in a thread."""

from __future__ import annotations

import errno
import os
import select
import time
from typing import TYPE_CHECKING, Any, Final

from .. import resctrl
from .._aio import OwnedFd
from ..cgroups import Mounts, open_cgroup
from ..cgroups.stats.reading import KeptFiles
from ..cgroups.stats.values import CgroupStats, StatsMask
from ..errors import CgroupError, ContainerError, NotFoundError, NotRunningError
from ..network import InterfaceStats
from ..plan.host import CgroupMode
from ..store import open_process
from .sampling import Accounts
from .status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..resctrl import RdtStats
    from ..store import State, Store

__all__ = [
    "Stats",
    "StatsMask",
    "last_stats",
    "parse_net_dev",
    "read_all",
    "read_stats",
    "sample",
]

_OPERATION: Final = "read the usage of"
_GONE: Final = (errno.ENOENT, errno.ENODEV, errno.EBADF)
"""A file that was removed with its cgroup has no device; a deleted container closes its descriptors."""
_NO_NETWORK: Final = (errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.ENXIO)
"""ENXIO: its network namespace went while the file was opened."""
_OUTSIDE: Final = StatsMask.NET | StatsMask.RDT
"""Parts that need no cgroup."""
_LASTING: Final = StatsMask.CPU | StatsMask.MEMORY | StatsMask.PIDS | StatsMask.IO
"""Parts that mean something when all processes have ended."""


class Stats(CgroupStats, frozen=True, kw_only=True, gc=False):
    """What a container has used; `parts` are those that were asked for and that the machine accounts."""

    id: str
    time_ns: int
    """Since the epoch."""
    monotonic_ns: int
    """The same moment by the monotonic clock, for rates."""
    network: tuple[InterfaceStats, ...] = ()
    """All interfaces, ``lo`` too, of a network namespace of its own; none where it shares ours."""
    rdt: RdtStats | None = None
    """None where it is in no group of resctrl."""


def read_stats(accounts: Accounts, mask: StatsMask | None = None, kept: KeptFiles | None = None) -> Stats:
    """Read all parts, or those of *mask*, of a container whose init lives.

    `NotRunningError` where it has ended, `UnsupportedError` where the container has no cgroup and more is
    asked for than its network and resctrl.
    """
    record = accounts.record
    pidfd = open_process(record.identity)
    if pidfd is None:
        raise _not_running(record.id)
    with OwnedFd(pidfd):
        return _read_parts(accounts, StatsMask.ALL if mask is None else mask, kept, pidfd)


def sample(accounts: Accounts, mask: StatsMask | None, kept: KeptFiles | None) -> tuple[Stats, KeptFiles]:
    """Read as `read_stats` does, at descriptors that are kept for the next time."""
    if kept is not None:
        return read_stats(accounts, mask, kept), kept
    kept = KeptFiles()
    try:
        return read_stats(accounts, mask, kept), kept
    except BaseException:
        kept.close()
        raise


def last_stats(accounts: Accounts) -> Stats | None:
    """Read what a container whose processes have ended has used in all; None where nothing tells."""
    if accounts.cgroup.mode is CgroupMode.NONE:
        return None
    try:
        return _read_parts(accounts, _LASTING, None, -1)
    except (NotRunningError, CgroupError):
        return None


def read_all(
    store: Store, known: Mapping[str, Accounts], ids: Iterable[str] | None, mask: StatsMask | None
) -> tuple[dict[str, Stats], list[ContainerError]]:
    """Read all containers of *store*, or *ids*, but those that have stopped; tell what failed.

    Those that are not *known* are looked up.  Without a cgroup a container tells what it can.
    """
    found: dict[str, Stats] = {}
    failed: list[ContainerError] = []
    mask = StatsMask.ALL if mask is None else mask
    with Mounts() as mounts:
        for id in store.ids() if ids is None else ids:
            try:
                accounts = known[id] if id in known else _recorded(store.load(id), mounts)
                without = accounts.cgroup.mode is CgroupMode.NONE
                found[id] = read_stats(accounts, mask & _OUTSIDE if without else mask)
            except (NotFoundError, NotRunningError):
                continue
            except ContainerError as exc:
                failed.append(exc)
    return found, failed


def _recorded(state: State, mounts: Mounts) -> Accounts:
    mode, paths, made = CgroupMode(state.cgroup.mode), state.cgroup.paths, state.cgroup.made
    return Accounts(state, open_cgroup(mode, paths, made=made, mounts=mounts))


def _read_parts(accounts: Accounts, mask: StatsMask, kept: KeptFiles | None, pidfd: int) -> Stats:
    record = accounts.record
    fields: dict[str, Any] = {"parts": StatsMask(0)}
    if mask & ~_OUTSIDE:
        fields = _of_cgroup(accounts, mask, kept)
    if StatsMask.NET in mask and "network" in record.namespaces:
        fields["network"] = _network(record, pidfd)
        fields["parts"] |= StatsMask.NET
    if StatsMask.RDT in mask and record.resctrl is not None:
        fields["rdt"] = resctrl.stats(record.resctrl)
        fields["parts"] |= StatsMask.RDT
    return Stats(id=record.id, time_ns=time.time_ns(), monotonic_ns=time.monotonic_ns(), **fields)


def _of_cgroup(accounts: Accounts, mask: StatsMask, kept: KeptFiles | None) -> dict[str, Any]:
    try:
        read = accounts.cgroup.stats(mask, kept)
    except CgroupError as exc:
        if exc.errno in _GONE:
            raise _not_running(accounts.record.id) from exc
        raise
    return {name: getattr(read, name) for name in CgroupStats.__struct_fields__}


def _not_running(id: str) -> NotRunningError:
    return NotRunningError(_OPERATION, status=Status.STOPPED, id=id)


# Network ------------------------------------------------------------------------------------------------


def _network(record: State, pidfd: int) -> tuple[InterfaceStats, ...]:
    """Read the counters in the namespace of the init, which *pidfd* proves to be that of *record*."""
    try:
        text = _read(f"/proc/{record.pid}/net/dev")
    except OSError as exc:
        if exc.errno not in _NO_NETWORK:
            raise
        raise _not_running(record.id) from exc
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if poll.poll(0):  # it has ended: the number may have become somebody else's before it was read
        raise _not_running(record.id)
    return parse_net_dev(text)


def _read(path: str) -> bytes:
    """Read a file of /proc whole.

    It is not kept open: it would keep the network namespace of a container alive that has ended.
    """
    with OwnedFd(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as fd:
        chunks = []
        while chunk := os.read(fd.fileno(), 1 << 16):
            chunks.append(chunk)
        return b"".join(chunks)


_RX: Final = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped")
_TX: Final = ("tx_bytes", "tx_packets", "tx_errors", "tx_dropped")
_TX_PLACE: Final = 8  # proc_net(5): eight columns of what came, then eight of what went


def parse_net_dev(text: bytes) -> tuple[InterfaceStats, ...]:
    """Understand ``/proc/PID/net/dev``; CgroupError(EBADMSG) where it is not whole."""
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    if len(lines) < 3 or lines[-1]:
        raise CgroupError("/proc/PID/net/dev", errno.EBADMSG)
    return tuple(map(_interface, lines[2:-1]))


def _interface(line: str) -> InterfaceStats:
    name, _, values = line.rpartition(":")  # a name may have a colon itself: an alias
    fields = values.split()
    numbers = (*fields[: len(_RX)], *fields[_TX_PLACE : _TX_PLACE + len(_TX)])
    if len(numbers) != len(_RX) + len(_TX) or not all(map(str.isdecimal, numbers)):
        raise CgroupError("/proc/PID/net/dev", errno.EBADMSG)
    counters = dict(zip((*_RX, *_TX), map(int, numbers), strict=True))
    return InterfaceStats(name=name.strip(), **counters)
