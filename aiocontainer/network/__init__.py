"""Network devices, addresses and routes, here and in other network namespaces, over netlink.

A namespace is a descriptor: a pidfd of a process in it, or an open namespace file.  None is our own.
Nobody of ours enters it: the socket that reaches into it is made there by a short-lived child.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._aio import in_thread
from .checks import Route, check_names, interfaces_of, route_of
from .moved import MovedDevices, recover, survey
from .netlink import InterfaceStats, Netlink, open_namespace, run, within

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    "open_namespace",
    "recover",
    "survey",
]


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
    check_names(host=host, name=name)
    inside, outside = interfaces_of(addresses), interfaces_of(host_addresses)
    destinations = [route_of(route) for route in routes]

    async def work() -> None:
        with open_namespace(namespace) as there:
            async with Netlink.open(None) as here:
                await here.add_veth(host, name, there.fileno(), mtu)
                try:
                    await here.configure(host, outside, bridge)
                    async with Netlink.open(there.fileno()) as inner:
                        await inner.configure(name, inside)
                        for route in destinations:
                            await inner.add_route(route, await inner.index_of(route))
                except BaseException:
                    await here.delete(host)
                    raise

    await in_thread(lambda: run(work))


async def bring_up(name: str, *, namespace: int | None = None) -> None:
    """Bring a device up, ``lo`` for one."""
    check_names(name=name)
    await within(namespace, lambda netlink: netlink.configure(name, ()))


async def add_addresses(name: str, addresses: Sequence[str], *, namespace: int | None = None) -> None:
    """Give a device addresses, ``ADDRESS/LENGTH`` each, and bring it up."""
    check_names(name=name)
    interfaces = interfaces_of(addresses)
    await within(namespace, lambda netlink: netlink.configure(name, interfaces))


async def add_routes(routes: Sequence[Route], *, namespace: int | None = None) -> None:
    """Add routes; those before one that fails stay."""
    checked = [route_of(route) for route in routes]

    async def work(netlink: Netlink) -> None:
        for route in checked:
            await netlink.add_route(route, await netlink.index_of(route))

    await within(namespace, work)


async def delete_device(name: str, *, namespace: int | None = None) -> None:
    """Delete a device, and the other end with it where it is one of a pair."""
    check_names(name=name)
    await within(namespace, lambda netlink: netlink.delete(name))


async def interface_stats(host: str) -> InterfaceStats:
    """Return what the other end of the pair sent and received, read from the end *host* here."""
    check_names(host=host)
    return await within(None, lambda netlink: netlink.stats(host))
