"""Device rules: which nodes a container may read, write and make.  OCI config-linux.md "Allowed Device list".

The rules of the specification are read in order, the last that matches decides, and nothing is
allowed to begin with.  What follows them, so that no specification can take it away, are the
devices that every container has.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ..errors import SpecError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..spec import DeviceRule as SpecRule
    from ..spec import Linux

__all__ = ["DEFAULT_RULES", "DeviceRule", "device_rules"]

ORIGIN = "$.linux.resources.devices"
ACCESS: Final = "rwm"


class DeviceRule(Struct, frozen=True):
    """One rule; `type` is "a" (then everything), "b" or "c"; None stands for every number."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = ACCESS

    @property
    def text(self) -> str:
        """The line for cgroup v1's ``devices.allow`` or ``devices.deny``."""
        if self.type == "a":
            return "a"
        major = "*" if self.major is None else self.major
        minor = "*" if self.minor is None else self.minor
        return f"{self.type} {major}:{minor} {self.access}"

    def __str__(self) -> str:
        return f"{'allow' if self.allow else 'deny'} {self.text}"

    def overlaps(self, other: DeviceRule) -> bool:
        """Whether a device exists to which both apply."""
        return (
            self.type == other.type
            and (self.major is None or other.major is None or self.major == other.major)
            and (self.minor is None or other.minor is None or self.minor == other.minor)
            and any(each in other.access for each in self.access)
        )


DEFAULT_RULES: Final = (
    DeviceRule(allow=True, type="c", access="m"),
    DeviceRule(allow=True, type="b", access="m"),
    DeviceRule(True, "c", 1, 3),  # null
    DeviceRule(True, "c", 1, 5),  # zero
    DeviceRule(True, "c", 1, 7),  # full
    DeviceRule(True, "c", 1, 8),  # random
    DeviceRule(True, "c", 1, 9),  # urandom
    DeviceRule(True, "c", 5, 0),  # tty
    DeviceRule(True, "c", 5, 2),  # ptmx
    DeviceRule(True, "c", 136),  # slaves of devpts
)


def device_rules(linux: Linux, *, v1: bool, origin: str = ORIGIN) -> tuple[DeviceRule, ...]:
    """Return all rules that hold for the container, in order; *origin* is the address of those it says.

    For v1 they come in the only form that its files can express: everything denied or allowed
    first, then exceptions that do not contradict each other.
    """
    rules = linux.resources.devices if linux.resources is not None else ()
    return _device_rules(tuple(rules or ()), v1, origin)


@lru_cache(maxsize=32)  # most containers have the same few
def _device_rules(rules: tuple[SpecRule, ...], v1: bool, origin: str) -> tuple[DeviceRule, ...]:
    places = [f"{origin}[{index}]" for index in range(len(rules))]
    placed = [(rule, place) for each, place in zip(rules, places, strict=True) for rule in _read(each, place)]
    placed += [(rule, origin) for rule in DEFAULT_RULES]
    if v1:
        return tuple(_exceptions(placed))
    return tuple(rule for rule, _ in placed)


def _read(rule: SpecRule, origin: str) -> Iterator[DeviceRule]:
    """Yield a rule of the specification; "all types" with a number or an access means both types."""
    major, minor = _number(rule.major), _number(rule.minor)
    if not rule.access:
        raise SpecError("names no access; of r, w and m", origin=f"{origin}.access")
    access = "".join(each for each in ACCESS if each in rule.access)
    if rule.type in {"b", "c"}:
        yield DeviceRule(rule.allow, rule.type or "a", major, minor, access)
    elif (major, minor, access) == (None, None, ACCESS):
        yield DeviceRule(rule.allow)
    else:
        yield DeviceRule(rule.allow, "b", major, minor, access)
        yield DeviceRule(rule.allow, "c", major, minor, access)


def _number(value: int | None) -> int | None:
    """Return a device number; -1 is any."""
    return None if value == -1 else value


def _exceptions(placed: Iterable[tuple[DeviceRule, str]]) -> list[DeviceRule]:
    """Reduce rules to what ``devices.allow`` and ``devices.deny`` can hold.

    v1 keeps one verdict for all devices and a list of exceptions from it.  Taking part of an
    exception back is beyond it: such a rule is refused, because every approximation would allow
    what is denied or deny what is allowed.
    """
    base, exceptions = DeviceRule(allow=False), list[DeviceRule]()
    for rule, origin in placed:
        if rule.type == "a":
            base, exceptions = rule, []
        elif rule.allow != base.allow:
            exceptions.append(rule)
        else:
            exceptions = [left for each in exceptions for left in _without(each, rule, origin)]
    return [base, *exceptions]


def _without(exception: DeviceRule, rule: DeviceRule, origin: str) -> Iterator[DeviceRule]:
    """Yield what is left of an exception when a later rule goes back to the verdict for all."""
    if not exception.overlaps(rule):
        yield exception
        return
    inner, outer = (exception.major, exception.minor), (rule.major, rule.minor)
    if any(wide is not None and wide != narrow for wide, narrow in zip(outer, inner, strict=True)):
        raise UnsupportedError(
            f"to {rule} after {exception}", needs="cgroup v2: v1 cannot express it", origin=origin
        )
    access = "".join(each for each in exception.access if each not in rule.access)
    if access:
        yield DeviceRule(exception.allow, exception.type, exception.major, exception.minor, access)
