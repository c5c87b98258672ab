"""The unit of the service manager that a container's processes are put in.  systemd.scope(5)."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["UnitPlan", "UnitProperty"]


class UnitProperty(Struct, frozen=True):
    """One property of a unit as D-Bus carries it."""

    name: str
    signature: str
    """Of the value; one complete type.  D-Bus specification, "Type System"."""
    value: object
    """Plain Python: int, bool, float, str, bytes for ``ay``, list for other arrays, tuple, dict."""
    origin: str = ""
    """What in the specification asked for it."""


class UnitPlan(Struct, frozen=True):
    """The unit to make, and with which properties."""

    name: str
    slice: str
    user: bool
    """Made by our user's own service manager, not by the machine's."""
    properties: tuple[UnitProperty, ...] = ()
    """Given with its start, in order; `PIDs` is not among them: it comes after `Delegate`."""
    resources: tuple[UnitProperty, ...] = ()
    """Set once it has started: they win over those given with its start."""
