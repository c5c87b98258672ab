"""Conversations with the kernel about one network namespace.

pyroute2's asynchronous interface wants a loop that takes netlink sockets, which not every loop does; so
each batch runs on a small loop of its own, in a worker thread, and only for a bounded time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from msgspec import Struct

from .. import native
from .._aio import OwnedFd, in_thread
from ..errors import NetworkError
from .messages import Settings, hardware_of, is_kept_address, is_kept_route, kept_address, kept_route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence

    from .checks import Interface

__all__ = ["InterfaceStats", "Netlink", "open_namespace", "run", "within"]

T = TypeVar("T")

_DEADLINE_S: Final = 30.0
"""For one batch: netlink waits for nobody but other users of the kernel's one lock."""

_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_IFF_UP: Final = 0x1  # <linux/if.h>


class InterfaceStats(Struct, frozen=True, kw_only=True, gc=False):
    """Counters of one interface, as those see it who are in its namespace: `rx` is what they received."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a batch on a loop of its own."""

    async def bounded() -> T:
        async with asyncio.timeout(_DEADLINE_S):
            return await work()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(bounded())


async def within(namespace: int | None, work: Callable[[Netlink], Coroutine[Any, Any, T]]) -> T:
    """Run a batch in one namespace, in a thread."""

    async def batch() -> T:
        async with Netlink.open(namespace) as netlink:
            return await work(netlink)

    return await in_thread(lambda: run(batch))


def open_namespace(namespace: int) -> OwnedFd:
    """Return the network namespace of a pidfd, or another descriptor of the namespace file itself."""
    pid = _pid(namespace)
    if pid is None:
        return OwnedFd(os.dup(namespace))
    try:
        fd = OwnedFd(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        raise NetworkError("enter the network namespace", errno.ESRCH) from None
    if _pid(namespace) != pid:  # it ended meanwhile, and the number may be another's
        fd.close()
        raise NetworkError("enter the network namespace", errno.ESRCH)
    return fd


def _pid(fd: int) -> int | None:
    """Return the process of a pidfd, as /proc tells it; None for any other descriptor."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    return int(fields["Pid"]) if "Pid" in fields else None


class Netlink:
    """A conversation with the kernel about one namespace; its errors become `NetworkError`."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, namespace: int | None) -> AsyncIterator[Self]:
        """Talk about *namespace*, and hang up."""
        from pyroute2 import AsyncIPRoute  # only those who use it pay for it

        try:
            fd = native.netlink_socket(-1 if namespace is None else namespace)
        except OSError as exc:
            raise NetworkError("enter the network namespace", exc.errno or 0) from exc
        async with _from_kernel_alone(AsyncIPRoute)(fileno=fd) as conversation:
            yield cls(conversation)

    async def find(self, name: str) -> Any:
        """Return the message about a device."""
        with _translated("find", name):
            (link,) = await self._socket.link("get", ifname=name)
        return link

    async def has(self, name: str, hardware: tuple[Any, ...] | None = None) -> bool:
        """Whether there is a device of that name, and that hardware."""
        try:
            link = await self.find(name)
        except NetworkError as exc:
            if exc.errno != errno.ENODEV:
                raise
            return False
        return hardware is None or hardware_of(link) == hardware

    async def settings(self, name: str) -> Settings:
        """Return what a device would lose."""
        link = await self.find(name)
        index = link["index"]
        with _translated("read the settings of", name):
            return Settings(
                index,
                hardware_of(link),
                bool(link["flags"] & _IFF_UP),
                link.get("master") or 0,
                tuple(
                    [
                        kept_address(each)
                        async for each in await self._dump("addr")
                        if is_kept_address(each, index)
                    ]
                ),
                tuple(await self._routes(index)),
            )

    async def _dump(self, what: str, **filter: int) -> AsyncIterator[Any]:
        answers: AsyncIterator[Any] = await getattr(self._socket, what)("dump", **filter)
        return answers

    async def _routes(self, index: int) -> list[dict[str, Any]]:
        """Routes over a device that come back to nobody's mind; those without a gateway first."""
        kept = [
            kept_route(each)
            for family in _FAMILIES
            async for each in await self._dump("route", family=family)
            if is_kept_route(each, index)
        ]
        return sorted(kept, key=lambda route: "gateway" in route)

    async def move(self, index: int, name: str, namespace: int, origin: str) -> None:
        """Move a device into another namespace under its name there: in one request, and down."""
        with _translated("move", origin):
            await self._socket.link("set", index=index, state="down")
            await self._socket.link("set", index=index, ifname=name, net_ns_fd=namespace)

    async def known_by(self, hardware: tuple[Any, ...]) -> int | None:
        """Return the index of a device, whatever it is called."""
        async for link in await self._dump("link"):
            if hardware_of(link) == hardware:
                index: int = link["index"]
                return index
        return None

    async def rename(self, index: int, name: str) -> None:
        """Give a device another name; it is down afterwards."""
        with _translated("rename", name):
            await self._socket.link("set", index=index, state="down")
            await self._socket.link("set", index=index, ifname=name)

    async def restore(self, name: str, settings: Settings, *, up: bool) -> None:
        """Give a device that came in what it had."""
        index = (await self.find(name))["index"]
        with _translated("restore the addresses of", name):
            for address in settings.addresses:
                await self._socket.addr("replace", index=index, **address)
        if not up:
            return
        with _translated("bring up", name):
            await self._socket.link("set", index=index, state="up")
        with _translated("restore the routes of", name):
            for route in settings.routes:
                await self._socket.route("replace", oif=index, **route)

    async def enslave(self, name: str, master: int) -> None:
        """Put a device under another, by its index; 0 is none."""
        if master:
            index = (await self.find(name))["index"]
            with _translated("put back under its master", name):
                await self._socket.link("set", index=index, master=master)

    async def add_veth(self, name: str, peer: str, namespace: int, mtu: int | None) -> None:
        """Add a pair of devices, *peer* in another namespace."""
        size = {} if mtu is None else {"mtu": mtu}
        with _translated("create", name):
            await self._socket.link(
                "add", ifname=name, kind="veth", peer={"ifname": peer, "net_ns_fd": namespace, **size}, **size
            )

    async def configure(self, name: str, interfaces: Sequence[Interface], bridge: str = "") -> None:
        """Give a device addresses, put it under a bridge, and bring it up."""
        index = (await self.find(name))["index"]
        with _translated("configure", name):
            for interface in interfaces:
                await self._socket.addr(
                    "add", index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen
                )
        if bridge:
            await self.enslave(name, (await self.find(bridge))["index"])
        with _translated("bring up", name):
            await self._socket.link("set", index=index, state="up")

    async def index_of(self, route: dict[str, Any]) -> int | None:
        """Return the index of the device that a route names, if it does."""
        name = route.get("interface", "")
        return (await self.find(name))["index"] if name else None

    async def add_route(self, route: dict[str, Any], index: int | None) -> None:
        """Add what `route_of` has made, over the device of that index."""
        wanted = {key: value for key, value in route.items() if key != "interface"}
        device = {} if index is None else {"oif": index}
        with _translated("add a route to", route.get("dst", "default")):
            await self._socket.route("add", **wanted, **device)

    async def delete(self, name: str) -> None:
        """Delete a device."""
        index = (await self.find(name))["index"]
        with _translated("delete", name):
            await self._socket.link("del", index=index)

    async def stats(self, name: str) -> InterfaceStats:
        """Return the counters of the other end of a pair."""
        counters = (await self.find(name)).get("stats64")
        swapped = {"rx": "tx", "tx": "rx"}
        return InterfaceStats(
            name=name,
            **{
                f"{ours}_{word}": counters[f"{theirs}_{word}"]
                for ours, theirs in swapped.items()
                for word in ("bytes", "packets", "errors", "dropped")
            },
        )


def _from_kernel_alone(conversation: type[Any]) -> type[Any]:
    """Make a class of sockets that drop what others than the kernel sent: anyone in there may try."""

    class Conversation(conversation):  # type: ignore[misc]
        def enqueue(self, data: bytes, addr: tuple[int, int]) -> Any:
            return super().enqueue(data, addr) if addr is None or addr[0] == 0 else None

    return Conversation


@contextlib.contextmanager
def _translated(operation: str, device: str) -> Iterator[None]:
    """Turn what pyroute2 raises into ours."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as exc:
        raise NetworkError(operation, exc.code, device=device) from exc
