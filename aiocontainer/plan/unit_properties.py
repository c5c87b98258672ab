"""Properties of a unit that a specification or its caller asks for.  runc systemd-properties.md.

Everything that can be wrong with one is found here, before a manager is asked: its name, its text, its
type; and what would take the unit from its owner, or do something to the machine, is refused.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from .._tuples import NamedTuple
from ..errors import GVariantError, SpecError
from ..gvariant import Variant, dbus_problem, parse
from ..spec import SAFE_PROPERTIES, SYSTEMD_PROPERTY, UNIT_PROPERTIES, at
from .unit import UnitProperty

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .options import PropertyPolicy

__all__ = ["asked_properties", "property_warnings", "refusal"]

_NAME: Final = re.compile("[A-Za-z]{3,}")
_SECONDS: Final = re.compile(r"([A-Za-z]*[a-z])Sec")
_USEC: Final = 10**6

_STARTS: Final = "it would start other units of the machine"
_STOPS: Final = "it would stop or reload other units of the machine"
_ENDS: Final = "it could stop the whole machine"
_PROGRAMS: Final = "it loads programs into the kernel"
_MOUNTS: Final = "it would mount file systems of the machine"
_OWNER: Final = "it is about who owns the cgroup, which is decided here"
_DEVICES: Final = "devices are decided by $.linux.resources.devices"

_NEVER: Final[Mapping[str, str]] = {
    **dict.fromkeys(("PIDs", "PIDFDs"), "which processes are in the unit is decided here"),
    **dict.fromkeys(("Names", "ControlGroup", "Transient"), "it cannot be set"),
    "RefuseManualStop": "the unit could never be stopped",
}
"""What would take the unit from us; refused to everybody."""

_DANGEROUS: Final[Mapping[str, str]] = {
    "Slice": "$.linux.cgroupsPath says it",
    **dict.fromkeys(("Wants", "Requires", "BindsTo", "Upholds", "OnSuccess", "OnFailure"), _STARTS),
    **dict.fromkeys(("Conflicts", "PropagatesStopTo", "PropagatesReloadTo"), _STOPS),
    **dict.fromkeys(("RequiresMountsFor", "WantsMountsFor"), _MOUNTS),
    **dict.fromkeys(("SuccessAction", "FailureAction", "JobTimeoutAction", "StartLimitAction"), _ENDS),
    **dict.fromkeys(("RebootArgument", "JobTimeoutRebootArgument"), _ENDS),
    **dict.fromkeys(("BPFProgram", "IPIngressFilterPath", "IPEgressFilterPath"), _PROGRAMS),
    **dict.fromkeys(("User", "Group", "Controller", "DelegateControllers", "DelegateSubgroup"), _OWNER),
}
"""What annotations may only say if their reader wants it so."""

_FAMILIES: Final = ((re.compile(r".*RebootArgument"), _ENDS), (re.compile(r"Delegate.+"), _OWNER))
"""The same for names that are not known yet."""


class _Asked(NamedTuple):
    name: str
    text: str
    origin: str
    given: bool
    """By the caller, who named it himself, not by an annotation."""


def asked_properties(
    annotations: Mapping[str, str],
    given: Iterable[tuple[str, str]] = (),
    *,
    policy: PropertyPolicy = "careful",
    devices: bool = True,
) -> tuple[UnitProperty, ...]:
    """Return the properties that annotations and the caller ask for, sorted by name.

    *given* are pairs of name and GVariant text; they win over annotations, and what is dangerous
    does not matter for them.  With *devices* rules decide about those.  Raises SpecError, of which
    GVariantError is one, with the address of what is wrong.
    """
    by_caller = _unique(
        _Asked(name, text, at("systemd_properties", name), given=True) for name, text in given
    )
    by_annotation = _unique(
        _Asked(key.removeprefix(SYSTEMD_PROPERTY), text, at("$.annotations", key), given=False)
        for key, text in annotations.items()
        if key.startswith(SYSTEMD_PROPERTY)
    )
    found = []
    for name, asked in sorted({**by_annotation, **by_caller}.items()):
        _refuse(name, asked, policy, devices=devices)
        value = _value(name, asked)
        _refuse_value(name, value, asked, policy)
        found.append(UnitProperty(name, value.signature, value.value, asked.origin))
    return tuple(found)


def property_warnings(properties: Iterable[UnitProperty]) -> Iterator[str]:
    """Tell of what is allowed, and may not be what was meant."""
    for each in properties:
        if each.name == "Delegate" and each.value is False:
            yield f"{each.origin}: the manager may change the cgroup under the container"
        if each.name not in UNIT_PROPERTIES:
            yield f"{each.origin}: {each.name} is not known here, and passed on as it is"


def _unique(asked: Iterable[_Asked]) -> dict[str, _Asked]:
    """Return them by the name that the manager knows; two names for the same are an error."""
    found: dict[str, _Asked] = {}
    for each in sorted(asked):
        if not _NAME.fullmatch(each.name):
            raise SpecError(
                f"{each.name!r} is not the name of a property: letters, at least 3", origin=each.origin
            )
        seconds = _SECONDS.fullmatch(each.name)
        name = f"{seconds[1]}USec" if seconds else each.name
        if name in found:
            raise SpecError(f"sets {name}, as {found[name].origin} does", origin=each.origin)
        found[name] = each
    return found


# Values ---------------------------------------------------------------------------------------------


def _value(name: str, asked: _Asked) -> Variant:
    if name != asked.name:
        value = _microseconds(asked)
    elif name in UNIT_PROPERTIES:
        value = _of_type(asked, UNIT_PROPERTIES[name])
    else:
        value = parse(asked.text, origin=asked.origin)
    problem = dbus_problem(value)
    if problem:
        raise GVariantError(problem, origin=asked.origin, column=1)
    return value


def _of_type(asked: _Asked, signature: str) -> Variant:
    """Read a value of a known type; one that says nothing of its own type takes it on."""
    try:
        return parse(asked.text, signature, origin=asked.origin)
    except GVariantError as exc:
        value = parse(asked.text, origin=asked.origin)  # what is no value at all says so
        if value.signature == signature:  # pragma: no cover - it would have been read
            raise
        raise GVariantError(
            f"{asked.name} is of type {signature}, not {value.signature}: {exc.problem}",
            origin=asked.origin,
            column=exc.column,
        ) from None


def _microseconds(asked: _Asked) -> Variant:
    """Read seconds, whole or not; what is below a microsecond is dropped."""
    value = parse(asked.text, origin=asked.origin)
    number = value.value
    if value.signature not in "ynqiuxtd":
        raise GVariantError("seconds are a number", origin=asked.origin, column=1)
    if not math.isfinite(number) or number < 0:
        raise GVariantError("seconds are finite, and not negative", origin=asked.origin, column=1)
    product = int(number * _USEC)
    if product >= 2**64:
        raise GVariantError("more microseconds than 64 bits hold", origin=asked.origin, column=1)
    return Variant("t", product)


# What is refused ------------------------------------------------------------------------------------


def refusal(name: str, policy: PropertyPolicy, *, devices: bool = True) -> str:
    """Return why an annotation for a property is refused, whatever its value; empty if it is taken."""
    if name in _NEVER:
        return _NEVER[name]
    if policy == "any":
        return ""
    if name.startswith("Device") and devices:
        return _DEVICES
    if name in _DANGEROUS:
        return _DANGEROUS[name]
    reason = next((reason for names, reason in _FAMILIES if names.fullmatch(name)), "")
    if not reason and policy == "untrusted" and name not in SAFE_PROPERTIES:
        reason = "an untrusted bundle may set limits, times and order alone"
    return reason


def _refuse(name: str, asked: _Asked, policy: PropertyPolicy, *, devices: bool) -> None:
    reason = refusal(name, "any" if asked.given else policy, devices=devices)
    if reason:
        raise SpecError(f"{name} is refused: {reason}", origin=asked.origin)


def _refuse_value(name: str, value: Variant, asked: _Asked, policy: PropertyPolicy) -> None:
    """Refuse what only some values make dangerous."""
    if name == "Delegate" and value.value is False and not asked.given and policy != "any":
        raise SpecError(f"{name} is refused: {_OWNER}", origin=asked.origin)
