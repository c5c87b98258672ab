"""Limits as properties of the unit.  systemd.resource-control(5)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from plan_hosts import SYSTEMD, SYSTEMD_V1, V1

from aiocontainer.errors import SpecError
from aiocontainer.plan.devices import DeviceRule, device_rules
from aiocontainer.plan.limits import cgroup_limits
from aiocontainer.plan.unit_resources import (
    INFINITY,
    UnitLimits,
    device_properties,
    device_warnings,
    unit_limits,
)
from aiocontainer.spec import (
    BlockIO,
    Cpu,
    Linux,
    Memory,
    Pids,
    Resources,
    ThrottleDevice,
    WeightDevice,
    decode_resources,
)
from aiocontainer.spec import DeviceRule as SpecRule

ORIGIN = "$.linux.resources"
OLD_V1 = replace(V1, systemd=241, init_cgroup={})


def limits(resources: Resources, host: Any = SYSTEMD, current: Resources | None = None) -> UnitLimits:
    return unit_limits(cgroup_limits(resources, host, ORIGIN, current), resources, host, current)


def told(resources: Resources, host: Any = SYSTEMD, current: Resources | None = None) -> dict[str, object]:
    found = limits(resources, host, current).properties
    assert len({each.name for each in found}) == len(found)
    assert all(each.origin.startswith(ORIGIN) for each in found)
    return {each.name: each.value for each in found}


def written(resources: Resources, host: Any = SYSTEMD, current: Resources | None = None) -> dict[str, str]:
    return {write.file: write.value for write in limits(resources, host, current).writes}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(memory=Memory(limit=2**28)), {"MemoryMax": 2**28}),
        (Resources(memory=Memory(limit=-1)), {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
        (Resources(memory=Memory(limit=2**28, swap=2**29)), {"MemoryMax": 2**28, "MemorySwapMax": 2**28}),
        (Resources(memory=Memory(reservation=2**20)), {"MemoryLow": 2**20}),
        (Resources(cpu=Cpu(shares=1024)), {"CPUWeight": 100}),
        (Resources(cpu=Cpu(shares=2)), {"CPUWeight": 1}),
        (
            Resources(cpu=Cpu(cpus="0-2,9", mems="1")),
            {"AllowedCPUs": b"\x07\x02", "AllowedMemoryNodes": b"\x02"},
        ),
        (Resources(pids=Pids(limit=100)), {"TasksMax": 100}),
        (Resources(pids=Pids(limit=-1)), {"TasksMax": INFINITY}),
        (Resources(pids=Pids(limit=0)), {"TasksMax": 1}),
        (Resources(block_io=BlockIO(weight=1000)), {"IOWeight": 10000}),
        (
            Resources(block_io=BlockIO(weight_device=(WeightDevice(major=8, minor=0, weight=10),))),
            {"IODeviceWeight": [("/dev/block/8:0", 10)]},
        ),
        (
            Resources(
                block_io=BlockIO(
                    throttle_read_bps_device=(
                        ThrottleDevice(major=8, minor=0, rate=5),
                        ThrottleDevice(major=8, minor=16, rate=0),
                    ),
                    throttle_write_iops_device=(ThrottleDevice(major=8, minor=0, rate=7),),
                )
            ),
            {
                "IOReadBandwidthMax": [("/dev/block/8:0", 5), ("/dev/block/8:16", INFINITY)],
                "IOWriteIOPSMax": [("/dev/block/8:0", 7)],
            },
        ),
        (
            Resources(unified={"memory.high": "200M", "memory.min": "max", "memory.zswap.max": " 5 "}),
            {"MemoryHigh": 200 << 20, "MemoryMin": INFINITY, "MemoryZSwapMax": 5},
        ),
        (Resources(unified={"cpu.weight": "77", "pids.max": "max"}), {"CPUWeight": 77, "TasksMax": INFINITY}),
        (
            Resources(unified={"io.weight": "default 50\n8:0 60"}),
            {"IOWeight": 50, "IODeviceWeight": [("/dev/block/8:0", 60)]},
        ),
        (
            Resources(unified={"io.bfq.weight": "500\n8:0 1000\n8:16 default"}),
            {"IOWeight": 4500, "IODeviceWeight": [("/dev/block/8:0", 10000)]},
        ),
        (
            Resources(unified={"io.max": "8:0 rbps=5 wbps=max"}),
            {
                "IOReadBandwidthMax": [("/dev/block/8:0", 5)],
                "IOWriteBandwidthMax": [("/dev/block/8:0", INFINITY)],
            },
        ),
        # A file by its own name wins, as it does in the cgroup.
        (Resources(memory=Memory(limit=5), unified={"memory.max": "7"}), {"MemoryMax": 7}),
        (Resources(unified={"hugetlb.2MB.max": "5", "misc.max": "a 1"}), {}),
        (Resources(), {}),
    ],
)  # fmt: skip
def test_properties_of_v2(resources: Resources, expected: dict[str, object]) -> None:
    assert told(resources) == expected


def test_properties_of_v1() -> None:
    resources = Resources(
        memory=Memory(limit=2**28, swap=-1),
        cpu=Cpu(shares=512, quota=25000, period=50000, cpus="0"),
        pids=Pids(limit=-1),
        block_io=BlockIO(weight=500),
    )

    assert told(resources, replace(V1, systemd=244)) == {
        "MemoryLimit": 2**28,
        "CPUShares": 512,
        "CPUQuotaPeriodUSec": 50000,
        "CPUQuotaPerSecUSec": 500000,
        "AllowedCPUs": b"\x01",
        "TasksMax": INFINITY,
        "BlockIOWeight": 500,
    }
    assert told(resources, OLD_V1).keys() == {
        "MemoryLimit", "CPUShares", "CPUQuotaPerSecUSec", "TasksMax", "BlockIOWeight",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cpu", "per_second", "cpu_max"),
    [
        (Cpu(quota=50000), 500_000, "50000 100000"),
        (Cpu(quota=33333), 340_000, "34000 100000"),
        (Cpu(quota=1000), 10_000, "1000 100000"),
        (Cpu(quota=150001, period=100000), 1_510_000, "151000 100000"),
        (Cpu(quota=5000, period=20000), 250_000, "5000 20000"),
        (Cpu(quota=5001, period=20000), 260_000, "5200 20000"),
        (Cpu(quota=-1), INFINITY, "max 100000"),
        (Cpu(period=20000), INFINITY, "max 20000"),
    ],
)
def test_a_quota_is_whole_percents_everywhere(cpu: Cpu, per_second: int, cpu_max: str) -> None:
    assert told(Resources(cpu=cpu))["CPUQuotaPerSecUSec"] == per_second
    assert written(Resources(cpu=cpu))["cpu.max"] == cpu_max


@given(st.integers(1000, 10**7), st.integers(1000, 10**6))
def test_a_rounded_quota_is_not_less_and_stays(quota: int, period: int) -> None:
    resources = Resources(cpu=Cpu(quota=quota, period=period))
    rounded = int(written(resources)["cpu.max"].split()[0])
    per_second = told(resources)["CPUQuotaPerSecUSec"]

    assert isinstance(per_second, int)
    assert per_second % 10_000 == 0
    assert quota * 10**6 <= per_second * period < quota * 10**6 + 10_000 * period
    assert rounded == per_second * period // 10**6
    assert told(Resources(cpu=Cpu(quota=rounded, period=period)))["CPUQuotaPerSecUSec"] in (
        per_second,
        per_second - 10_000,
    )


def test_v1_writes_the_rounded_quota_too() -> None:
    resources = Resources(cpu=Cpu(quota=33333, period=100000))

    assert written(resources, OLD_V1)["cpu.cfs_quota_us"] == "34000"
    assert written(Resources(cpu=Cpu(quota=-1)), OLD_V1)["cpu.cfs_quota_us"] == "-1"
    current = Resources(cpu=Cpu(quota=20000))
    assert (
        told(Resources(cpu=Cpu(period=50000)), replace(V1, systemd=250), current)["CPUQuotaPerSecUSec"]
        == 400_000
    )


@pytest.mark.parametrize(
    ("resources", "sent"),
    [
        (Resources(cpu=Cpu(quota=5000)), False),
        (Resources(cpu=Cpu(quota=5000, period=100000)), True),
        (Resources(cpu=Cpu(quota=5000, period=20000)), True),
        (Resources(unified={"cpu.max": "5000"}), False),
        (Resources(unified={"cpu.max": "5000 100000"}), True),
        (Resources(unified={"cpu.max": "max 20000"}), True),
    ],
)
def test_a_period_is_told_where_one_was_given(resources: Resources, sent: bool) -> None:
    assert ("CPUQuotaPeriodUSec" in told(resources)) is sent
    assert "CPUQuotaPeriodUSec" not in told(resources, replace(SYSTEMD, systemd=241))


@pytest.mark.parametrize(
    ("property", "since", "resources"),
    [
        ("CPUQuotaPeriodUSec", 242, Resources(cpu=Cpu(period=20000))),
        ("AllowedCPUs", 244, Resources(cpu=Cpu(cpus="0"))),
        ("AllowedMemoryNodes", 244, Resources(cpu=Cpu(mems="0"))),
        ("CPUWeight", 252, Resources(cpu=Cpu(idle=1))),
        ("MemoryZSwapMax", 253, Resources(unified={"memory.zswap.max": "0"})),
    ],
)
def test_what_a_manager_is_too_old_for_the_files_carry(
    property: str, since: int, resources: Resources
) -> None:
    assert property in told(resources, replace(SYSTEMD, systemd=since))
    for version in (since - 1, -1):
        host = replace(SYSTEMD, systemd=version)
        assert property not in told(resources, host)
        assert written(resources, host) == written(resources)


def test_idle_is_a_weight_of_its_own() -> None:
    found = limits(Resources(cpu=Cpu(idle=1), unified={"cpu.weight": "50"}))

    assert [(each.name, each.value) for each in found.properties] == [("CPUWeight", 0)]
    assert found.warnings == ('$.linux.resources.unified["cpu.weight"]: ignored, idle has no weight',)
    was_idle = Resources(cpu=Cpu(idle=1))
    assert told(Resources(cpu=Cpu(idle=0)), current=was_idle) == {"CPUWeight": INFINITY}
    assert told(Resources(cpu=Cpu(idle=0, shares=1024)), current=was_idle) == {"CPUWeight": 100}
    assert told(Resources(cpu=Cpu(idle=0))) == {}


@pytest.mark.parametrize(
    ("file", "value"),
    [
        ("memory.high", "lots"),
        ("memory.high", "-5"),
        ("memory.high", ""),
        ("cpu.max", ""),
        ("cpu.max", "1 2 3"),
        ("cpu.max", "5000 max"),
        ("cpu.max", "5000 0"),
        ("cpu.max", "half"),
        ("cpu.weight", "1.5"),
        ("cpuset.cpus", "0-"),
        ("io.max", "8:0 rate=5"),
        ("io.max", "sda rbps=5"),
        ("io.weight", "sda 5"),
    ],
)
def test_files_that_make_no_sense_to_the_manager(file: str, value: str) -> None:
    with pytest.raises(SpecError) as caught:
        told(Resources(unified={file: value}))

    assert caught.value.origin == f'$.linux.resources.unified["{file}"]'


def test_an_update_tells_only_what_changes() -> None:
    current = decode_resources(
        b'{"memory": {"limit": 1000}, "cpu": {"shares": 5, "quota": 50000}, "pids": {"limit": 5}}'
    )

    assert told(Resources(pids=Pids(limit=7)), current=current) == {"TasksMax": 7}
    # More memory within the same sum of memory and swap leaves less swap.
    with_swap = Resources(memory=Memory(limit=1000, swap=3000))
    assert told(Resources(memory=Memory(limit=2000)), current=with_swap) == {
        "MemoryMax": 2000,
        "MemorySwapMax": 1000,
    }


# Devices.


def devices(*rules: SpecRule, host: Any = SYSTEMD) -> tuple[str, dict[str, str]]:
    linux = Linux(resources=Resources(devices=rules))
    found = [*device_properties(device_rules(linux, v1=host is SYSTEMD_V1), host)]
    assert [each.name for each in found[:2]] == ["DevicePolicy", "DeviceAllow"]
    assert found[1].value == []
    return str(found[0].value), dict(found[2].value) if found[2:] else {}  # type: ignore[call-overload]


DENY_ALL = SpecRule(allow=False, access="rwm")
ALLOW_ALL = SpecRule(allow=True, access="rwm")


def test_rules_become_entries() -> None:
    policy, entries = devices(
        DENY_ALL,
        SpecRule(allow=True, type="c", major=10, minor=229, access="rw"),
        SpecRule(allow=True, type="c", major=10, minor=229, access="m"),
        SpecRule(allow=True, type="b", major=8, access="r"),
    )

    assert policy == "strict"
    assert entries["/dev/char/10:229"] == "rwm"
    assert entries["block-8"] == "r"
    assert entries["char-*"] == entries["block-*"] == "m"
    assert entries["/dev/char/1:3"] == "rwm"


def test_all_devices_need_no_list() -> None:
    assert devices(ALLOW_ALL) == ("auto", {})
    assert devices(ALLOW_ALL, SpecRule(allow=False, type="b", major=8, access="w")) == ("auto", {})
    assert devices(ALLOW_ALL, DENY_ALL)[0] == "strict"
    assert not [*device_properties(None, SYSTEMD)]


def test_what_is_taken_back_is() -> None:
    tty = SpecRule(allow=True, type="c", major=4, minor=7, access="rwm")
    _, entries = devices(tty, SpecRule(allow=False, type="c", major=4, minor=7, access="w"))

    assert entries["/dev/char/4:7"] == "rm"
    assert (
        "/dev/char/4:7"
        not in devices(tty, SpecRule(allow=False, type="c", major=4, minor=7, access="rwm"))[1]
    )


def test_the_manager_is_never_stricter_in_v2() -> None:
    any_fifth = SpecRule(allow=True, type="c", minor=5, access="rw")

    assert devices(any_fifth)[1]["char-*"] == "rwm"  # it cannot say "any major"
    assert devices(any_fifth, host=SYSTEMD_V1)[1]["char-*"] == "m"
    rule = DeviceRule(True, "c", None, 5, "rw")
    assert [*device_warnings([rule], SYSTEMD)] == []
    assert len([*device_warnings([rule], SYSTEMD_V1)]) == 1


def test_old_managers_know_no_numbers_of_drivers() -> None:
    old = replace(SYSTEMD, systemd=239)
    disks = SpecRule(allow=True, type="b", major=8, access="r")

    assert devices(disks)[1]["block-8"] == "r"
    assert devices(disks, host=old)[1]["block-*"] == "rm"
    # Denying them again must not deny other devices.
    others = SpecRule(allow=True, type="b", access="w")
    assert (
        "w" in devices(others, SpecRule(allow=False, type="b", major=8, access="rwm"), host=old)[1]["block-*"]
    )


def _names(type: str, major: int, minor: int) -> tuple[str, ...]:
    kind = "char" if type == "c" else "block"
    return (f"/dev/{kind}/{major}:{minor}", f"{kind}-{major}", f"{kind}-*")


NUMBERS = st.none() | st.integers(0, 2)
RULES = st.builds(
    SpecRule,
    allow=st.booleans(),
    type=st.sampled_from(["a", "b", "c"]),
    major=NUMBERS,
    minor=NUMBERS,
    access=st.sampled_from(["r", "rw", "rwm"]),
)


@given(
    st.lists(RULES, max_size=6),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from("bc"),
    st.sampled_from("rwm"),
)
def test_whatever_the_rules_allow_the_manager_allows(
    rules: list[SpecRule], major: int, minor: int, type: str, access: str
) -> None:
    """A simple model of rules, the last that matches decides, against the entries for v2."""
    allowed = False
    for rule in device_rules(Linux(resources=Resources(devices=tuple(rules))), v1=False):
        about = rule.type == "a" or (
            rule.type == type and rule.major in (None, major) and rule.minor in (None, minor)
        )
        if about and (rule.type == "a" or access in rule.access):
            allowed = rule.allow
    for version in (239, 257):
        policy, entries = devices(*rules, host=replace(SYSTEMD, systemd=version))
        if allowed:
            assert policy == "auto" or any(
                access in entries.get(name, "") for name in _names(type, major, minor)
            )
