"""T03, CVE-2014-6408: properties of a unit, which labels of an image ask for, act on the machine.

An engine copies labels of an image into annotations.  They change nothing of the plan, but for
properties of a unit, where systemd makes one, and there the caller says how far they are trusted; and for
the name of the cgroup below that unit's which has the processes.  That one harms nobody, as the limits
stay above it, as long as it is a name, and nobody else's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from aiocontainer import Spec, SpecError
from aiocontainer.plan.compile import compile_plan
from aiocontainer.plan.host import CgroupMode
from aiocontainer.plan.options import Options
from aiocontainer.probe import probe
from aiocontainer.spec import Pids, Resources

if TYPE_CHECKING:
    from aiocontainer.plan.plan import Plan

# Of runc, crun and the engines: each asks a runtime for something that the image's user would not.
LABELS = {
    "run.oci.seccomp.receiver": "/run/attacker.sock",
    "run.oci.seccomp.plugins": "/rootfs/plugin.so",
    "run.oci.seccomp_fail_unknown_syscall": "0",
    "run.oci.hooks.stdout": "/etc/cron.d/attack",
    "run.oci.hooks.stderr": "/etc/cron.d/attack",
    "run.oci.keep_original_groups": "1",
    "run.oci.delegate-cgroup": "/",
    "run.oci.pidfd_receiver": "/run/attacker.sock",
    "run.oci.handler": "krun",
    "org.criu.config": "/rootfs/criu.conf",
    "io.kubernetes.cri.container-type": "sandbox",
    "bundle": "/rootfs",
}

ACTIONS = {
    "SuccessAction": "'reboot'",
    "FailureAction": "'poweroff-force'",
    "JobTimeoutAction": "'reboot'",
    "RebootArgument": "'firmware'",
    "OnSuccess": "['attack.service']",
    "Wants": "['attack.service']",
    "Conflicts": "['sshd.service']",
    "PropagatesStopTo": "['sshd.service']",
    "PIDs": "[uint32 1]",
    "Slice": "'-.slice'",
    "Delegate": "false",
    "User": "'nobody'",
    "DevicePolicy": "'auto'",
    "DeviceAllow": "[('/dev/sda', 'rwm')]",
    "BPFProgram": "[('device', '/sys/fs/bpf/allow')]",
    "IPEgressFilterPath": "['/sys/fs/bpf/allow']",
    "RefuseManualStop": "true",
}

HOST = replace(
    probe(),
    euid=0,
    systemd=257,
    user_manager=False,
    cgroup_mode=CgroupMode.V2,
    cgroup_hierarchies={"": "/sys/fs/cgroup"},
    cgroup_controllers=frozenset({"pids"}),
    init_cgroup={"": "/"},
)


def compiled(spec: Spec, driver: str, policy: str = "careful") -> Plan:
    options = Options(id="t03", bundle="/bundle", cgroup_driver=driver, property_policy=policy)  # type: ignore[arg-type]
    return compile_plan(spec, HOST, options)


def test_labels_change_nothing() -> None:
    """Not even where everything is trusted: the state and the hooks get to see them, and that is all."""
    plain = Spec.default(["true"], rootfs="/rootfs")
    labelled = replace(plain, annotations=LABELS)

    for driver in ("cgroupfs", "systemd"):
        assert compiled(labelled, driver, "any") == compiled(plain, driver, "any")


SUBGROUP = "run.oci.systemd.subgroup"


@pytest.mark.parametrize(
    "text",
    [
        *("../..", "..", ".", "/", "/system.slice", "a/b", "a/../../b", "container/"),
        *(" ", "a b", "a\n0::/b"),
        *(
            "cgroup.procs",
            "memory.max",
            "hugetlb.2MB.max",
            "misc.max",
            "tasks",
            "_a",
            "-a",
            "\u00e4",
            "a" * 256,
        ),
        *("sshd.service", "docker-0123.scope", "machine.slice"),
    ],
)
def test_processes_are_led_nowhere_else(text: str) -> None:
    """Refused by the address, whoever is trusted; without a unit there is no such cgroup."""
    plain = Spec.default(["true"], rootfs="/rootfs")
    labelled = plain.with_annotation(SUBGROUP, text)

    for policy in ("careful", "untrusted", "any"):
        with pytest.raises(SpecError) as caught:
            compiled(labelled, "systemd", policy)
        assert caught.value.origin == f'$.annotations["{SUBGROUP}"]'
    assert compiled(labelled, "cgroupfs") == compiled(plain, "cgroupfs")


def test_a_name_for_the_cgroup_of_the_processes_changes_nothing_else() -> None:
    plain = Spec.default(["true"], rootfs="/rootfs")
    plan = compiled(plain.with_annotation(SUBGROUP, "container"), "systemd", "untrusted")

    assert plan.cgroup is not None
    assert plan.cgroup.unit is not None
    assert plan.cgroup.unit.subgroup == "container"
    unit = replace(plan.cgroup.unit, subgroup="")
    same = replace(plan, cgroup=replace(plan.cgroup, unit=unit))
    assert same == compiled(plain, "systemd", "untrusted")


@pytest.mark.parametrize(("name", "text"), ACTIONS.items())
def test_no_property_acts_on_the_machine(name: str, text: str) -> None:
    spec = Spec.default(["true"], rootfs="/rootfs").with_annotation(f"org.systemd.property.{name}", text)

    for policy in ("careful", "untrusted"):
        with pytest.raises(SpecError, match=f"{name} is refused"):
            compiled(spec, "systemd", policy)
    # Without systemd they are words.
    plan = compiled(spec, "cgroupfs")
    assert plan.cgroup is None or plan.cgroup.unit is None
    assert not plan.warnings


def test_limits_of_the_document_win_over_those_of_a_label() -> None:
    """The manager is told them last, when the unit has started."""
    spec = Spec.default(["true"], rootfs="/rootfs").with_annotation(
        "org.systemd.property.TasksMax", "uint64 18446744073709551615"
    )
    assert spec.linux is not None
    limited = replace(spec, linux=replace(spec.linux, resources=Resources(pids=Pids(limit=5))))

    cgroup = compiled(limited, "systemd", "untrusted").cgroup
    assert cgroup is not None
    assert cgroup.unit is not None
    assert [each.value for each in cgroup.unit.resources if each.name == "TasksMax"] == [5]
    assert [write.value for write in cgroup.limits if write.file == "pids.max"] == ["5"]
