"""intelRdt in a plan: which group, what is written, who enters it when, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from plan_hosts import ROOTLESS, V2, compiled, names, options, rootless, spec, steps

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.compile import compile_plan, renamed
from aiocontainer.plan.exec import compile_exec
from aiocontainer.plan.host import Resctrl
from aiocontainer.plan.options import ExecOptions
from aiocontainer.plan.plan import ResctrlTasks
from aiocontainer.plan.steps import JoinCgroup
from aiocontainer.spec import IntelRdt, Process

if TYPE_CHECKING:
    from aiocontainer.plan.resctrl import ResctrlGroup

ROOT = "/sys/fs/resctrl"
FULL = replace(V2, resctrl=Resctrl(root=ROOT, resources=frozenset({"L3", "MB"}), monitoring=True))


def group(rdt: IntelRdt, **changes: Any) -> ResctrlGroup:
    plan = compiled(spec(intel_rdt=rdt), FULL, **changes)
    assert plan.resctrl is not None
    return plan.resctrl


def test_the_name_is_the_id_unless_given() -> None:
    assert (group(IntelRdt()).directory, group(IntelRdt()).named) == (f"{ROOT}/web", False)
    named = group(IntelRdt(clos_id="gold"))
    assert (named.directory, named.named) == (f"{ROOT}/gold", True)
    assert group(IntelRdt(clos_id="/")).directory == ROOT


def test_lines_are_in_order() -> None:
    rdt = IntelRdt(l3_cache_schema="L3:0=1\nL3:1=1", mem_bw_schema="MB:0=10", schemata=("L2:0=1", "L3:0=3"))
    assert group(rdt).lines == ("L3:0=1", "L3:1=1", "MB:0=10", "L2:0=1", "L3:0=3")


def test_it_is_entered_first_of_all() -> None:
    plan = compiled(spec(intel_rdt=IntelRdt(enable_monitoring=True)), FULL)
    assert names(plan)[:2] == ["JoinCgroup", "JoinCgroup"]
    files = [plan.fds[step.fd] for step in steps(plan, JoinCgroup)]
    assert files == [ResctrlTasks(f"{ROOT}/web/tasks"), ResctrlTasks(f"{ROOT}/web/mon_groups/web/tasks")]
    assert str(steps(plan, JoinCgroup)[0]) == "enter the group in resctrl"


def test_an_exec_enters_it_too() -> None:
    files = group(IntelRdt(clos_id="gold")).task_files
    recorded = ExecOptions(id="web", namespaces={"mount": 5}, resctrl=files)
    plan = compile_exec(Process(args=("id",), cwd="/"), spec(), FULL, recorded)
    assert plan.fds[steps(plan, JoinCgroup)[0].fd] == ResctrlTasks(f"{ROOT}/gold/tasks")


def test_another_id_is_another_group() -> None:
    for rdt in (IntelRdt(enable_monitoring=True), IntelRdt(clos_id="gold", enable_monitoring=True), None):
        value = spec(intel_rdt=rdt)
        other = options(id="other")
        fresh = compile_plan(value, FULL, other)
        assert renamed(compile_plan(value, FULL, options()), value, FULL, other) == fresh


def test_the_listing_tells_of_it() -> None:
    text = compiled(spec(intel_rdt=IntelRdt(clos_id="gold", schemata=("L3:0=1",))), FULL).listing()
    assert f"resctrl:\n    {ROOT}/gold\n    L3:0=1\n" in text


@pytest.mark.parametrize(
    ("rdt", "lacks", "origin"),
    [
        (IntelRdt(), {"resctrl": None}, "$.linux.intelRdt"),
        (IntelRdt(l3_cache_schema="L3CODE:0=1"), {}, "$.linux.intelRdt.l3CacheSchema"),
        (IntelRdt(mem_bw_schema="MB:0=1"), {"resctrl": Resctrl(root=ROOT)}, "$.linux.intelRdt.memBwSchema"),
        (
            IntelRdt(enable_monitoring=True),
            {"resctrl": Resctrl(root=ROOT)},
            "$.linux.intelRdt.enableMonitoring",
        ),
    ],
)
def test_what_the_machine_lacks(rdt: IntelRdt, lacks: dict[str, Any], origin: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        compiled(spec(intel_rdt=rdt), replace(FULL, **lacks))
    assert caught.value.origin == origin


def test_an_ordinary_user() -> None:
    value = rootless()
    assert value.linux is not None
    value = replace(value, linux=replace(value.linux, intel_rdt=IntelRdt()))
    with pytest.raises(UnsupportedError, match="root"):
        compile_plan(value, replace(ROOTLESS, resctrl=FULL.resctrl), options())


@pytest.mark.parametrize("name", ["info", "mon_groups", "mon_data"])
def test_names_of_the_file_system_itself(name: str) -> None:
    with pytest.raises(SpecError):
        compiled(spec(intel_rdt=IntelRdt(clos_id=name)), FULL)
    with pytest.raises(SpecError):
        compiled(spec(intel_rdt=IntelRdt()), FULL, id=name)


@pytest.mark.parametrize("name", [".", "..", "a/b", "a\nb", "x" * 256])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        compiled(spec(intel_rdt=IntelRdt(clos_id=name)), FULL)
    assert caught.value.origin == "$.linux.intelRdt.closID"
