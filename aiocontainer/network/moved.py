"""Devices of the host in a container: moved with what they lose by it, and put back.

Everything blocks: it is for the worker that talks to the helper.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from typing import TYPE_CHECKING, Any

import msgspec

from .._aio import OwnedFd
from .._convert import convert
from ..errors import NetworkError
from .messages import Recorded
from .netlink import Netlink, open_namespace, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..plan.plan import NetworkDevice
    from .messages import Settings

__all__ = ["MovedDevices", "recover", "survey"]

_log = logging.getLogger("aiocontainer.network")


class MovedDevices:
    """Devices of the host that were moved into a container, until it is created or given up.

    Everything blocks: it is for the worker that talks to the helper.
    """

    def __init__(self, namespace: int) -> None:
        """Move them into *namespace*: a pidfd, or an open namespace file."""
        self._there = open_namespace(namespace)
        self._moved: list[tuple[NetworkDevice, Settings]] = []

    def take(self, devices: Sequence[NetworkDevice]) -> None:
        """Move and rename *devices* with their permanent addresses and their routes, and bring them up.

        What was moved before one that fails stays moved: `give_back`.
        """
        run(lambda: self._take(devices))

    def give_back(self) -> None:
        """Put everything back as it was.  The namespace may have lost its last process by now."""
        try:
            run(self._give_back)
        finally:
            self.close()

    def close(self) -> None:
        """Leave them where they are."""
        self._moved.clear()
        self._there.close()

    async def _take(self, devices: Sequence[NetworkDevice]) -> None:
        async with Netlink.open(None) as here, Netlink.open(self._there.fileno()) as there:
            for device in devices:
                with _addressed(device.origin):
                    settings = await here.settings(device.host)
                    if await there.has(device.name):  # the kernel moves first and renames then
                        raise NetworkError("move", errno.EEXIST, device=device.host)
                    self._moved.append((device, settings))
                    await here.move(settings.index, device.name, self._there.fileno(), device.host)
                    await there.restore(device.name, settings, up=True)

    async def _give_back(self) -> None:
        """Go on past a device that cannot be had any more; the first failure is raised at the end."""
        failures: list[NetworkError] = []
        with OwnedFd(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)) as ours:
            async with Netlink.open(None) as here, Netlink.open(self._there.fileno()) as there:
                while self._moved:
                    device, settings = self._moved.pop()
                    try:
                        with _addressed(device.origin):
                            for name in {device.name, device.host}:
                                if await there.has(name, settings.hardware):
                                    index = (await there.find(name))["index"]
                                    await there.move(index, device.host, ours.fileno(), name)
                            await here.restore(device.host, settings, up=settings.was_up)
                            await here.enslave(device.host, settings.master)
                    except NetworkError as exc:
                        failures.append(exc)
        if failures:
            raise failures[0]


def survey(devices: Sequence[NetworkDevice]) -> list[dict[str, Any]]:
    """Return what `recover` will need to know of devices that are about to be moved.  It blocks."""
    return run(lambda: _survey(devices))


async def _survey(devices: Sequence[NetworkDevice]) -> list[dict[str, Any]]:
    found = []
    async with Netlink.open(None) as here:
        for device in devices:
            with _addressed(device.origin):
                settings = await here.settings(device.host)
            found.append(msgspec.to_builtins(Recorded(device.host, device.name, settings)))
    return found


def recover(records: Sequence[Mapping[str, Any]], namespace: str) -> None:
    """Put devices back as `survey` found them, wherever a creation that was killed has left them.

    *namespace* is the path of the one that was joined, "" if the container had one of its own.  That one
    is gone with its processes: the kernel gives back what is hardware, maybe under another name, and
    has deleted the rest, which is logged.  It blocks.
    """
    run(lambda: _recover(convert(records, tuple[Recorded, ...]), namespace))


async def _recover(records: Sequence[Recorded], namespace: str) -> None:
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(OwnedFd(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)))
        there = None
        with contextlib.suppress(OSError):
            if namespace:
                there = stack.enter_context(OwnedFd(os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)))
        async with Netlink.open(None) as here:
            for record in records:
                try:
                    if there is not None:
                        async with Netlink.open(there.fileno()) as inner:
                            await _fetch(record, inner, ours.fileno())
                    await _settle(record, here)
                except NetworkError as exc:
                    _log.warning("network device %s: %s", record.host, exc)


async def _fetch(record: Recorded, there: Netlink, ours: int) -> None:
    for name in {record.name, record.host}:
        if await there.has(name, record.settings.hardware):
            await there.move((await there.find(name))["index"], record.host, ours, name)


async def _settle(record: Recorded, here: Netlink) -> None:
    """Give a device that is here its name and its settings; it may have had no time to lose them."""
    if not await here.has(record.host, record.settings.hardware):
        index = await here.known_by(record.settings.hardware)
        if index is None:
            raise NetworkError("find", errno.ENODEV, device=record.host)
        await here.rename(index, record.host)
    await here.restore(record.host, record.settings, up=record.settings.was_up)
    await here.enslave(record.host, record.settings.master)


@contextlib.contextmanager
def _addressed(origin: str) -> Iterator[None]:
    """Say which part of the specification asked for what failed."""
    try:
        yield
    except NetworkError as exc:
        exc.origin = origin
        raise
