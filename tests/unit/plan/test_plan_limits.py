"""Limits become writes to cgroup files: one table for v1, one for v2, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from plan_hosts import HOSTS, ROOTLESS, V1, V2

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.limits import cgroup_limits, limit_warnings, limited
from aiocontainer.plan.limits_merge import merged, updated
from aiocontainer.plan.limits_v2 import cpu_weight, io_weight
from aiocontainer.plan.plan import CgroupWrite, UsageBelow
from aiocontainer.spec import Cpu, Memory, Resources, decode_resources

if TYPE_CHECKING:
    from aiocontainer.plan.host import Host

NET = HOSTS["linux-5.12-v1"]
MIB = 2**20


def resources(**members: Any) -> Resources:
    return decode_resources(json.dumps(members).encode())


def writes(host: Host, current: Resources | None = None, **members: Any) -> tuple[CgroupWrite, ...]:
    return cgroup_limits(resources(**members), host, "$", current)


def lines(host: Host, current: Resources | None = None, **members: Any) -> list[str]:
    """What is written: file = value, with "?" where the file may be missing."""
    return [
        f"{each.file} = {each.value}{'?' if each.optional else ''}"
        for each in writes(host, current, **members)
    ]


# field, v1, v2
FIELDS: tuple[tuple[dict[str, Any], list[str], list[str]], ...] = (
    ({"pids": {"limit": 7}}, ["pids.max = 7"], ["pids.max = 7"]),
    ({"pids": {"limit": 0}}, ["pids.max = 1"], ["pids.max = 1"]),
    ({"pids": {"limit": -5}}, ["pids.max = max?"], ["pids.max = max?"]),
    ({"memory": {"limit": MIB}}, [f"memory.limit_in_bytes = {MIB}"], [f"memory.max = {MIB}"]),
    (
        {"memory": {"limit": -1}},
        ["memory.limit_in_bytes = -1?", "memory.memsw.limit_in_bytes = -1?"],
        ["memory.swap.max = max?", "memory.max = max?"],
    ),
    (
        {"memory": {"limit": MIB, "swap": 3 * MIB}},
        [f"memory.limit_in_bytes = {MIB}", f"memory.memsw.limit_in_bytes = {3 * MIB}"],
        [f"memory.swap.max = {2 * MIB}", f"memory.max = {MIB}"],
    ),
    (
        {"memory": {"limit": MIB, "swap": MIB}},
        [f"memory.limit_in_bytes = {MIB}", f"memory.memsw.limit_in_bytes = {MIB}"],
        ["memory.swap.max = 0?", f"memory.max = {MIB}"],
    ),
    (
        {"memory": {"limit": MIB, "swap": -1}},
        [f"memory.limit_in_bytes = {MIB}", "memory.memsw.limit_in_bytes = -1?"],
        ["memory.swap.max = max?", f"memory.max = {MIB}"],
    ),
    ({"memory": {"swap": -1}}, ["memory.memsw.limit_in_bytes = -1?"], ["memory.swap.max = max?"]),
    (
        {"memory": {"limit": MIB, "swap": 0}},
        [f"memory.limit_in_bytes = {MIB}"],
        [f"memory.max = {MIB}"],
    ),
    ({"memory": {"limit": 0, "reservation": 0, "swap": 0}}, [], []),
    ({"memory": {"reservation": MIB}}, [f"memory.soft_limit_in_bytes = {MIB}"], [f"memory.low = {MIB}"]),
    ({"memory": {"reservation": -1}}, ["memory.soft_limit_in_bytes = -1?"], ["memory.low = max?"]),
    ({"memory": {"disableOOMKiller": False}}, ["memory.oom_control = 0?"], []),
    ({"memory": {"kernel": 1, "kernelTCP": 1, "useHierarchy": True}}, [], []),
    ({"cpu": {"shares": 1024}}, ["cpu.shares = 1024"], ["cpu.weight = 100"]),
    ({"cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0}}, [], []),
    ({"cpu": {"idle": 1, "shares": 2}}, ["cpu.idle = 1"], ["cpu.idle = 1"]),
    (
        {"cpu": {"idle": 0, "shares": 2}},
        ["cpu.idle = 0?", "cpu.shares = 2"],
        ["cpu.idle = 0?", "cpu.weight = 1"],
    ),
    ({"cpu": {"quota": 5000}}, ["cpu.cfs_quota_us = 5000"], ["cpu.max = 5000 100000"]),
    ({"cpu": {"quota": -7}}, ["cpu.cfs_quota_us = -1?"], ["cpu.max = max 100000?"]),
    ({"cpu": {"period": 5000}}, ["cpu.cfs_period_us = 5000"], ["cpu.max = max 5000?"]),
    (
        {"cpu": {"period": 50000, "quota": 20000, "burst": 10000}},
        ["cpu.cfs_period_us = 50000", "cpu.cfs_quota_us = 20000", "cpu.cfs_burst_us = 10000"],
        ["cpu.max = 20000 50000", "cpu.max.burst = 10000"],
    ),
    ({"cpu": {"burst": 0}}, ["cpu.cfs_burst_us = 0?"], ["cpu.max.burst = 0?"]),
    (
        {"cpu": {"cpus": "0-1", "mems": "0"}},
        ["cpuset.cpus = 0-1", "cpuset.mems = 0"],
        ["cpuset.cpus = 0-1", "cpuset.mems = 0"],
    ),
    ({"cpu": {"cpus": "", "mems": ""}}, [], []),
    ({"blockIO": {"weight": 10}}, ["blkio.weight = 10"], ["io.bfq.weight = 10"]),
    ({"blockIO": {"weight": 0, "leafWeight": 0}}, [], []),
    ({"blockIO": {"leafWeight": 20}}, ["blkio.leaf_weight = 20"], []),
    (
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 16, "weight": 500, "leafWeight": 300}]}},
        ["blkio.weight_device = 8:16 500", "blkio.leaf_weight_device = 8:16 300"],
        ["io.bfq.weight = 8:16 500"],
    ),
    (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 99}]}},
        ["blkio.throttle.read_bps_device = 8:0 99"],
        ["io.max = 8:0 rbps=99"],
    ),
    (
        {"blockIO": {"throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}},
        ["blkio.throttle.write_bps_device = 8:0 0"],
        ["io.max = 8:0 wbps=max"],
    ),
    (
        {
            "blockIO": {
                "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 1}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 1, "rate": 2}],
            }
        },
        ["blkio.throttle.read_iops_device = 8:0 1", "blkio.throttle.write_iops_device = 8:1 2"],
        ["io.max = 8:0 riops=1", "io.max = 8:1 wiops=2"],
    ),
    # The hybrid machine has this one beside v1.
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
        [f"hugetlb.2MB.max = {4 * MIB}", f"hugetlb.2MB.rsvd.max = {4 * MIB}?"],
        [f"hugetlb.2MB.max = {4 * MIB}", f"hugetlb.2MB.rsvd.max = {4 * MIB}?"],
    ),
)


@pytest.mark.parametrize(("members", "v1", "v2"), FIELDS, ids=lambda value: str(value)[:60])
def test_fields(members: dict[str, Any], v1: list[str], v2: list[str]) -> None:
    assert lines(V1, **members) == v1
    assert lines(V2, **members) == v2


ONE_SIDED: tuple[tuple[Host, dict[str, Any], list[str]], ...] = (
    (V1, {"memory": {"swappiness": 60}}, ["memory.swappiness = 60"]),
    (V1, {"memory": {"disableOOMKiller": True}}, ["memory.oom_control = 1"]),
    (
        V1,
        {"cpu": {"realtimeRuntime": 950, "realtimePeriod": 1000}},
        ["cpu.rt_period_us = 1000", "cpu.rt_runtime_us = 950"],
    ),
    (
        replace(V1, cgroup_hierarchies={"hugetlb": "/h"}),
        {"hugepageLimits": [{"pageSize": "1GB", "limit": 0}]},
        ["hugetlb.1GB.limit_in_bytes = 0", "hugetlb.1GB.rsvd.limit_in_bytes = 0?"],
    ),
    (NET, {"network": {"classID": 0x100001}}, ["net_cls.classid = 1048577"]),
    (
        NET,
        {"network": {"priorities": [{"name": "lo", "priority": 3}, {"name": "eth0", "priority": 0}]}},
        ["net_prio.ifpriomap = lo 3", "net_prio.ifpriomap = eth0 0"],
    ),
    (V2, {"network": {"classID": 1, "priorities": [{"name": "lo", "priority": 3}]}}, []),
    (
        V2,
        {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "a": {"hcaObjects": 1}}},
        ["rdma.max = mlx5_1 hca_handle=3 hca_object=10000", "rdma.max = a hca_object=1"],
    ),
    (
        V2,
        {
            "unified": {
                "memory.high": "1",
                "misc.max": "a 1\nb 2\n",
                "cpuset.cpus": "",
                "cgroup.max.depth": "3",
            }
        },
        ["memory.high = 1", "misc.max = a 1", "misc.max = b 2", "cpuset.cpus = ", "cgroup.max.depth = 3"],
    ),
    # The name of a file overrides what other members say of it, but for other devices.
    (
        V2,
        {
            "pids": {"limit": 3},
            "memory": {"limit": MIB},
            "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
            "unified": {"memory.max": "7", "pids.max": "max", "io.max": "9:0 rbps=1"},
        },
        ["io.max = 8:0 rbps=1", "memory.max = 7", "pids.max = max", "io.max = 9:0 rbps=1"],
    ),
)


@pytest.mark.parametrize(("host", "members", "expected"), ONE_SIDED, ids=lambda value: str(value)[:60])
def test_fields_of_one_version(host: Host, members: dict[str, Any], expected: list[str]) -> None:
    assert lines(host, **members) == expected


REFUSED: tuple[tuple[Host, dict[str, Any], type[Exception], str], ...] = (
    (V2, {"memory": {"swap": MIB}}, SpecError, "$.memory.swap"),
    (V1, {"memory": {"swap": MIB}}, SpecError, "$.memory.swap"),
    (V2, {"memory": {"limit": 2 * MIB, "swap": MIB}}, SpecError, "$.memory.swap"),
    (V1, {"memory": {"limit": 2 * MIB, "swap": MIB}}, SpecError, "$.memory.swap"),
    (V1, {"memory": {"limit": -1, "swap": MIB}}, SpecError, "$.memory.swap"),
    (V2, {"memory": {"swappiness": 0}}, UnsupportedError, "$.memory.swappiness"),
    (V2, {"memory": {"disableOOMKiller": True}}, UnsupportedError, "$.memory.disableOOMKiller"),
    (V2, {"cpu": {"realtimeRuntime": 1}}, UnsupportedError, "$.cpu.realtimeRuntime"),
    (V2, {"cpu": {"realtimePeriod": 1}}, UnsupportedError, "$.cpu.realtimePeriod"),
    (
        V2,
        {"hugepageLimits": [{"pageSize": "4MB", "limit": 1}]},
        UnsupportedError,
        "$.hugepageLimits[0].pageSize",
    ),
    (NET, {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, UnsupportedError, "$.hugepageLimits[0]"),
    (V1, {"network": {"classID": 1}}, UnsupportedError, "$.network.classID"),
    (
        V1,
        {"network": {"priorities": [{"name": "lo", "priority": 3}]}},
        UnsupportedError,
        "$.network.priorities[0]",
    ),
    (V1, {"rdma": {"a": {"hcaHandles": 1}}}, UnsupportedError, "$.rdma.a"),
    (NET, {"pids": {"limit": 1}}, UnsupportedError, "$.pids.limit"),
    (ROOTLESS, {"cpu": {"shares": 3}}, UnsupportedError, "$.cpu.shares"),
    (V1, {"unified": {"pids.max": "1"}}, UnsupportedError, '$.unified["pids.max"]'),
    (V2, {"unified": {"nosuch.max": "1"}}, UnsupportedError, '$.unified["nosuch.max"]'),
    (V2, {"unified": {"cgroup.procs": "1"}}, UnsupportedError, '$.unified["cgroup.procs"]'),
    (V2, {"unified": {"cgroup.kill": "1"}}, UnsupportedError, '$.unified["cgroup.kill"]'),
    (V2, {"unified": {"cgroup.freeze": "1"}}, UnsupportedError, '$.unified["cgroup.freeze"]'),
    (V2, {"unified": {"memory../../pids.max": "1"}}, SpecError, '$.unified["memory../../pids.max"]'),
)


@pytest.mark.parametrize(("host", "members", "error", "origin"), REFUSED, ids=lambda value: str(value)[:60])
def test_refused(host: Host, members: dict[str, Any], error: type[Exception], origin: str) -> None:
    with pytest.raises(error) as caught:
        writes(host, **members)

    assert caught.value.origin == origin  # type: ignore[attr-defined]


def test_an_ordinary_user_is_told_of_delegation() -> None:
    with pytest.raises(UnsupportedError, match="the io controller, delegated to us"):
        writes(ROOTLESS, blockIO={"weight": 10})


def test_every_write_has_the_address_of_what_asked_for_it() -> None:
    members = {key: value for each, _, _ in FIELDS[::-1] for key, value in each.items()}
    for host in (V1, V2):
        for write in cgroup_limits(resources(**members), host, "$.linux.resources"):
            assert write.origin.startswith("$.linux.resources.")
            assert write.controller == "" or write.file.startswith(f"{write.controller}.")


def test_what_hangs_together_is_written_as_a_group() -> None:
    groups = {
        write.file: write.group
        for write in writes(V1, memory={"limit": 1, "swap": 2}, cpu={"period": 1, "quota": 2})
    }
    assert groups == {
        "memory.limit_in_bytes": "memory",
        "memory.memsw.limit_in_bytes": "memory",
        "cpu.cfs_period_us": "bandwidth",
        "cpu.cfs_quota_us": "bandwidth",
    }
    assert {write.group for write in writes(V2, cpu={"quota": 9, "burst": 2})} == {"bandwidth"}


def test_shares_are_read_back() -> None:
    assert [write.exact for write in writes(V1, cpu={"shares": 1})] == [True]


def test_weights_have_a_second_file() -> None:
    (v1,), (v2,) = writes(V1, blockIO={"weight": 1000}), writes(V2, blockIO={"weight": 1000})
    assert v1.otherwise is not None
    assert v2.otherwise is not None
    assert (v1.otherwise.file, v1.otherwise.value) == ("blkio.bfq.weight", "1000")
    assert (v2.otherwise.file, v2.otherwise.value) == ("io.weight", "10000")
    (device,) = writes(V2, blockIO={"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]})
    assert device.otherwise is not None
    assert device.otherwise.value == "8:0 1"
    assert str(v2) == "io.bfq.weight = 1000, or else io.weight = 10000"


def test_a_limit_that_must_not_kill_is_bound_to_what_is_used() -> None:
    memory = {"limit": 5, "swap": 7, "checkBeforeUpdate": True}
    swap, limit = writes(V2, memory=memory)

    assert swap.only == (
        UsageBelow(("memory.current",), 5),
        UsageBelow(("memory.current", "memory.swap.current"), 7),
    )
    assert not limit.only
    assert "only with memory.current below 5" in str(swap)
    assert not any(write.only for write in writes(V1, memory=memory))
    assert not any(write.only for write in writes(V2, memory={"limit": 5, "swap": 7}))


# Conversions.


@pytest.mark.parametrize(
    ("shares", "weight"),
    [
        (1, 1),
        (2, 1),
        (3, 2),
        (100, 17),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (4096, 303),
        (262143, 10000),
        (2**40, 10000),
    ],
)
def test_cpu_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


@given(st.integers(1, 2**64 - 1), st.integers(1, 2**64 - 1))
def test_more_shares_are_never_less_weight(one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert 1 <= cpu_weight(less) <= cpu_weight(more) <= 10000


@given(st.integers(10, 1000), st.integers(10, 1000))
def test_io_weight(one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert 1 <= io_weight(less) <= io_weight(more) <= 10000
    assert (io_weight(10), io_weight(1000)) == (1, 10000)


# Updates.


def test_a_period_alone_keeps_the_quota() -> None:
    current = Resources(cpu=Cpu(quota=20000, period=100000))
    assert lines(V2, current, cpu={"period": 50000}) == ["cpu.max = 20000 50000"]
    assert lines(V2, current, cpu={"quota": 9}) == ["cpu.max = 9 100000"]
    by_name = Resources(unified={"cpu.max": "30000 40000"})
    assert lines(V2, by_name, cpu={"period": 50000}) == ["cpu.max = 30000 50000"]
    assert lines(V2, by_name, cpu={"quota": 9}) == ["cpu.max = 9 40000"]


def test_swap_goes_with_the_limit_that_holds() -> None:
    current = Resources(memory=Memory(limit=100, swap=300))
    assert lines(V2, current, memory={"swap": 500}) == ["memory.swap.max = 400"]
    assert lines(V2, current, memory={"limit": 200}) == ["memory.swap.max = 100", "memory.max = 200"]
    assert lines(V2, current, memory={"limit": -1}) == ["memory.swap.max = max?", "memory.max = max?"]
    assert lines(V1, current, memory={"limit": 200}) == ["memory.limit_in_bytes = 200"]
    for host in (V1, V2):
        with pytest.raises(SpecError, match="below its limit 400"):
            writes(host, current, memory={"limit": 400})


def test_a_check_that_was_asked_for_at_create_stays() -> None:
    current = Resources(memory=Memory(check_before_update=True))
    assert writes(V2, current, memory={"limit": 9})[0].only == (UsageBelow(("memory.current",), 9),)


def test_idle_has_no_shares() -> None:
    current = Resources(cpu=Cpu(idle=1))
    shares = resources(cpu={"shares": 5})
    assert lines(V1, current, cpu={"shares": 5}) == []
    assert [*limit_warnings(shares, V1, "$", current)] == ["$.cpu.shares: ignored, idle has no weight"]
    assert lines(V1, current, cpu={"shares": 5, "idle": 0}) == ["cpu.idle = 0?", "cpu.shares = 5"]


def test_merging_replaces_what_is_said_and_nothing_else() -> None:
    current = resources(
        memory={"limit": 1, "swap": 2},
        cpu={"shares": 3, "cpus": "0"},
        blockIO={
            "throttleReadBpsDevice": [
                {"major": 8, "minor": 0, "rate": 1},
                {"major": 9, "minor": 0, "rate": 2},
            ]
        },
        hugepageLimits=[{"pageSize": "2MB", "limit": 1}],
        rdma={"a": {"hcaHandles": 1, "hcaObjects": 2}},
        unified={"memory.high": "1", "pids.max": "9"},
        devices=[{"allow": False, "access": "rwm"}],
    )
    asked = resources(
        memory={"limit": 2},
        cpu={"quota": 7},
        blockIO={"throttleReadBpsDevice": [{"major": 9, "minor": 0, "rate": 0}]},
        hugepageLimits=[{"pageSize": "1GB", "limit": 2}],
        rdma={"a": {"hcaObjects": 3}},
        unified={"memory.low": "3"},
        pids={"limit": 4},
    )
    expected = resources(
        memory={"limit": 2, "swap": 2},
        cpu={"shares": 3, "cpus": "0", "quota": 7},
        blockIO={
            "throttleReadBpsDevice": [
                {"major": 8, "minor": 0, "rate": 1},
                {"major": 9, "minor": 0, "rate": 0},
            ]
        },
        hugepageLimits=[{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 2}],
        rdma={"a": {"hcaHandles": 1, "hcaObjects": 3}},
        unified={"memory.high": "1", "memory.low": "3"},
        devices=[{"allow": False, "access": "rwm"}],
        pids={"limit": 4},
    )
    # What was given by a file's name and has been overwritten since holds no more.
    assert updated(current, asked, cgroup_limits(asked, V2, "$", current)) == expected
    assert merged(current, Resources()) == current
    assert merged(Resources(), current) == current


# Warnings, and what asks for nothing.


@pytest.mark.parametrize(
    ("host", "members", "warned"),
    [
        (
            V2,
            {"network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]}},
            ["$.network.classID", "$.network.priorities"],
        ),
        (V1, {"blockIO": {"leafWeight": 10}}, []),
        (
            V2,
            {"blockIO": {"leafWeight": 10, "weightDevice": [{"major": 8, "minor": 0, "leafWeight": 11}]}},
            ["$.blockIO.leafWeight", "$.blockIO.weightDevice[0].leafWeight"],
        ),
        (V2, {"cpu": {"idle": 1, "shares": 1024}}, ["$.cpu.shares"]),
        (V2, {"cpu": {"idle": 0, "shares": 1024}}, []),
        (V2, {"cpu": {"shares": 1024}, "network": {"classID": 0}}, []),
    ],
    ids=lambda value: str(value)[:40],
)
def test_warnings(host: Host, members: dict[str, Any], warned: list[str]) -> None:
    found = [*limit_warnings(resources(**members), host, "$")]
    assert [text.partition(":")[0] for text in found] == warned


@pytest.mark.parametrize(
    ("members", "origin"),
    [
        ({}, None),
        ({"devices": [{"allow": False, "access": "rwm"}]}, None),
        (
            {"memory": {"limit": 0, "swap": -1, "disableOOMKiller": False}, "cpu": {"shares": 0, "cpus": ""}},
            None,
        ),
        ({"pids": {"limit": -1}, "blockIO": {"weight": 0, "weightDevice": []}, "unified": {}}, None),
        ({"memory": {"limit": 1}}, "$.memory.limit"),
        ({"memory": {"disableOOMKiller": True}}, "$.memory.disableOOMKiller"),
        ({"pids": {"limit": 0}}, "$.pids.limit"),
        ({"cpu": {"cpus": "0"}}, "$.cpu.cpus"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, "$.hugepageLimits"),
        ({"unified": {"memory.high": "1"}}, "$.unified"),
    ],
    ids=str,
)
def test_whether_anything_is_limited(members: dict[str, Any], origin: str | None) -> None:
    assert limited(resources(**members), "$") == origin
    assert limited(None, "$") is None


@given(st.integers(-1, 2**63 - 1), st.integers(-1, 2**63 - 1))
def test_swap_is_either_refused_or_adds_up(limit: int, swap: int) -> None:
    memory = {"limit": limit, "swap": swap}
    if swap > 0 and limit != -1 and (limit == 0 or swap < limit):
        with pytest.raises(SpecError):
            writes(V2, memory=memory)
        return
    values = {write.file: write.value for write in writes(V2, memory=memory)}
    if limit > 0 and swap > 0:
        assert int(values["memory.max"]) + int(values["memory.swap.max"]) == swap
    else:
        assert set(values.values()) <= {"max", str(limit), str(swap)}
