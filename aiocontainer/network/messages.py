"""What is kept of the kernel's messages about devices, addresses and routes.  rtnetlink(7)."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

__all__ = [
    "Recorded",
    "Settings",
    "hardware_of",
    "is_kept_address",
    "is_kept_route",
    "kept_address",
    "kept_route",
]

# <linux/if_addr.h>, <linux/rtnetlink.h>.
_IFA_F_PERMANENT: Final = 0x80
_RT_SCOPE_UNIVERSE: Final = 0
_RT_TABLE_MAIN: Final = 254
_RTPROT_KERNEL: Final = 2
_RTN_UNICAST: Final = 1

# Attributes that are told again when a device has lost them by going down or moving.
_ADDRESS_ATTRIBUTES: Final = ("address", "local", "broadcast")
_ROUTE_ATTRIBUTES: Final = ("dst", "gateway", "prefsrc", "priority")


class Settings(Struct, frozen=True):
    """What a device loses by moving."""

    index: int
    hardware: tuple[Any, ...]
    """By what it is known again, whatever it is called."""
    was_up: bool
    master: int
    addresses: tuple[dict[str, Any], ...]
    routes: tuple[dict[str, Any], ...]


class Recorded(Struct, frozen=True):
    """A device that is about to be moved."""

    host: str
    name: str
    settings: Settings


def hardware_of(link: Any) -> tuple[Any, ...]:
    """Return what tells a device from others, whatever it is called."""
    return link["ifi_type"], link.get("address"), (link.get("linkinfo") or {}).get("kind")


def is_kept_address(address: Any, index: int) -> bool:
    """Whether somebody gave it to the device for good: OCI config-linux.md "Network Devices"."""
    flags = address.get("flags") or 0
    return bool(
        address["index"] == index and address["scope"] == _RT_SCOPE_UNIVERSE and flags & _IFA_F_PERMANENT
    )


def kept_address(address: Any) -> dict[str, Any]:
    """Return what is needed to give it to the device again."""
    kept = {key: value for key in _ADDRESS_ATTRIBUTES if (value := address.get(key)) is not None}
    return {"family": address["family"], "prefixlen": address["prefixlen"], **kept}


def is_kept_route(route: Any, index: int) -> bool:
    """Whether it is one that the kernel will not make by itself of the device's addresses."""
    return bool(
        route.get("oif") == index
        and route.get("table") == _RT_TABLE_MAIN
        and route["type"] == _RTN_UNICAST
        and route["proto"] != _RTPROT_KERNEL
    )


def kept_route(route: Any) -> dict[str, Any]:
    """Return what is needed to add it again."""
    kept = {key: value for key in _ROUTE_ATTRIBUTES if (value := route.get(key)) is not None}
    header = {key: route[key] for key in ("family", "dst_len", "scope", "proto", "flags")}
    return {**header, "table": _RT_TABLE_MAIN, **kept}
