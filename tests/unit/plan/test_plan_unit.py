"""Where a unit is, and what it begins with.  systemd.scope(5), systemd.slice(5)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from plan_hosts import (
    HOSTS,
    SYSTEMD,
    SYSTEMD_USER,
    SYSTEMD_V1,
    V2,
    compiled,
    names,
    options,
    rootless,
    spec,
    steps,
)

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.compile import compile_plan, renamed
from aiocontainer.plan.flags import PAUSE_CGROUP
from aiocontainer.plan.host import CgroupMode, Host
from aiocontainer.plan.steps import JoinCgroup
from aiocontainer.plan.unit import expanded_slice
from aiocontainer.plan.unit_plan import base_properties

if TYPE_CHECKING:
    from aiocontainer.plan.plan import CgroupPlan, Plan
    from aiocontainer.plan.unit import UnitPlan
    from aiocontainer.spec import Spec


def planned(value: Spec | None = None, host: Host = SYSTEMD, **changes: Any) -> Plan:
    return compiled(value or spec(), host, cgroup_driver="systemd", **changes)


def cgroup(plan: Plan) -> CgroupPlan:
    assert plan.cgroup is not None
    return plan.cgroup


def unit(plan: Plan) -> UnitPlan:
    made = cgroup(plan).unit
    assert made is not None
    return made


def started(plan: Plan) -> dict[str, object]:
    return {each.name: each.value for each in unit(plan).properties}


@pytest.mark.parametrize(
    ("path", "name", "slice", "directory"),
    [
        ("", "aiocontainer-web.scope", "system.slice", "/system.slice/aiocontainer-web.scope"),
        (":p:n", "p-n.scope", "system.slice", "/system.slice/p-n.scope"),
        ("a.slice:p:n", "p-n.scope", "a.slice", "/a.slice/p-n.scope"),
        ("a-b-c.slice:p:n", "p-n.scope", "a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
        ("-.slice:p:n", "p-n.scope", "-.slice", "/p-n.scope"),
        ("a.slice::n", "n.scope", "a.slice", "/a.slice/n.scope"),
        ("::n", "n.scope", "system.slice", "/system.slice/n.scope"),
        (r"a.slice:p:n\x2b", r"p-n\x2b.scope", "a.slice", r"/a.slice/p-n\x2b.scope"),
        ("a.slice:p:u@1", "p-u@1.scope", "a.slice", "/a.slice/p-u@1.scope"),
        # What the kernel could take for a file of its own gets a mark.
        ("::_n", "_n.scope", "system.slice", "/system.slice/__n.scope"),
        ("::memory.n", "memory.n.scope", "system.slice", "/system.slice/_memory.n.scope"),
        ("cpu.slice:p:n", "p-n.scope", "cpu.slice", "/_cpu.slice/p-n.scope"),
        ("::cgroup.n", "cgroup.n.scope", "system.slice", "/system.slice/_cgroup.n.scope"),
    ],
)
def test_names(path: str, name: str, slice: str, directory: str) -> None:
    plan = planned(spec(cgroups_path=path))

    assert (unit(plan).name, unit(plan).slice) == (name, slice)
    assert cgroup(plan).paths == {"": f"/sys/fs/cgroup{directory}"}
    assert started(plan)["Slice"] == slice


@pytest.mark.parametrize(
    "path",
    [
        *("/a", "/a:b:c", "a", "a:b", "a.slice:b:c:d", "a/b:c:d"),
        *("a:b:c", "a/b.slice:p:n", "a--b.slice:p:n", "-a.slice:p:n", "a-.slice:p:n", ".slice:p:n"),
        *("--.slice:p:n", "../a.slice:p:n", "...slice:p:n", "a b.slice:p:n", "é.slice:p:n"),
        *("a.slice:p:", "a.slice::", "a.slice:p:n/x", "a.slice:p/..:n", "a.slice:p:n n", "a.slice::@n"),
        *("a.slice:p:n@", "a.slice:p:" + "n" * 250, "a" * 260 + ".slice:p:n"),
    ],
)
def test_no_place_for_a_unit(path: str) -> None:
    with pytest.raises(SpecError) as caught:
        planned(spec(cgroups_path=path))

    assert caught.value.origin == "$.linux.cgroupsPath"


def test_processes_are_in_scopes() -> None:
    with pytest.raises(UnsupportedError, match="slices none"):
        planned(spec(cgroups_path="a.slice::b.slice"))


def test_an_id_is_written_as_systemd_escapes_it() -> None:
    assert unit(planned(id="a+b_c.d")).name == r"aiocontainer-a\x2bb_c.d.scope"
    assert unit(planned(id="system.slice")).name == "aiocontainer-system.slice.scope"


@given(st.text("ab-./_ ", max_size=8))
def test_a_slice_is_below_its_parents_or_refused(stem: str) -> None:
    try:
        path = expanded_slice(f"{stem}.slice")
    except SpecError:
        return
    parts = path.split("/") if path else []
    assert ".." not in parts
    assert len(parts) == (0 if stem == "-" else stem.count("-") + 1)
    assert all(part.endswith(".slice") for part in parts)


def test_each_hierarchy_of_v1_has_it_below_its_manager() -> None:
    assert cgroup(planned(host=SYSTEMD_V1)).paths == {
        "cpu,cpuacct": "/sys/fs/cgroup/cpu,cpuacct/system.slice/aiocontainer-web.scope",
        "net_cls,net_prio": "/sys/fs/cgroup/net_cls,net_prio/system.slice/aiocontainer-web.scope",
        "devices": "/sys/fs/cgroup/devices/system.slice/aiocontainer-web.scope",
        "name=systemd": "/sys/fs/cgroup/systemd/machine/system.slice/aiocontainer-web.scope",
    }


def test_an_ordinary_user_has_his_own_manager() -> None:
    plan = planned(rootless(), SYSTEMD_USER)

    assert unit(plan).user
    assert unit(plan).slice == "user.slice"
    manager = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"
    assert cgroup(plan).paths == {"": f"{manager}/user.slice/aiocontainer-web.scope"}
    assert cgroup(planned(rootless(), replace(SYSTEMD_USER, user_manager_cgroup=""))) == cgroup(plan)
    assert not unit(plan).resources  # no say over devices


@pytest.mark.parametrize(
    ("host", "needs"),
    [
        (V2, "/run/systemd/system"),
        (replace(HOSTS["no-cgroups"], systemd=257), "a mounted cgroup hierarchy"),
        (replace(SYSTEMD_V1, user_manager=True), "cgroup v2, or root"),
    ],
)
def test_what_the_driver_needs(host: Host, needs: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        planned(host=host)

    assert needs in caught.value.needs


def test_it_is_begun_with_what_makes_the_cgroup_ours() -> None:
    assert [(each.name, each.signature, each.value) for each in unit(planned()).properties] == [
        ("Description", "s", "aiocontainer container web"),
        ("Slice", "s", "system.slice"),
        ("Delegate", "b", True),
        ("MemoryAccounting", "b", True),
        ("CPUAccounting", "b", True),
        ("TasksAccounting", "b", True),
        ("IOAccounting", "b", True),
        ("DefaultDependencies", "b", False),
    ]
    assert "BlockIOAccounting" in started(planned(host=SYSTEMD_V1))


def test_a_slice_is_wanted_and_not_delegated() -> None:
    properties = base_properties("a-b.slice", "a.slice", SYSTEMD, description="pods")

    assert [(each.name, each.value) for each in properties][:2] == [
        ("Description", "pods"),
        ("Wants", ["a.slice"]),
    ]
    assert "Delegate" not in [each.name for each in properties]


def test_the_process_waits_before_anything_else_and_joins_nothing_itself() -> None:
    for host in (SYSTEMD, SYSTEMD_V1):
        plan = planned(host=host)
        first = plan.steps[0]
        assert (type(first).__name__, first.kind) == ("Pause", PAUSE_CGROUP)  # type: ignore[union-attr]
        assert not steps(plan, JoinCgroup)
        # The rest is as with the other driver.
        assert names(plan)[1:] == [name for name in names(compiled(spec(), host)) if name != "JoinCgroup"]


def test_no_cgroup_no_unit() -> None:
    plan = planned(cgroups=False)

    assert plan.cgroup is None
    assert names(plan)[0] != "Pause"


def test_renaming_renames_the_unit() -> None:
    value = spec(annotations={"org.systemd.property.CollectMode": "'inactive'"})
    plan = planned(value)
    other = renamed(plan, value, SYSTEMD, options(id="another+1", cgroup_driver="systemd"))

    assert other == compile_plan(value, SYSTEMD, options(id="another+1", cgroup_driver="systemd"))
    assert unit(other).name == r"aiocontainer-another\x2b1.scope"
    assert started(other)["Description"] == "aiocontainer container another+1"


def test_a_description_that_was_asked_for_stays() -> None:
    value = spec(annotations={"org.systemd.property.Description": "'mine'"})
    other = renamed(planned(value), value, SYSTEMD, options(id="another", cgroup_driver="systemd"))

    assert started(other)["Description"] == "mine"


def test_the_other_driver_ignores_properties() -> None:
    """Engines always give some."""
    value = spec(annotations={"org.systemd.property.CollectMode": "malformed"})

    assert compiled(value, SYSTEMD).warnings == ()
    with pytest.raises(UnsupportedError, match="systemd cgroup driver"):
        compiled(spec(), SYSTEMD, systemd_properties=(("CollectMode", "'inactive'"),))


def test_the_listing_shows_each_property_with_its_address() -> None:
    value = spec(annotations={"org.systemd.property.TimeoutStopSec": "2.5"})
    lines = planned(value).listing().splitlines()

    assert "    aiocontainer-web.scope in system.slice" in lines
    (line,) = [line for line in lines if "TimeoutStop" in line]
    assert line.split() == [
        "TimeoutStopUSec",
        "=",
        "uint64",
        "2500000",
        '$.annotations["org.systemd.property.TimeoutStopSec"]',
    ]


SUBGROUP = "run.oci.systemd.subgroup"


def test_the_name_of_the_cgroup_for_its_processes() -> None:
    plan = planned(spec(annotations={SUBGROUP: "container"}))

    assert unit(plan).subgroup == "container"
    assert cgroup(plan).paths == cgroup(planned()).paths
    assert "    its processes live in its cgroup container" in plan.listing().splitlines()
    again = renamed(plan, spec(annotations={SUBGROUP: "container"}), SYSTEMD, options(id="other"))
    assert unit(again).subgroup == "container"
    for none in ({}, {SUBGROUP: ""}):
        assert unit(planned(spec(annotations=none))).subgroup == ""


def test_such_a_cgroup_is_of_v2_alone() -> None:
    value = spec(annotations={SUBGROUP: "container"})

    with pytest.raises(UnsupportedError, match="needs cgroup v2") as caught:
        planned(value, SYSTEMD_V1)
    assert caught.value.origin == f'$.annotations["{SUBGROUP}"]'
    own = replace(rootless(), annotations={SUBGROUP: "container"})
    assert unit(planned(own, SYSTEMD_USER)).subgroup == "container"


@pytest.mark.parametrize(
    ("path", "name", "slice", "below"),
    [
        ("p:n", "p-n.scope", "system.slice", ""),
        (":n", "n.scope", "system.slice", ""),
        ("p:n/a", "p-n.scope", "system.slice", "a"),
        ("a.slice:p:n/a/b.c", "p-n.scope", "a.slice", "a/b.c"),
        ("a.slice:p:n", "p-n.scope", "a.slice", ""),
        ("", "aiocontainer-web.scope", "system.slice", ""),
    ],
)
def test_lenient_paths(path: str, name: str, slice: str, below: str) -> None:
    plan = planned(spec(cgroups_path=path), lenient_paths=True)

    assert (unit(plan).name, unit(plan).slice, unit(plan).subgroup) == (name, slice, below)
    assert cgroup(plan).paths[""] == f"/sys/fs/cgroup/{slice}/{name}"
    if path.count(":") != 2 or below:
        with pytest.raises(SpecError) if path else nullcontext():
            planned(spec(cgroups_path=path))


@pytest.mark.parametrize(
    "path",
    [
        *("n", "/p:n", "a:b:c:d", "p:", "p:/", "p:/a", "p:n/", "p:n//a", "p:n/../../x", "p:n/./a"),
        *("p:n/cgroup.procs", "p:n/x.service", "a.slice:p:n/a b", "a.slice:p:n.slice/a", "a/b:p:n"),
    ],
)
def test_lenient_is_not_lawless(path: str) -> None:
    with pytest.raises((SpecError, UnsupportedError)) as caught:
        planned(spec(cgroups_path=path), lenient_paths=True)
    assert caught.value.origin == "$.linux.cgroupsPath"


def test_a_path_and_an_annotation_lead_below() -> None:
    value = spec(cgroups_path="p:n/a/b", annotations={SUBGROUP: "c"})

    assert unit(planned(value, lenient_paths=True)).subgroup == "a/b/c"
    with pytest.raises(UnsupportedError, match="needs cgroup v2") as caught:
        planned(spec(cgroups_path="p:n/a"), SYSTEMD_V1, lenient_paths=True)
    assert caught.value.origin == "$.linux.cgroupsPath"


def test_hybrid_machines_have_it_in_the_unified_hierarchy_too() -> None:
    host = replace(
        HOSTS["linux-6.18-v1"], systemd=250, init_cgroup={"memory": "/", "": "/"}, cgroup_mode=CgroupMode.V1
    )

    assert (
        cgroup(planned(host=host)).paths[""] == "/sys/fs/cgroup/unified/system.slice/aiocontainer-web.scope"
    )
