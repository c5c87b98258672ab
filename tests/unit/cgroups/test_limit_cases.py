"""The cases of limits: every field is in them, and the cgroup of the mind answers as others do."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.limit_cases import CASES, TRIED, Case, addresses, answer, expected, is_right

from aiocontainer.cgroups.fake import FakeCgroup
from aiocontainer.cgroups.parse import written
from aiocontainer.errors import CgroupError, UnsupportedError
from aiocontainer.plan.host import CgroupMode, Host
from aiocontainer.plan.limits import cgroup_limits, limit_warnings
from aiocontainer.plan.unit_resources import unit_limits
from aiocontainer.spec import Resources, decode_resources

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = Host(
    kernel=(6, 1),
    euid=0,
    egid=0,
    capabilities=(1 << 41) - 1,
    cgroup_mode=CgroupMode.V2,
    cgroup_hierarchies={"": "/sys/fs/cgroup"},
    cgroup_delegated=True,
    cgroup_controllers=frozenset({"memory", "pids", "cpu", "cpuset", "io", "hugetlb", "rdma"}),
    hugepage_sizes=frozenset({"2MB"}),
    systemd=257,
)


def resources(members: Mapping[str, Any]) -> Resources:
    return decode_resources(json.dumps(members).encode())


def test_every_field_is_set_and_changed() -> None:
    """One that comes to the model without a case fails here."""
    sys.path.insert(0, str(Path(__file__).parents[3] / "docs/make"))
    try:
        fields = importlib.import_module("fields").addresses()
    finally:
        sys.path.pop(0)
    above = "$.linux.resources"
    all = {each.replace(above, "$") for each in fields if each.startswith(f"{above}.")}
    assert len(all) > 45
    for part in ("first", "then"):
        asked = {each for case in CASES for each in addresses(getattr(case, part))}
        assert asked - all == set()
        assert all - asked - TRIED == ({"$.memory.checkBeforeUpdate"} if part == "first" else UNCHANGED)


UNCHANGED = {"$.cpu.mems", "$.rdma{}.hcaObjects"}
"""Most machines have one memory node; the other is of a device that no machine has."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_fake_answers_as_others_do(case: Case) -> None:
    wanted, cgroup = answer(case, HOST), FakeCgroup()
    cgroup.refused.add("rdma.max")
    current = resources(case.first)
    try:
        cgroup.set_limits(cgroup_limits(current, HOST, "$"))
    except (UnsupportedError, CgroupError) as exc:
        refusal: UnsupportedError | CgroupError | None = exc
    else:
        refusal = None
    if refusal is not None:
        assert is_right(case, wanted, refusal)
        return
    assert not wanted.refused
    found = {file: cgroup.files[file] for file in wanted.held if file in cgroup.files}
    assert bool(found) == bool(wanted.held)
    assert found == expected(wanted, found, 0)
    assert wanted.told in " ".join(limit_warnings(current, HOST, "$"))
    cgroup.set_limits(cgroup_limits(resources(case.then), HOST, "$", current))
    assert {file: cgroup.files[file] for file in found} == expected(wanted, found, 1)


@pytest.mark.parametrize("case", [case for case in CASES if case.unit], ids=str)
def test_a_unit_is_told_what_it_is_to_say(case: Case) -> None:
    current, then = resources(case.first), resources(case.then)
    told: dict[str, Any] = {}
    for turn, (asked, before) in enumerate(((current, None), (then, current))):
        limits = unit_limits(cgroup_limits(asked, HOST, "$", before), asked, HOST, before)
        told |= {each.name: each.value for each in limits.properties}
        for name, values in case.unit.items():
            if name in told and isinstance(told[name], int):
                assert told[name] == values[turn], name
    assert case.unit.keys() <= told.keys()


@pytest.mark.parametrize(
    ("file", "values", "text"),
    [
        ("pids.max", ("5", "max"), "max"),
        ("io.max", ("8:0 rbps=5", "8:0 wiops=7", "8:16 wbps=1"), None),
        ("io.max", ("8:0 rbps=5", "8:0 rbps=max"), ""),
        ("io.weight", ("8:0 200",), "default 100\n8:0 200"),
        ("io.weight", ("300", "8:0 200", "8:0 default"), "default 300"),
        ("blkio.throttle.read_bps_device", ("8:0 5", "8:16 6", "8:0 0"), "8:16 6"),
        ("rdma.max", ("a hca_handle=2", "a hca_object=3"), "a hca_handle=2 hca_object=3"),
    ],
)
def test_what_a_file_holds_after_writes(file: str, values: tuple[str, ...], text: str | None) -> None:
    held = ""
    for value in values:
        held = written(file, held, value)
    lines = "8:0 rbps=5 wbps=max riops=max wiops=7\n8:16 rbps=max wbps=1 riops=max wiops=max"
    assert held == (lines if text is None else text)
