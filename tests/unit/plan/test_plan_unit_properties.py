"""Properties that annotations and callers ask for.  runc systemd-properties.md, security invariant 39."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from plan_hosts import SYSTEMD, V2, spec
from test_plan_unit import cgroup, planned, started, unit

from aiocontainer.errors import GVariantError, SpecError
from aiocontainer.gvariant import Variant
from aiocontainer.plan.unit_properties import asked_properties
from aiocontainer.spec import SAFE_PROPERTIES, UNIT_PROPERTIES, Linux, Resources, property_text

PREFIX = "org.systemd.property."


def asked(*given: tuple[str, str], **annotations: str) -> list[tuple[str, str, Any]]:
    """Name, type and value of what these annotations, without the prefix, and given ones ask for."""
    found = asked_properties({PREFIX + name: text for name, text in annotations.items()}, given)
    return [(each.name, each.signature, each.value) for each in found]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("TimeoutStopUSec", "uint64 123456789", ("TimeoutStopUSec", "t", 123456789)),
        ("CollectMode", "'inactive-or-failed'", ("CollectMode", "s", "inactive-or-failed")),
        # What says nothing of its type takes on that of the property.
        ("TimeoutStopUSec", "123456789", ("TimeoutStopUSec", "t", 123456789)),
        ("MemoryHigh", "4294967296", ("MemoryHigh", "t", 2**32)),
        ("KillSignal", "15", ("KillSignal", "i", 15)),
        ("StartLimitBurst", "7", ("StartLimitBurst", "u", 7)),
        ("After", "[]", ("After", "as", [])),
        ("Before", "['a.service', 'b.service']", ("Before", "as", ["a.service", "b.service"])),
        ("AllowedCPUs", "[0x0f, 1]", ("AllowedCPUs", "ay", b"\x0f\x01")),
        ("IODeviceWeight", "[('/dev/sda', 200)]", ("IODeviceWeight", "a(st)", [("/dev/sda", 200)])),
        ("SendSIGHUP", "true", ("SendSIGHUP", "b", True)),
        ("IPAddressDeny", "[(2, [10, 0, 0, 0], 8)]", ("IPAddressDeny", "a(iayu)", [(2, b"\n\0\0\0", 8)])),
        (
            "RestrictNetworkInterfaces",
            "(true, ['lo'])",
            ("RestrictNetworkInterfaces", "(bas)", (True, ["lo"])),
        ),
        ("Delegate", "true", ("Delegate", "b", True)),
        # What is not known has the type that it says.
        ("NotKnownYet", "5", ("NotKnownYet", "i", 5)),
        ("NotKnownYet", "{'a': <5>}", ("NotKnownYet", "a{sv}", {"a": Variant("i", 5)})),
        # Seconds, of any type of number.
        ("TimeoutStopSec", "90", ("TimeoutStopUSec", "t", 90_000_000)),
        ("TimeoutStopSec", "byte 9", ("TimeoutStopUSec", "t", 9_000_000)),
        ("TimeoutStopSec", "uint64 18446744073709", ("TimeoutStopUSec", "t", 18446744073709000000)),
        ("RuntimeMaxSec", "1.5", ("RuntimeMaxUSec", "t", 1_500_000)),
        ("RuntimeMaxSec", "0.0000019", ("RuntimeMaxUSec", "t", 1)),
        ("JobTimeoutSec", "-0.0", ("JobTimeoutUSec", "t", 0)),
        ("CPUQuotaPerSecUSec", "500000", ("CPUQuotaPerSecUSec", "t", 500000)),
    ],
)
def test_asked(name: str, text: str, expected: tuple[str, str, Any]) -> None:
    assert asked(**{name: text}) == [expected]


MALFORMED = [
    ("TimeoutStopUSec", "uint64 -1", 8, "out of range"),
    ("TimeoutStopUSec", "'5s'", 1, "of type t, not s"),
    ("TimeoutStopUSec", "uint32 5", 1, "of type t, not u"),
    ("TimeoutStopUSec", "5.5", 2, "of type t, not d"),
    ("TimeoutStopUSec", "-1", 1, "of type t, not i"),
    ("CollectMode", "inactive", 1, "no keyword"),
    ("CollectMode", "5", 1, "of type s, not i"),
    ("KillSignal", "uint32 15", 1, "of type i, not u"),
    ("SendSIGHUP", "1", 1, "of type b, not i"),
    ("After", "'a.service'", 1, "of type as, not s"),
    ("After", "['a', 5]", 7, "share"),
    ("IODeviceWeight", "[('/dev/sda', 'x')]", 15, "of type a(st), not a(ss)"),
    ("IODeviceWeight", "[('/dev/sda',)]", 2, "of type a(st), not a(s)"),
    ("AllowedCPUs", "[256]", 2, "of type ay, not ai"),
    ("NotKnownYet", "[]", 1, "any type"),
    ("NotKnownYet", "just 5", 1, "no maybe"),
    ("NotKnownYet", "<just 5>", 1, "no maybe"),
    ("NotKnownYet", "()", 1, "empty struct"),
    ("NotKnownYet", "handle 0", 1, "descriptor"),
    ("NotKnownYet", "", 1, "missing"),
    ("TimeoutStopSec", "'90'", 1, "number"),
    ("TimeoutStopSec", "true", 1, "number"),
    ("TimeoutStopSec", "-1", 1, "not negative"),
    ("TimeoutStopSec", "-0.5", 1, "not negative"),
    ("TimeoutStopSec", "inf", 1, "finite"),
    ("TimeoutStopSec", "nan", 1, "finite"),
    ("TimeoutStopSec", "uint64 18446744073710", 1, "64 bits"),
    ("TimeoutStopSec", "1e300", 1, "64 bits"),
]


@pytest.mark.parametrize(("name", "text", "column", "reason"), MALFORMED)
def test_malformed(name: str, text: str, column: int, reason: str) -> None:
    with pytest.raises(GVariantError) as caught:
        planned(spec(annotations={PREFIX + name: text}))

    assert caught.value.origin == f'$.annotations["{PREFIX}{name}"]'
    assert caught.value.column == column
    assert reason in caught.value.problem


@pytest.mark.parametrize(
    "name", ["", "Ab", "A1b", "Memory.High", "Memory_High", "Memory High", "Größe", "A-b-c"]
)
def test_names_are_letters(name: str) -> None:
    with pytest.raises(SpecError, match="not the name of a property") as caught:
        planned(spec(annotations={PREFIX + name: "true"}))

    assert caught.value.origin.startswith('$.annotations["org.systemd.property.')


def test_one_property_has_one_annotation() -> None:
    with pytest.raises(SpecError) as caught:
        asked(TimeoutStopSec="5", TimeoutStopUSec="uint64 5")

    assert caught.value.origin == '$.annotations["org.systemd.property.TimeoutStopUSec"]'
    assert "TimeoutStopSec" in caught.value.problem


@given(st.permutations(["After", "Before", "CollectMode", "MemoryHigh", "KillMode"]))
def test_the_order_does_not_depend_on_the_document(names: list[str]) -> None:
    texts = {
        "After": "['a']",
        "Before": "['b']",
        "CollectMode": "'inactive'",
        "MemoryHigh": "5",
        "KillMode": "'mixed'",
    }

    assert [each[0] for each in asked(**{name: texts[name] for name in names})] == sorted(names)


# What is refused.

ALWAYS = {
    "PIDs": "[uint32 1]",
    "PIDFDs": "@ah []",
    "Names": "['a']",
    "ControlGroup": "'/'",
    "RefuseManualStop": "true",
}
DANGEROUS = {
    **dict.fromkeys(("SuccessAction", "FailureAction", "JobTimeoutAction", "StartLimitAction"), "'reboot'"),
    **dict.fromkeys(("RebootArgument", "JobTimeoutRebootArgument", "SomeNewRebootArgument"), "'x'"),
    **dict.fromkeys(
        ("Wants", "Requires", "BindsTo", "Upholds", "Conflicts", "OnSuccess", "OnFailure"), "['a.service']"
    ),
    **dict.fromkeys(("PropagatesStopTo", "PropagatesReloadTo"), "['a.service']"),
    **dict.fromkeys(("RequiresMountsFor", "WantsMountsFor"), "['/mnt']"),
    **dict.fromkeys(("User", "Group", "Controller", "DelegateSubgroup"), "'root'"),
    **dict.fromkeys(("IPIngressFilterPath", "IPEgressFilterPath"), "['/sys/fs/bpf/x']"),
    "Slice": "'other.slice'",
    "Delegate": "false",
    "DelegateControllers": "['cpu']",
    "DelegateSomethingNew": "true",
    "DeviceAllow": "[('/dev/sda', 'rwm')]",
    "DevicePolicy": "'auto'",
    "BPFProgram": "[('egress', '/sys/fs/bpf/x')]",
}


@pytest.mark.parametrize(("name", "text"), (ALWAYS | DANGEROUS).items())
def test_an_annotation_does_not_take_the_unit_or_act_on_the_machine(name: str, text: str) -> None:
    with pytest.raises(SpecError, match="is refused: ") as caught:
        planned(spec(annotations={PREFIX + name: text}))

    assert caught.value.origin == f'$.annotations["{PREFIX}{name}"]'


@pytest.mark.parametrize(("name", "text"), DANGEROUS.items())
def test_operators_may_let_it(name: str, text: str) -> None:
    value = spec(annotations={PREFIX + name: text})

    assert name in started(planned(value, property_policy="any"))
    assert name in started(planned(systemd_properties=((name, text),)))


@pytest.mark.parametrize(("name", "text"), ALWAYS.items())
def test_some_things_nobody_may(name: str, text: str) -> None:
    with pytest.raises(SpecError, match="is refused: "):
        planned(spec(annotations={PREFIX + name: text}), property_policy="any")
    with pytest.raises(SpecError, match="is refused: ") as caught:
        planned(systemd_properties=((name, text),))
    assert caught.value.origin == f"systemd_properties.{name}"


def test_a_slice_that_is_let_through_is_where_the_unit_is() -> None:
    plan = planned(spec(annotations={PREFIX + "Slice": "'a-b.slice'"}), property_policy="any")

    assert unit(plan).slice == "a-b.slice"
    assert cgroup(plan).paths == {"": "/sys/fs/cgroup/a.slice/a-b.slice/aiocontainer-web.scope"}
    assert [each.value for each in unit(plan).properties if each.name == "Slice"] == ["a-b.slice"]
    with pytest.raises(SpecError):
        planned(spec(annotations={PREFIX + "Slice": "'a--b.slice'"}), property_policy="any")


def test_delegation_that_is_given_up_is_warned_of() -> None:
    plan = planned(systemd_properties=(("Delegate", "false"),))

    assert plan.warnings == (
        "systemd_properties.Delegate: the manager may change the cgroup under the container",
    )


def test_without_rules_for_devices_the_manager_may_have_some() -> None:
    annotations = {PREFIX + "DevicePolicy": "'closed'"}

    assert asked_properties(annotations, devices=False)[0].value == "closed"


@pytest.mark.parametrize("name", sorted(UNIT_PROPERTIES.keys() - SAFE_PROPERTIES))
def test_an_untrusted_bundle_sets_limits_times_and_order_alone(name: str) -> None:
    text = {"b": "true", "s": "'x'", "as": "['x']", "t": "5", "i": "5", "u": "5"}
    value = text.get(UNIT_PROPERTIES[name], f"@{UNIT_PROPERTIES[name]} []")
    if UNIT_PROPERTIES[name] == "(bas)":
        value = "(true, ['lo'])"
    if name == "Delegate":
        value = "false"

    with pytest.raises(SpecError, match="is refused: "):
        planned(spec(annotations={PREFIX + name: value}), property_policy="untrusted")


def test_an_untrusted_bundle_sets_nothing_unknown() -> None:
    with pytest.raises(SpecError, match="is refused: "):
        planned(spec(annotations={PREFIX + "NotKnownYet": "5"}), property_policy="untrusted")
    safe = {"TimeoutStopSec": "5", "CollectMode": "'inactive'", "MemoryHigh": "5", "After": "['a.service']"}
    value = spec(annotations={PREFIX + name: text for name, text in safe.items()})
    assert started(planned(value, property_policy="untrusted"))["TimeoutStopUSec"] == 5_000_000


def test_what_is_not_known_is_passed_on_with_a_warning() -> None:
    plan = planned(spec(annotations={PREFIX + "NotKnownYet": "5", PREFIX + "KillMode": "'mixed'"}))

    assert started(plan)["NotKnownYet"] == 5
    (warning,) = plan.warnings
    assert warning.startswith(
        '$.annotations["org.systemd.property.NotKnownYet"]: NotKnownYet is not known here'
    )


# Precedence.


def test_they_replace_what_a_unit_begins_with() -> None:
    plan = planned(spec(annotations={PREFIX + "Description": "'mine'", PREFIX + "MemoryAccounting": "false"}))

    names = [each.name for each in unit(plan).properties]
    assert len(names) == len(set(names))
    assert started(plan)["Description"] == "mine"
    assert started(plan)["MemoryAccounting"] is False


def test_the_caller_wins_over_annotations() -> None:
    value = spec(annotations={PREFIX + "TimeoutStopSec": "5", PREFIX + "KillMode": "'mixed'"})
    plan = planned(value, systemd_properties=(("TimeoutStopUSec", "7"),))

    assert started(plan)["TimeoutStopUSec"] == 7
    assert started(plan)["KillMode"] == "mixed"


@pytest.mark.parametrize(("value", "policy"), [("0", "continue"), ("1", "kill"), (" 1\n", "kill")])
def test_killing_all_or_one_is_told_at_the_start_and_wins(value: str, policy: str) -> None:
    from aiocontainer.plan.unit_plan import with_unit

    linux = Linux(resources=Resources(unified={"memory.oom.group": value}))
    asked = spec(annotations={PREFIX + "OOMPolicy": "'stop'"})
    for host, expected in ((SYSTEMD, policy), (replace(SYSTEMD, systemd=252), "stop")):
        made = with_unit(cgroup(planned()), asked, linux, host, _options()).cgroup.unit
        assert made is not None
        last = made.properties[-1]
        assert (last.name, last.value) == ("OOMPolicy", expected)


def _options() -> Any:
    from plan_hosts import options

    return options(cgroup_driver="systemd")


# Python values.


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("CollectMode", "inactive-or-failed", "'inactive-or-failed'"),
        ("CollectMode", "it's", r"'it\'s'"),
        ("Description", "true", "'true'"),
        ("TimeoutStopUSec", 5, "uint64 5"),
        ("TimeoutStopUSec", "uint64 5", "uint64 5"),
        ("TimeoutStopUSec", "5", "uint64 5"),
        ("KillSignal", 15, "15"),
        ("SendSIGHUP", True, "true"),
        ("After", ["a.service"], "['a.service']"),
        ("After", [], "@as []"),
        ("AllowedCPUs", b"\x03", "[byte 0x03]"),
        ("IODeviceWeight", [("/dev/sda", 200)], "[('/dev/sda', uint64 200)]"),
        ("RuntimeMaxSec", 1.5, "1.5"),
        ("RuntimeMaxSec", 2, "uint64 2"),
        ("NotKnownYet", 5, "uint64 5"),
        ("NotKnownYet", -5, "int64 -5"),
        ("NotKnownYet", "5", "'5'"),
        ("NotKnownYet", ("a", "b"), "['a', 'b']"),
        ("NotKnownYet", Variant("u", 5), "uint32 5"),
        ("TimeoutStopUSec", Variant("u", 5), "uint32 5"),
    ],
)
def test_values_of_python(name: str, value: object, text: str) -> None:
    assert property_text(name, value) == text
    assert spec().with_systemd_property(name, value).annotations[PREFIX + name] == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TimeoutStopUSec", -5),
        ("TimeoutStopUSec", 5.5),
        ("TimeoutStopUSec", "soon"),
        ("CollectMode", 5),
        ("SendSIGHUP", 1),
        ("After", "a.service"),
        ("NotKnownYet", []),
        ("NotKnownYet", {"a": 1}),
        ("NotKnownYet", None),
        ("NotKnownYet", 2**64),
    ],
)
def test_values_that_are_not_of_the_type(name: str, value: object) -> None:
    with pytest.raises(GVariantError) as caught:
        property_text(name, value)

    assert caught.value.origin == f"systemd_properties.{name}"


@given(st.sampled_from(sorted(UNIT_PROPERTIES)), st.text(max_size=12))
def test_any_text_is_taken_or_refused_with_its_address(name: str, text: str) -> None:
    address = f'$.annotations["{PREFIX}{name}"]'
    try:
        asked(**{name: text})
    except SpecError as exc:
        origin = exc.origin
    else:
        origin = address
    assert origin == address


def test_every_type_of_the_table_is_one() -> None:
    assert UNIT_PROPERTIES.keys() >= SAFE_PROPERTIES
    assert len(UNIT_PROPERTIES) > 120
    for name, signature in UNIT_PROPERTIES.items():
        assert name.isalpha()
        assert not name.endswith("Sec") or name.endswith("USec"), "D-Bus has microseconds"
        assert Variant(signature, None).signature


def test_what_has_no_unit_loads_no_parser() -> None:
    import subprocess
    import sys

    code = "import aiocontainer.plan.compile, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not [
        name for name in loaded if name.startswith(("aiocontainer.gvariant", "aiocontainer.plan.unit_"))
    ]
    assert V2.systemd == 0
