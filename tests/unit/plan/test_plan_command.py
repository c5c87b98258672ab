"""A command over this machine's own root: what root gets, and what an ordinary user can get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from plan_hosts import ROOTLESS, V2, options, steps

from aiocontainer.plan.compile import compile_plan
from aiocontainer.plan.flags import MOUNT_ATTR_RDONLY, MOUNT_SETATTR_RECURSIVE
from aiocontainer.plan.hostroot import command_spec
from aiocontainer.plan.plan import Overlay, Plan
from aiocontainer.plan.steps import Mount, NoNewPrivs, Rootfs, SetAttr

if TYPE_CHECKING:
    from aiocontainer.plan.host import Host


UNKNOWN = 2**31


def plan_of(host: Host, rootfs: str | None = None) -> Plan:
    value, overlay = command_spec(["id"], host, rootfs=rootfs)
    return compile_plan(value, host, options(overlay=overlay))


def test_root_is_a_stranger_to_the_machine() -> None:
    plan = plan_of(V2)

    assert plan.maps is not None
    assert plan.maps.uid == plan.maps.gid == ((0, UNKNOWN, 65536),)
    assert plan.fds[steps(plan, Rootfs)[0].fd] == Overlay("/", "$.root.path", (UNKNOWN, UNKNOWN))


def test_ids_granted_to_root_come_first() -> None:
    plan = plan_of(replace(V2, subuid=((100, 5), (700000, 65536)), subgid=((800000, 70000),)))

    assert plan.maps is not None
    assert (plan.maps.uid, plan.maps.gid) == (((0, 700000, 65536),), ((0, 800000, 65536),))


def test_root_of_a_small_user_namespace_has_one_id_to_give() -> None:
    ours = ((0, 500000, 65536),)
    plan = plan_of(replace(V2, in_user_namespace=True, uid_map=ours, gid_map=ours))

    assert plan.maps is not None
    assert plan.maps.uid == ((0, 65535, 1),)


def test_an_ordinary_user_sees_everything_read_only() -> None:
    plan = plan_of(ROOTLESS)

    rootfs = steps(plan, Rootfs)[0]
    assert (rootfs.path, rootfs.fd) == ("/", -1)
    after = plan.steps[plan.steps.index(rootfs) + 1]
    assert after == SetAttr("$.root.path", "/", MOUNT_ATTR_RDONLY, flags=MOUNT_SETATTR_RECURSIVE)
    assert plan.maps is not None
    assert (plan.maps.uid, plan.maps.deny_setgroups) == (((0, 1000, 1),), True)


def test_what_is_fresh() -> None:
    for host in (V2, ROOTLESS):
        plan = plan_of(host)
        fresh = {step.target: step.fstype for step in steps(plan, Mount)}
        assert fresh["/proc"] == "proc"
        assert fresh["/sys"] == "sysfs"
        assert {each for each, type in fresh.items() if type == "tmpfs"} == {
            "/dev",
            "/dev/shm",
            "/tmp",
            "/run",
        }
        assert steps(plan, NoNewPrivs)


def test_a_root_of_its_own_needs_no_strangers() -> None:
    plan = plan_of(V2, "/srv/rootfs")

    assert plan.maps is None
    assert plan.fds[steps(plan, Rootfs)[0].fd] == Overlay("/srv/rootfs", "$.root.path", (0, 0))
    assert plan_of(ROOTLESS, "/srv/rootfs").maps is not None


def test_environment_and_directory() -> None:
    value, _ = command_spec(["id"], V2, env={"A": "1", "HOME": "/x"}, cwd="/srv", hostname="h")

    assert value.process is not None
    assert value.process.env[-2:] == ("HOME=/x", "A=1")
    assert (value.process.cwd, value.hostname) == ("/srv", "h")
