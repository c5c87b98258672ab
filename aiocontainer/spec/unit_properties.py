"""Properties that a unit of the service manager can be given, and their types.

For scopes and what they have in common with all units.  systemd.scope(5), systemd.unit(5),
systemd.kill(5), systemd.resource-control(5); the types are those that the manager takes over D-Bus,
org.freedesktop.systemd1(5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import GVariantError
from .document import at

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SAFE_PROPERTIES", "UNIT_PROPERTIES", "property_text"]


def _typed(signature: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), signature)


_LIMITS: Final[Mapping[str, str]] = {
    **_typed(
        "t",
        """
        CPUWeight StartupCPUWeight CPUShares StartupCPUShares CPUQuotaPerSecUSec CPUQuotaPeriodUSec
        MemoryMin DefaultMemoryMin MemoryLow StartupMemoryLow DefaultMemoryLow DefaultStartupMemoryLow
        MemoryHigh StartupMemoryHigh MemoryMax StartupMemoryMax MemorySwapMax StartupMemorySwapMax
        MemoryZSwapMax StartupMemoryZSwapMax MemoryLimit TasksMax
        IOWeight StartupIOWeight BlockIOWeight StartupBlockIOWeight
        ManagedOOMMemoryPressureDurationUSec MemoryPressureThresholdUSec
        """,
    ),
    **_typed(
        "u",
        """
        MemoryMinScale DefaultMemoryMinScale MemoryLowScale DefaultMemoryLowScale MemoryHighScale
        MemoryMaxScale MemorySwapMaxScale MemoryZSwapMaxScale MemoryLimitScale TasksMaxScale
        ManagedOOMMemoryPressureLimit
        """,
    ),
    **_typed(
        "b",
        """
        CPUAccounting MemoryAccounting TasksAccounting IOAccounting BlockIOAccounting IPAccounting
        MemoryZSwapWriteback CoredumpReceive
        """,
    ),
    **_typed("ay", "AllowedCPUs StartupAllowedCPUs AllowedMemoryNodes StartupAllowedMemoryNodes"),
    **_typed("s", "ManagedOOMSwap ManagedOOMMemoryPressure ManagedOOMPreference MemoryPressureWatch"),
    **_typed(
        "a(st)",
        """
        IODeviceWeight IODeviceLatencyTargetUSec IOReadBandwidthMax IOWriteBandwidthMax IOReadIOPSMax
        IOWriteIOPSMax BlockIODeviceWeight BlockIOReadBandwidth BlockIOWriteBandwidth
        """,
    ),
}

_LIFETIME: Final[Mapping[str, str]] = {
    **_typed("t", "TimeoutStopUSec RuntimeMaxUSec RuntimeRandomizedExtraUSec JobTimeoutUSec"),
    **_typed("t", "JobRunningTimeoutUSec"),
    **_typed("s", "CollectMode OOMPolicy"),
}

_ORDER: Final[Mapping[str, str]] = _typed("as", "After Before")

_OTHERS: Final[Mapping[str, str]] = {
    # Of scopes.
    **_typed("au", "PIDs"),
    **_typed("ah", "PIDFDs"),
    **_typed("s", "Controller User Group"),
    # How processes are ended.
    **_typed("s", "KillMode"),
    **_typed("i", "KillSignal RestartKillSignal FinalKillSignal WatchdogSignal"),
    **_typed("b", "SendSIGHUP SendSIGKILL"),
    # Of all units.
    **_typed(
        "s",
        """
        Description SourcePath Slice OnSuccessJobMode OnFailureJobMode SuccessAction FailureAction
        JobTimeoutAction JobTimeoutRebootArgument StartLimitAction RebootArgument
        """,
    ),
    **_typed(
        "b",
        """
        StopWhenUnneeded RefuseManualStart RefuseManualStop AllowIsolate IgnoreOnIsolate
        SurviveFinalKillSignal DefaultDependencies AddRef
        """,
    ),
    **_typed(
        "as",
        """
        Documentation Requires Requisite Wants BindsTo PartOf Upholds Conflicts OnSuccess OnFailure
        PropagatesReloadTo ReloadPropagatedFrom PropagatesStopTo StopPropagatedFrom JoinsNamespaceOf
        RequiresMountsFor WantsMountsFor Markers
        """,
    ),
    **_typed("t", "StartLimitIntervalUSec"),
    **_typed("u", "StartLimitBurst"),
    **_typed("i", "SuccessActionExitStatus FailureActionExitStatus"),
    **_typed("a(sbbs)", "Conditions Asserts"),
    # Of the cgroup, besides limits.
    **_typed("b", "Delegate"),
    **_typed("s", "DelegateSubgroup DevicePolicy"),
    **_typed("as", "DelegateControllers DisableControllers IPIngressFilterPath IPEgressFilterPath"),
    **_typed("a(ss)", "DeviceAllow BPFProgram"),
    **_typed("a(iayu)", "IPAddressAllow IPAddressDeny"),
    **_typed("a(iiqq)", "SocketBindAllow SocketBindDeny"),
    **_typed("(bas)", "RestrictNetworkInterfaces"),
    **_typed("a(iiss)", "NFTSet"),
}

UNIT_PROPERTIES: Final[Mapping[str, str]] = {**_LIMITS, **_LIFETIME, **_ORDER, **_OTHERS}
"""Name to type, in the letters of D-Bus.  A manager may know more, and older ones know less."""

SAFE_PROPERTIES: Final = frozenset({**_LIMITS, **_LIFETIME, **_ORDER, "Description": "s"})
"""What somebody who is not trusted may be allowed: limits, times, and the order of starts and stops."""


def property_text(name: str, value: object) -> str:
    """Write the value of a unit's property as GVariant text.

    A number, text, bytes, list or dictionary gets the type that the property is known to have; text
    for one that is known not to be text is GVariant text itself (``"uint64 5"``).  Of properties that
    are not known a bool is a ``b``, an int a ``t`` (negative: ``x``), a float a ``d``, text an ``s``,
    bytes an ``ay``, a list of text an ``as``.  A `gvariant.Variant` has its own type.  Raises
    `GVariantError`.
    """
    from .. import gvariant  # only those who give properties pay for it

    origin = at("systemd_properties", name)
    if isinstance(value, gvariant.Variant):
        return gvariant.format(value, origin=origin)
    signature = UNIT_PROPERTIES.get(name) or _natural(value, origin)
    if isinstance(value, str) and signature not in ("s", "v"):
        return gvariant.format(gvariant.parse(value, signature, origin=origin))
    return gvariant.format(gvariant.Variant(signature, value), origin=origin)


def _natural(value: Any, origin: str) -> str:
    """Return the type of a value that nobody says anything about."""
    match value:
        case bool():
            return "b"
        case int():
            return "t" if value >= 0 else "x"
        case float():
            return "d"
        case str():
            return "s"
        case bytes() | bytearray():
            return "ay"
        case list() | tuple() if value and all(isinstance(each, str) for each in value):
            return "as"
    raise GVariantError("the type of such a value is not known: give a Variant", origin=origin)
