"""Rules of device nodes, network devices and the device filter.  OCI config-linux.md "Devices"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._lazy import pattern
from ...errors import SpecError
from ..document import at
from .shared import absolute

if TYPE_CHECKING:
    from ..linux import Device, Linux
    from ..model import Spec
    from ..resources import DeviceRule
    from .shared import Problems

__all__ = ["device_problems", "is_interface_name", "rule_problems"]

# What the kernel's dev_t holds.  makedev(3), Linux include/linux/kdev_t.h
_NUMBERS = {"major": range(2**12), "minor": range(2**20)}

# As the kernel's dev_valid_name(); "%" would make it choose a number.
_INTERFACE = pattern(r"[^\s/:%\x00]+")
_INTERFACE_BYTES = 15  # IFNAMSIZ, less the end


def device_problems(spec: Spec) -> Problems:
    """Everything wrong with nodes and network devices."""
    linux = spec.linux
    if linux is None:
        return
    known: dict[str, Device] = {}
    for index, device in enumerate(linux.devices):
        origin = f"$.linux.devices[{index}]"
        yield from _node(device, origin)
        if known.setdefault(device.path, device) != device:
            yield SpecError(f"another device for {device.path}", origin=f"{origin}.path")
    yield from _net_devices(linux)


def rule_problems(rule: DeviceRule, origin: str) -> Problems:
    """Everything wrong with one rule of the device filter."""
    if not set(rule.access) <= set("rwm"):
        yield SpecError(f"{rule.access!r} is not of r, w, m", origin=f"{origin}.access")
    for name, numbers in _NUMBERS.items():
        number = getattr(rule, name)
        if number is not None and number != -1 and number not in numbers:
            yield SpecError(f"{number} is not a {name} number", origin=f"{origin}.{name}")


def is_interface_name(name: str) -> bool:
    """Tell whether a network device can have this name."""
    fits = len(name.encode()) <= _INTERFACE_BYTES and name not in (".", "..")
    return fits and _INTERFACE.fullmatch(name) is not None


def _node(device: Device, origin: str) -> Problems:
    yield from absolute(device.path, f"{origin}.path")
    if device.type == "p":
        return
    for name, numbers in _NUMBERS.items():
        number = getattr(device, name)
        if number is None:
            yield SpecError("required, and missing", origin=f"{origin}.{name}")
        elif number not in numbers:
            yield SpecError(f"{number} is not a {name} number", origin=f"{origin}.{name}")


def _net_devices(linux: Linux) -> Problems:
    taken: dict[str, str] = {}
    for host_name, device in linux.net_devices.items():
        origin = at("$.linux.netDevices", host_name)
        for place, name in ((origin, host_name), (f"{origin}.name", device.name or host_name)):
            if not is_interface_name(name):
                yield SpecError(f"{name!r} is not a name for a network device", origin=place)
        name = device.name or host_name
        if taken.setdefault(name, host_name) != host_name:
            yield SpecError(f"{taken[name]} gets the name {name!r}, too", origin=f"{origin}.name")
