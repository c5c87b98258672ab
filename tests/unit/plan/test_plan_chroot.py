"""Containers without a mount namespace: nothing may be mounted for them, anywhere."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from plan_hosts import HOSTS, V2, compiled, namespaces, spec, steps

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.exec import compile_exec
from aiocontainer.plan.flags import CLONE_NEWNS, PIVOT_CHROOT, ROOTFS_OPEN
from aiocontainer.plan.options import ExecOptions
from aiocontainer.plan.plan import Directory, InitRoot
from aiocontainer.plan.steps import (
    Bind,
    Device,
    Fork,
    Mask,
    Mount,
    Pivot,
    Procfs,
    Propagation,
    ReadOnly,
    Rootfs,
    SetAttr,
    Unshare,
    VerifyMounts,
)
from aiocontainer.spec import Device as SpecDevice
from aiocontainer.spec import IDMapping, Process, Root, Spec

MAPS = (IDMapping(container_id=0, host_id=100000, size=65536),)


def bare(*types: str, **changes: Any) -> Spec:
    """A specification that asks for nothing that a mount namespace is needed for."""
    return spec(
        **{
            "mounts": (),
            "masked_paths": (),
            "readonly_paths": (),
            "root": Root(path="rootfs"),
            "namespaces": namespaces("pid", "uts", *types),
            **changes,
        }
    )


def test_the_root_is_entered_and_nothing_is_mounted() -> None:
    plan = compiled(bare())

    assert steps(plan, Rootfs) == [Rootfs("$.root.path", "/bundles/web/rootfs", how=ROOTFS_OPEN)]
    assert steps(plan, Pivot) == [Pivot("$.root.path", PIVOT_CHROOT)]
    assert not steps(plan, Mount, Bind, SetAttr, Mask, ReadOnly, Propagation, VerifyMounts)
    assert not any(step.flags & CLONE_NEWNS for step in steps(plan, Unshare))
    assert len(steps(plan, Device)) == 6


def test_modes_of_devices_need_procfs_on_old_kernels() -> None:
    assert steps(compiled(bare(), replace(V2, kernel=(6, 5))), Procfs)
    assert not steps(compiled(bare(), replace(V2, kernel=(6, 6))), Procfs)


def test_the_parent_opens_the_root_that_mapped_ids_may_not_reach() -> None:
    plan = compiled(bare("user", uid_mappings=MAPS, gid_mappings=MAPS))

    (root,) = steps(plan, Rootfs)
    assert plan.fds[root.fd] == Directory("/bundles/web/rootfs", "$.root.path")
    assert not steps(plan, Device, Bind)
    assert any("default devices" in warning for warning in plan.warnings)


def test_a_device_that_could_only_be_bound_is_refused() -> None:
    device = SpecDevice(type="c", path="/dev/fuse", major=10, minor=229)
    with pytest.raises(UnsupportedError) as caught:
        compiled(bare("user", uid_mappings=MAPS, gid_mappings=MAPS, devices=(device,)))
    assert caught.value.origin == "$.linux.devices[0]"


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        ({"rootfs_propagation": "shared"}, "$.linux.rootfsPropagation"),
        ({"masked_paths": ("/proc/keys",)}, "$.linux.maskedPaths"),
        ({"readonly_paths": ("/proc/sys",)}, "$.linux.readonlyPaths"),
        ({"root": Root(path="rootfs", readonly=True)}, "$.root.readonly"),
        ({"mounts": spec().mounts}, "$.mounts"),
    ],
)
def test_what_needs_a_mount_namespace_is_refused(changes: dict[str, Any], origin: str) -> None:
    with pytest.raises((SpecError, UnsupportedError)) as caught:
        compiled(bare(**changes))
    assert caught.value.origin == origin


def test_a_terminal_needs_a_devpts_of_the_container() -> None:
    with pytest.raises(UnsupportedError) as caught:
        compiled(bare(terminal=True), console=True)
    assert caught.value.origin == "$.process.terminal"


def test_an_overlay_is_a_mount() -> None:
    with pytest.raises(UnsupportedError):
        compiled(bare(), overlay=True)


def test_exec_enters_the_root_of_the_init_before_it_can_be_seen() -> None:
    options = ExecOptions(id="web", namespaces={"pid": 7, "uts": 8})
    plan = compile_exec(Process(args=("true",), cwd="/"), bare(), HOSTS["linux-6.1-v2"], options)

    (root,) = steps(plan, Rootfs)
    assert root.how == ROOTFS_OPEN
    assert plan.fds[root.fd] == InitRoot()
    kinds = [type(step) for step in plan.steps]
    assert kinds.index(Rootfs) < kinds.index(Pivot) < kinds.index(Fork)


def test_exec_has_the_root_of_the_mount_namespace_that_it_joins() -> None:
    options = ExecOptions(id="web", namespaces={"pid": 7, "mount": 9})
    plan = compile_exec(Process(args=("true",), cwd="/"), spec(), V2, options)

    assert not steps(plan, Rootfs, Pivot)
