"""Network devices, addresses and routes, here and in other network namespaces, over netlink.

pyroute2's asynchronous interface wants a loop that takes netlink sockets, which not every loop does; so
each batch runs on a small loop of its own, in a worker thread, and only for a bounded time.

A namespace is a descriptor: a pidfd of a process in it, or an open namespace file.  None is our own.
Nobody of ours enters it: the socket that reaches into it is made there by a short-lived child.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import msgspec
from msgspec import Struct

from . import native
from ._aio import OwnedFd, in_thread
from .errors import NetworkError, SpecError
from .spec import is_interface_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence

    from .plan.plan import NetworkDevice

__all__ = [
    "InterfaceStats",
    "MovedDevices",
    "Route",
    "add_addresses",
    "add_routes",
    "bring_up",
    "create_veth",
    "delete_device",
    "interface_stats",
]

T = TypeVar("T")

_DEADLINE_S: Final = 30.0
"""For one batch: netlink waits for nobody but other users of the kernel's one lock."""

# rtnetlink(7), <linux/if_addr.h>, <linux/rtnetlink.h>.
_IFF_UP: Final = 0x1
_IFA_F_PERMANENT: Final = 0x80
_RT_SCOPE_UNIVERSE: Final = 0
_RT_TABLE_MAIN: Final = 254
_RTPROT_KERNEL: Final = 2
_RTN_UNICAST: Final = 1
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)

# Attributes that are told again when a device has lost them by going down or moving.
_ADDRESS_ATTRIBUTES: Final = ("address", "local", "broadcast")
_ROUTE_ATTRIBUTES: Final = ("dst", "gateway", "prefsrc", "priority")

_log = logging.getLogger("aiocontainer.network")


class Route(Struct, frozen=True, kw_only=True):
    """One route; it needs a gateway or an interface."""

    destination: str = ""
    """``ADDRESS/LENGTH``; "" is the default route of the gateway's family."""
    gateway: str = ""
    interface: str = ""
    source: str = ""
    """The address that packets are sent from."""


class InterfaceStats(Struct, frozen=True, kw_only=True):
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


# For embedders ------------------------------------------------------------------------------------------


async def create_veth(
    host: str,
    namespace: int,
    *,
    name: str = "eth0",
    addresses: Sequence[str] = (),
    host_addresses: Sequence[str] = (),
    routes: Sequence[Route] = (),
    bridge: str = "",
    mtu: int | None = None,
) -> None:
    """Connect *namespace* by a pair of devices: *host* here, *name* there, both up.

    Addresses are ``ADDRESS/LENGTH``; *bridge* is a device here that takes *host* in.  All or nothing.
    """
    _check_names(host=host, name=name)
    inside, outside = _interfaces(addresses), _interfaces(host_addresses)
    destinations = [_route(route) for route in routes]

    async def work() -> None:
        with open_namespace(namespace) as there:
            async with _Netlink.open(None) as here:
                await here.add_veth(host, name, there.fileno(), mtu)
                try:
                    await here.configure(host, outside, bridge)
                    async with _Netlink.open(there.fileno()) as inner:
                        await inner.configure(name, inside)
                        for route in destinations:
                            await inner.add_route(route, await inner.index_of(route))
                except BaseException:
                    await here.delete(host)
                    raise

    await in_thread(lambda: _run(work))


async def bring_up(name: str, *, namespace: int | None = None) -> None:
    """Bring a device up, ``lo`` for one."""
    _check_names(name=name)
    await _within(namespace, lambda netlink: netlink.configure(name, ()))


async def add_addresses(name: str, addresses: Sequence[str], *, namespace: int | None = None) -> None:
    """Give a device addresses, ``ADDRESS/LENGTH`` each, and bring it up."""
    _check_names(name=name)
    interfaces = _interfaces(addresses)
    await _within(namespace, lambda netlink: netlink.configure(name, interfaces))


async def add_routes(routes: Sequence[Route], *, namespace: int | None = None) -> None:
    """Add routes; those before one that fails stay."""
    checked = [_route(route) for route in routes]

    async def work(netlink: _Netlink) -> None:
        for route in checked:
            await netlink.add_route(route, await netlink.index_of(route))

    await _within(namespace, work)


async def delete_device(name: str, *, namespace: int | None = None) -> None:
    """Delete a device, and the other end with it where it is one of a pair."""
    _check_names(name=name)
    await _within(namespace, lambda netlink: netlink.delete(name))


async def interface_stats(host: str) -> InterfaceStats:
    """Return what the other end of the pair sent and received, read from the end *host* here."""
    _check_names(host=host)
    return await _within(None, lambda netlink: netlink.stats(host))


# Devices of a specification -----------------------------------------------------------------------------


class MovedDevices:
    """Devices of the host that were moved into a container, until it is created or given up.

    Everything blocks: it is for the worker that talks to the helper.
    """

    def __init__(self, namespace: int) -> None:
        """Move them into *namespace*: a pidfd, or an open namespace file."""
        self._there = open_namespace(namespace)
        self._moved: list[tuple[NetworkDevice, _Settings]] = []

    def take(self, devices: Sequence[NetworkDevice]) -> None:
        """Move and rename *devices* with their permanent addresses and their routes, and bring them up.

        What was moved before one that fails stays moved: `give_back`.
        """
        _run(lambda: self._take(devices))

    def give_back(self) -> None:
        """Put everything back as it was.  The namespace may have lost its last process by now."""
        try:
            _run(self._give_back)
        finally:
            self.close()

    def close(self) -> None:
        """Leave them where they are."""
        self._moved.clear()
        self._there.close()

    async def _take(self, devices: Sequence[NetworkDevice]) -> None:
        async with _Netlink.open(None) as here, _Netlink.open(self._there.fileno()) as there:
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
            async with _Netlink.open(None) as here, _Netlink.open(self._there.fileno()) as there:
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
    return _run(lambda: _survey(devices))


async def _survey(devices: Sequence[NetworkDevice]) -> list[dict[str, Any]]:
    found = []
    async with _Netlink.open(None) as here:
        for device in devices:
            with _addressed(device.origin):
                settings = await here.settings(device.host)
            found.append(msgspec.to_builtins(_Recorded(device.host, device.name, settings)))
    return found


def recover(records: Sequence[Mapping[str, Any]], namespace: str) -> None:
    """Put devices back as `survey` found them, wherever a creation that was killed has left them.

    *namespace* is the path of the one that was joined, "" if the container had one of its own.  That one
    is gone with its processes: the kernel gives back what is hardware, maybe under another name, and
    has deleted the rest, which is logged.  It blocks.
    """
    _run(lambda: _recover(msgspec.convert(records, tuple[_Recorded, ...]), namespace))


async def _recover(records: Sequence[_Recorded], namespace: str) -> None:
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(OwnedFd(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)))
        there = None
        with contextlib.suppress(OSError):
            if namespace:
                there = stack.enter_context(OwnedFd(os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)))
        async with _Netlink.open(None) as here:
            for record in records:
                try:
                    if there is not None:
                        async with _Netlink.open(there.fileno()) as inner:
                            await _fetch(record, inner, ours.fileno())
                    await _settle(record, here)
                except NetworkError as exc:
                    _log.warning("network device %s: %s", record.host, exc)


async def _fetch(record: _Recorded, there: _Netlink, ours: int) -> None:
    for name in {record.name, record.host}:
        if await there.has(name, record.settings.hardware):
            await there.move((await there.find(name))["index"], record.host, ours, name)


async def _settle(record: _Recorded, here: _Netlink) -> None:
    """Give a device that is here its name and its settings; it may have had no time to lose them."""
    if not await here.has(record.host, record.settings.hardware):
        index = await here.known_by(record.settings.hardware)
        if index is None:
            raise NetworkError("find", errno.ENODEV, device=record.host)
        await here.rename(index, record.host)
    await here.restore(record.host, record.settings, up=record.settings.was_up)
    await here.enslave(record.host, record.settings.master)


class _Settings(Struct, frozen=True):
    """What a device loses by moving."""

    index: int
    hardware: tuple[Any, ...]
    """By what it is known again, whatever it is called."""
    was_up: bool
    master: int
    addresses: tuple[dict[str, Any], ...]
    routes: tuple[dict[str, Any], ...]


class _Recorded(Struct, frozen=True):
    """A device that is about to be moved."""

    host: str
    name: str
    settings: _Settings


# Netlink ------------------------------------------------------------------------------------------------


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a batch on a loop of its own."""

    async def bounded() -> T:
        async with asyncio.timeout(_DEADLINE_S):
            return await work()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(bounded())


async def _within(namespace: int | None, work: Callable[[_Netlink], Coroutine[Any, Any, T]]) -> T:
    """Run a batch in one namespace, in a thread."""

    async def batch() -> T:
        async with _Netlink.open(namespace) as netlink:
            return await work(netlink)

    return await in_thread(lambda: _run(batch))


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


class _Netlink:
    """A conversation with the kernel about one namespace; its errors become `NetworkError`."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, namespace: int | None) -> AsyncIterator[Self]:
        from pyroute2 import AsyncIPRoute  # only those who use it pay for it

        try:
            fd = native.netlink_socket(-1 if namespace is None else namespace)
        except OSError as exc:
            raise NetworkError("enter the network namespace", exc.errno or 0) from exc
        async with _from_kernel_alone(AsyncIPRoute)(fileno=fd) as conversation:
            yield cls(conversation)

    async def find(self, name: str) -> Any:
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
        return hardware is None or _hardware(link) == hardware

    async def settings(self, name: str) -> _Settings:
        """Return what a device would lose."""
        link = await self.find(name)
        index = link["index"]
        with _translated("read the settings of", name):
            return _Settings(
                index,
                _hardware(link),
                bool(link["flags"] & _IFF_UP),
                link.get("master") or 0,
                tuple(
                    [_kept_address(each) async for each in await self._dump("addr") if _is_kept(each, index)]
                ),
                tuple(await self._routes(index)),
            )

    async def _dump(self, what: str, **filter: int) -> AsyncIterator[Any]:
        answers: AsyncIterator[Any] = await getattr(self._socket, what)("dump", **filter)
        return answers

    async def _routes(self, index: int) -> list[dict[str, Any]]:
        """Routes over a device that come back to nobody's mind; those without a gateway first."""
        kept = [
            _kept_route(each)
            for family in _FAMILIES
            async for each in await self._dump("route", family=family)
            if _is_kept_route(each, index)
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
            if _hardware(link) == hardware:
                index: int = link["index"]
                return index
        return None

    async def rename(self, index: int, name: str) -> None:
        with _translated("rename", name):
            await self._socket.link("set", index=index, state="down")
            await self._socket.link("set", index=index, ifname=name)

    async def restore(self, name: str, settings: _Settings, *, up: bool) -> None:
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
        if master:
            index = (await self.find(name))["index"]
            with _translated("put back under its master", name):
                await self._socket.link("set", index=index, master=master)

    async def add_veth(self, name: str, peer: str, namespace: int, mtu: int | None) -> None:
        size = {} if mtu is None else {"mtu": mtu}
        with _translated("create", name):
            await self._socket.link(
                "add", ifname=name, kind="veth", peer={"ifname": peer, "net_ns_fd": namespace, **size}, **size
            )

    async def configure(self, name: str, interfaces: Sequence[_Interface], bridge: str = "") -> None:
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
        name = route.get("interface", "")
        return (await self.find(name))["index"] if name else None

    async def add_route(self, route: dict[str, Any], index: int | None) -> None:
        wanted = {key: value for key, value in route.items() if key != "interface"}
        device = {} if index is None else {"oif": index}
        with _translated("add a route to", route.get("dst", "default")):
            await self._socket.route("add", **wanted, **device)

    async def delete(self, name: str) -> None:
        index = (await self.find(name))["index"]
        with _translated("delete", name):
            await self._socket.link("del", index=index)

    async def stats(self, name: str) -> InterfaceStats:
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


# Messages and what they mean ----------------------------------------------------------------------------

_Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def _hardware(link: Any) -> tuple[Any, ...]:
    return link["ifi_type"], link.get("address"), (link.get("linkinfo") or {}).get("kind")


def _is_kept(address: Any, index: int) -> bool:
    """Whether somebody gave it to the device for good: OCI config-linux.md "Network Devices"."""
    flags = address.get("flags") or 0
    return bool(
        address["index"] == index and address["scope"] == _RT_SCOPE_UNIVERSE and flags & _IFA_F_PERMANENT
    )


def _kept_address(address: Any) -> dict[str, Any]:
    kept = {key: value for key in _ADDRESS_ATTRIBUTES if (value := address.get(key)) is not None}
    return {"family": address["family"], "prefixlen": address["prefixlen"], **kept}


def _is_kept_route(route: Any, index: int) -> bool:
    """Whether it is one that the kernel will not make by itself of the device's addresses."""
    return bool(
        route.get("oif") == index
        and route.get("table") == _RT_TABLE_MAIN
        and route["type"] == _RTN_UNICAST
        and route["proto"] != _RTPROT_KERNEL
    )


def _kept_route(route: Any) -> dict[str, Any]:
    kept = {key: value for key in _ROUTE_ATTRIBUTES if (value := route.get(key)) is not None}
    header = {key: route[key] for key in ("family", "dst_len", "scope", "proto", "flags")}
    return {**header, "table": _RT_TABLE_MAIN, **kept}


def _check_names(**names: str) -> None:
    for argument, name in names.items():
        if not is_interface_name(name):
            raise SpecError(f"{name!r} is not a name for a network device", origin=argument)


def _interfaces(texts: Sequence[str]) -> tuple[_Interface, ...]:
    try:
        return tuple(ipaddress.ip_interface(text) for text in texts)
    except ValueError as exc:
        raise SpecError(str(exc), origin="addresses") from exc


def _route(route: Route) -> dict[str, Any]:
    """Check a route and write it as netlink has it, but for the interface, which is a name still."""
    if not (route.gateway or route.interface):
        raise SpecError("a route needs a gateway or an interface", origin="routes")
    if route.interface:
        _check_names(routes=route.interface)
    try:
        asked = {
            "dst": str(ipaddress.ip_network(route.destination)) if route.destination else "",
            "gateway": str(ipaddress.ip_address(route.gateway)) if route.gateway else "",
            "prefsrc": str(ipaddress.ip_address(route.source)) if route.source else "",
            "interface": route.interface,
        }
    except ValueError as exc:
        raise SpecError(str(exc), origin="routes") from exc
    versions = {
        ipaddress.ip_network(text).version for key, text in asked.items() if text and key != "interface"
    }
    if len(versions) > 1:
        raise SpecError("a route of two families", origin="routes")
    family = socket.AF_INET6 if 6 in versions else socket.AF_INET
    return {"family": family, **{key: text for key, text in asked.items() if text}}


@contextlib.contextmanager
def _translated(operation: str, device: str) -> Iterator[None]:
    """Turn what pyroute2 raises into ours."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as exc:
        raise NetworkError(operation, exc.code, device=device) from exc


@contextlib.contextmanager
def _addressed(origin: str) -> Iterator[None]:
    """Say which part of the specification asked for what failed."""
    try:
        yield
    except NetworkError as exc:
        exc.origin = origin
        raise
