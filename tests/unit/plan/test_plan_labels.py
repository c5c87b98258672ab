"""Labels of security modules: where they stand in a plan, and what is refused."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from plan_hosts import V1, V2, compiled, names, spec, steps

from aiocontainer.errors import BootstrapError, UnsupportedError
from aiocontainer.plan.exec import compile_exec
from aiocontainer.plan.flags import LABEL_APPARMOR_EXEC, LABEL_SELINUX_EXEC, LABEL_SELINUX_KEYS
from aiocontainer.plan.options import ExecOptions
from aiocontainer.plan.steps import FileLabel, Label, Mask, Mount
from aiocontainer.spec import Mount as SpecMount
from aiocontainer.spec import Process, Spec

if TYPE_CHECKING:
    from aiocontainer.plan.plan import Plan

BOTH = replace(V1, apparmor=True, selinux=True)
LABEL = "system_u:system_r:container_t:s0:c1,c2"
FILES = "system_u:object_r:container_file_t:s0:c1,c2"
LABELLED = spec(apparmor_profile="docker-default", selinux_label=LABEL)
MOUNTS = (
    SpecMount(destination="/proc", type="proc"),
    SpecMount(destination="/dev", type="tmpfs", options=("mode=755",)),
    SpecMount(destination="/dev/pts", type="devpts"),
    SpecMount(destination="/dev/mqueue", type="mqueue"),
    SpecMount(destination="/sys", type="sysfs"),
    SpecMount(destination="/own", type="tmpfs", options=("context=mine",)),
    SpecMount.bind("/srv", "/srv"),
)


def executed(of: Spec, **changes: Any) -> Plan:
    options = ExecOptions(id="web", namespaces={"mount": 5, "pid": 4}, keyring=True)
    return compile_exec(Process(args=("id",), cwd="/", **changes), of, BOTH, options)


def labels(plan: Plan) -> list[tuple[int, str]]:
    return [(step.kind, step.label) for step in steps(plan, Label)]


@pytest.mark.parametrize("plan", [compiled(LABELLED, BOTH), executed(LABELLED)], ids=["init", "exec"])
def test_what_is_labelled_when(plan: Plan) -> None:
    assert labels(plan) == [
        (LABEL_SELINUX_KEYS, LABEL),
        (LABEL_SELINUX_KEYS, ""),
        (LABEL_APPARMOR_EXEC, "docker-default"),
        (LABEL_SELINUX_EXEC, LABEL),
    ]
    order = names(plan)
    assert order.count("Procfs") == 1
    first = order.index("Label")
    assert order[first : first + 3] == ["Label", "Keyring", "Label"]
    assert order.index("Procfs") < first
    last = len(order) - order[::-1].index("Label") - 1
    assert order[last - 2 : last + 2] == ["Cwd", "Label", "Label", "Program"]


def test_a_procfs_is_taken_in_the_last_process() -> None:
    order = names(executed(LABELLED))
    assert order.index("Fork") < order.index("Procfs")


def test_one_procfs_is_enough_for_all_who_need_one() -> None:
    old = replace(BOTH, kernel=(6, 1))
    assert names(compiled(LABELLED, old, no_pivot=True)).count("Procfs") == 1
    assert names(compiled(spec(), old)).count("Procfs") == 1


def test_nothing_of_it_is_there_unless_asked_for() -> None:
    assert not {"Label", "FileLabel", "Procfs"} & {*names(compiled(spec(), BOTH))}
    assert not steps(executed(spec()), Label)
    assert names(compiled(spec(selinux_label=LABEL), BOTH, no_new_keyring=True)).count("Label") == 1


def test_an_exec_has_its_own_or_those_of_the_container() -> None:
    plan = executed(LABELLED, apparmor_profile="other")
    assert (LABEL_APPARMOR_EXEC, "other") in labels(plan)
    assert steps(plan, Label)[-2].origin == "$.apparmorProfile"


@pytest.mark.parametrize(
    ("changes", "origin", "named"),
    [
        ({"apparmor_profile": "docker-default"}, "$.process.apparmorProfile", "docker-default"),
        ({"apparmor_profile": "unconfined"}, "$.process.apparmorProfile", "unconfined"),
        ({"selinux_label": LABEL}, "$.process.selinuxLabel", LABEL),
        ({"mount_label": FILES}, "$.linux.mountLabel", FILES),
    ],
)
def test_a_machine_without_the_module(changes: dict[str, Any], origin: str, named: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        compiled(spec(**changes), V2)
    assert caught.value.origin == origin
    assert named in str(caught.value)


def test_new_file_systems_are_labelled() -> None:
    plan = compiled(spec(mounts=MOUNTS, mount_label=FILES, masked_paths=("/x",)), BOTH)
    context = f"context={FILES}"
    assert {step.target: context in step.data for step in steps(plan, Mount)} == {
        "/proc": False,
        "/dev": True,
        "/dev/pts": True,
        "/dev/mqueue": False,
        "/sys": False,
        "/own": False,
    }
    assert steps(plan, FileLabel) == [FileLabel("$.linux.mountLabel", "/dev/mqueue", FILES)]
    assert steps(plan, Mask)[0].record().strings == ("/x", FILES)


def test_errors_say_what_the_kernel_may_mean() -> None:
    step = Label("$.process.apparmorProfile", LABEL_APPARMOR_EXEC, "none")
    assert "no such profile" in str(BootstrapError(step, errno.ENOENT, call="write"))
    assert "another label" in str(BootstrapError(step, errno.EXDEV, call="verify"))
    assert str(Label("", LABEL_SELINUX_KEYS, "")) == "give new keys SELinux label of the policy"
