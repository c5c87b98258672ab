"""Properties of a unit as systemd itself has them: each type read back, and the table of types compared."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from support.specs import shell

from aiocontainer import Runtime, Spec, gvariant
from aiocontainer.spec import UNIT_PROPERTIES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = [pytest.mark.needs("root", "systemd", "cgroup2", "busybox"), pytest.mark.may_block("busctl")]

ID = "aioc-test-properties"
UNIT = f"aiocontainer-{ID}.scope"
PREFIX = "org.systemd.property."


class Property(NamedTuple):
    """A property, its text, and the systemd that brought it."""

    name: str
    text: str
    since: int = 0


PROPERTIES = [
    # Those of the annotations that runc documents.
    Property("TimeoutStopUSec", "uint64 123456789"),
    Property("CollectMode", "'inactive-or-failed'"),
    # t, also from a bare number.
    Property("RuntimeMaxUSec", "uint64 3600000000"),
    Property("RuntimeRandomizedExtraUSec", "1000000", 250),
    Property("StartLimitIntervalUSec", "70000000"),
    Property("CPUWeight", "150"),
    Property("StartupCPUWeight", "160"),
    Property("CPUQuotaPerSecUSec", "500000"),
    Property("CPUQuotaPeriodUSec", "50000"),
    Property("MemoryMin", "1048576"),
    Property("DefaultMemoryMin", "524288"),
    Property("MemoryLow", "uint64 2097152"),
    Property("DefaultMemoryLow", "1048576"),
    Property("StartupMemoryLow", "1048576", 253),
    Property("DefaultStartupMemoryLow", "1048576", 253),
    Property("MemoryHigh", "uint64 0x10000000"),
    Property("StartupMemoryHigh", "uint64 0x11000000", 253),
    Property("MemoryMax", "uint64 04000000000"),
    Property("StartupMemoryMax", "uint64 0x22000000", 253),
    Property("MemorySwapMax", "0"),
    Property("StartupMemorySwapMax", "4096", 253),
    Property("MemoryZSwapMax", "8192", 253),
    Property("StartupMemoryZSwapMax", "4096", 253),
    Property("TasksMax", "100"),
    Property("IOWeight", "200"),
    Property("StartupIOWeight", "300"),
    Property("MemoryPressureThresholdUSec", "100000", 254),
    Property("ManagedOOMMemoryPressureDurationUSec", "20000000", 257),
    # b
    Property("SendSIGHUP", "true"),
    Property("SendSIGKILL", "true"),
    Property("CPUAccounting", "true"),
    Property("MemoryAccounting", "boolean true"),
    Property("IOAccounting", "true"),
    Property("TasksAccounting", "true"),
    Property("IPAccounting", "true"),
    Property("Delegate", "true"),
    Property("DefaultDependencies", "false"),
    Property("AllowIsolate", "false"),
    Property("IgnoreOnIsolate", "true"),
    Property("SurviveFinalKillSignal", "true", 255),
    Property("MemoryZSwapWriteback", "false", 256),
    Property("CoredumpReceive", "true", 255),
    # i, u
    Property("KillSignal", "10"),
    Property("RestartKillSignal", "int32 12"),
    Property("FinalKillSignal", "0x9"),
    Property("WatchdogSignal", "6"),
    Property("SuccessActionExitStatus", "3"),
    Property("FailureActionExitStatus", "4"),
    Property("StartLimitBurst", "uint32 7"),
    Property("ManagedOOMMemoryPressureLimit", "uint32 2147483647"),
    # s
    Property("Description", r"'it\'s a \u00e9t\u00e9'"),
    Property("KillMode", '"mixed"'),
    Property("OOMPolicy", "'kill'", 253),
    Property("ManagedOOMSwap", "'kill'"),
    Property("ManagedOOMMemoryPressure", "'auto'"),
    Property("ManagedOOMPreference", "'avoid'"),
    Property("MemoryPressureWatch", "'no'", 254),
    Property("OnSuccessJobMode", "'fail'"),
    Property("OnFailureJobMode", "'replace'"),
    Property("SourcePath", "'/etc/hostname'"),
    # as
    Property("After", "['basic.target']"),
    Property("Before", "@as ['shutdown.target']"),
    Property("Requisite", "['basic.target']"),
    Property("PartOf", "['multi-user.target']"),
    Property("StopPropagatedFrom", "['basic.target']"),
    Property("ReloadPropagatedFrom", "['basic.target']"),
    Property("Documentation", "['man:systemd.scope(5)', 'https://example.org/']"),
    Property("DisableControllers", "['io']"),
    # ay
    Property("AllowedCPUs", "[byte 1]"),
    Property("StartupAllowedCPUs", "[1]"),
    Property("AllowedMemoryNodes", r"[0x01]"),
    # Arrays of tuples, and a tuple.
    Property("IODeviceWeight", "[('/dev/vda', 250)]"),
    Property("IOReadBandwidthMax", "[('/dev/vda', uint64 1000000000)]"),
    Property("IOWriteBandwidthMax", "[('/dev/vda', 2000000000)]"),
    Property("IOReadIOPSMax", "[('/dev/vda', 100000)]"),
    Property("IOWriteIOPSMax", "[('/dev/vda', 200000)]"),
    Property("IODeviceLatencyTargetUSec", "[('/dev/vda', 75000)]"),
    Property("IPAddressAllow", "[(2, [127, 0, 0, 0], uint32 8)]"),
    Property("IPAddressDeny", "[(2, [byte 192, 168, 0, 0], 16), (2, [10, 0, 0, 0], 8)]"),
    Property("SocketBindDeny", "[(2, 6, 1, 1024)]"),
    Property("RestrictNetworkInterfaces", "(true, ['lo'])"),
]

SOME = [each for each in PROPERTIES if each.name in ("CollectMode", "KillSignal", "After", "AllowedCPUs")]

ADDS = {
    "After",
    "Before",
    "Requisite",
    "PartOf",
    "StopPropagatedFrom",
    "ReloadPropagatedFrom",
    "Documentation",
}
"""Lists to which the manager adds by itself."""

SETS = {"IPAddressAllow", "IPAddressDeny"}
"""What systemd keeps in a hash set, of another order at each start."""

MASKS = {"AllowedCPUs", "StartupAllowedCPUs", "AllowedMemoryNodes"}

WRITTEN_OTHERWISE = {"Conditions", "Asserts"}
"""What is read in another type than it is set."""


def version() -> int:
    text = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout
    return int(text.split()[1])


def properties(unit: str) -> dict[str, dict[str, Any]]:
    """All properties of a unit with their types, by the bus."""
    call = ["busctl", "--json=short", "call", "org.freedesktop.systemd1"]
    manager = ["/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "GetUnit", "s", unit]
    path = json.loads(subprocess.run([*call, *manager], capture_output=True, check=True).stdout)["data"][0]
    getall = [path, "org.freedesktop.DBus.Properties", "GetAll", "s", ""]
    found = json.loads(subprocess.run([*call, *getall], capture_output=True, check=True).stdout)
    assert found["type"] == "a{sv}"
    answer: dict[str, dict[str, Any]] = found["data"][0]
    return answer


def plain(value: Any) -> Any:
    """A value as JSON has it: tuples and bytes are lists."""
    if isinstance(value, bytes | tuple | list):
        return [plain(each) for each in value]
    return value


def annotated(rootfs: str, asked: list[Property]) -> Spec:
    spec = shell("sleep 1000", rootfs)
    for each in asked:
        spec = spec.with_annotation(PREFIX + each.name, each.text)
    return spec


@pytest.fixture
async def runtime(snap: Leaks, tmp_path: Path) -> AsyncIterator[Runtime]:
    root = str(tmp_path / "state")
    snap.watch(root)
    async with Runtime(root=root, cgroups="systemd") as runtime:
        yield runtime


async def made(runtime: Runtime, spec: Spec) -> dict[str, dict[str, Any]]:
    """The properties of the unit of a container while it is there: none is seen to differ."""
    container = await runtime.create(ID, spec, verify_properties=True)
    try:
        assert container.property_differences == ()
        return properties(UNIT)
    finally:
        await container.delete(force=True)


async def test_what_annotations_say_is_what_systemd_has(runtime: Runtime, rootfs: str) -> None:
    asked = [each for each in PROPERTIES if version() >= each.since]
    assert len(asked) >= 62
    found = await made(runtime, annotated(rootfs, asked))
    wrong = {}
    for name, text, _ in asked:
        expected = plain(gvariant.parse(text, UNIT_PROPERTIES[name]).value)
        had = found[name]["data"]
        if name in MASKS:  # filled up to whole words
            had = had[: len(expected)] + [each for each in had[len(expected) :] if each]
        if name in SETS:
            had, expected = sorted(had), sorted(expected)
        same = set(expected) <= set(had) if name in ADDS else had == expected
        if not same or found[name]["type"] != UNIT_PROPERTIES[name]:
            wrong[name] = (expected, found[name])
    assert not wrong


async def test_what_systemd_alters_is_told(
    runtime: Runtime, rootfs: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A unit without a description has its name."""
    spec = annotated(rootfs, [*SOME, Property("Description", "''")])
    container = await runtime.create(
        ID, spec, verify_properties=True, systemd_properties={"RuntimeMaxUSec": 5_000_000_000}
    )
    try:
        (difference,) = container.property_differences
        assert difference.name == "Description"
        assert difference.asked == gvariant.Variant("s", "")
        assert difference.got == gvariant.Variant("s", UNIT)
        assert [record.message for record in caplog.records] == [f"container {ID}: {difference}"]
    finally:
        await container.delete(force=True)


async def test_seconds_become_microseconds(runtime: Runtime, rootfs: str) -> None:
    asked = [Property("TimeoutStopSec", "2.5"), Property("RuntimeMaxSec", "uint16 3600")]
    found = await made(runtime, annotated(rootfs, asked))
    assert found["TimeoutStopUSec"]["data"] == 2_500_000
    assert found["RuntimeMaxUSec"]["data"] == 3_600_000_000


async def test_the_table_has_the_types_that_systemd_has(runtime: Runtime, rootfs: str) -> None:
    found = await made(runtime, shell("sleep 1000", rootfs))
    known = UNIT_PROPERTIES.keys() & found.keys() - WRITTEN_OTHERWISE
    assert len(known) > 90
    assert {name: found[name]["type"] for name in known} == {name: UNIT_PROPERTIES[name] for name in known}
