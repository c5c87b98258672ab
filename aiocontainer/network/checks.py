"""What an application asks for, checked before the kernel hears of it."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..errors import SpecError
from ..spec import is_interface_name

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Interface", "Route", "check_names", "interfaces_of", "route_of"]

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class Route(Struct, frozen=True, kw_only=True):
    """One route; it needs a gateway or an interface."""

    destination: str = ""
    """``ADDRESS/LENGTH``; "" is the default route of the gateway's family."""
    gateway: str = ""
    interface: str = ""
    source: str = ""
    """The address that packets are sent from."""


def check_names(**names: str) -> None:
    """Refuse what is no name for a network device, by the argument it was given as."""
    for argument, name in names.items():
        if not is_interface_name(name):
            raise SpecError(f"{name!r} is not a name for a network device", origin=argument)


def interfaces_of(texts: Sequence[str]) -> tuple[Interface, ...]:
    """Read addresses with the length of their network."""
    try:
        return tuple(ipaddress.ip_interface(text) for text in texts)
    except ValueError as exc:
        raise SpecError(str(exc), origin="addresses") from exc


def route_of(route: Route) -> dict[str, Any]:
    """Check a route and write it as netlink has it, but for the interface, which is a name still."""
    if not (route.gateway or route.interface):
        raise SpecError("a route needs a gateway or an interface", origin="routes")
    if route.interface:
        check_names(routes=route.interface)
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
