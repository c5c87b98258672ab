"""A command over this machine's own root: what root gets, and what an ordinary user can get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from plan_hosts import ROOTLESS, V2, options, steps

from aiocontainer.plan.compile import compile_plan
from aiocontainer.plan.flags import ROOTFS_THROWAWAY
from aiocontainer.plan.hostroot import command_spec, file_systems_below
from aiocontainer.plan.mountinfo import parse_mountinfo
from aiocontainer.plan.plan import Overlay, Plan
from aiocontainer.plan.steps import Mount, NoNewPrivs, Rootfs

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


MOUNTINFO = b"""\
20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 0:5 / /proc rw - proc proc rw
22 20 8:2 / /usr ro - xfs /dev/sda2 ro
23 20 8:3 / /home rw - ext4 /dev/sda3 rw
24 23 8:4 / /home/big\\040one rw - ext4 /dev/sda4 rw
25 20 0:9 / /srv rw - nfs4 server:/srv rw
26 25 8:5 / /srv/local rw - ext4 /dev/sda5 rw
27 20 0:7 / /tmp rw - tmpfs tmpfs rw
28 27 8:6 / /tmp/disk rw - ext4 /dev/sda6 rw
29 20 8:7 / /var/lib rw - ext4 /dev/sda7 rw
30 20 8:8 / /var rw - ext4 /dev/sda8 rw
31 23 8:9 / /home rw - btrfs /dev/sda9 rw
32 20 0:11 / /media rw - fuse.sshfs x rw
33 20 8:10 / /run/media rw - ext4 /dev/sdb1 rw
34 20 8:11 / /usr2 rw - ext4 /dev/sdb2 rw
"""


def test_file_systems_of_their_own_are_found() -> None:
    """/var/lib is covered by /var, and the first /home by the second."""
    mounts = [*parse_mountinfo(MOUNTINFO)]
    assert file_systems_below("/", mounts) == ("/home", "/usr", "/usr2", "/var")
    assert file_systems_below("/usr", mounts) == ()
    rest = [mount for mount in mounts if mount.id not in {30, 31}]
    assert file_systems_below("/", rest) == ("/home", "/home/big one", "/usr", "/usr2", "/var/lib")
    assert file_systems_below("/home", rest) == ("/home/big one",)


def test_file_systems_below_are_bound_read_only() -> None:
    value, _ = command_spec(["id"], V2, below=("/home", "/usr"))
    binds = [mount for mount in value.mounts if mount.type == "bind"]
    assert [(bind.source, bind.destination) for bind in binds] == [("/home", "/home"), ("/usr", "/usr")]
    assert all("ro" in bind.options for bind in binds)
    value, _ = command_spec(["id"], V2, rootfs="/images/a", below=("/images/a/usr",))
    assert [m.destination for m in value.mounts if m.type == "bind"] == ["/usr"]
    value, _ = command_spec(["id"], ROOTLESS, below=("/home",))
    assert not [mount for mount in value.mounts if mount.type == "bind"]


def test_ids_granted_to_root_come_first() -> None:
    plan = plan_of(replace(V2, subuid=((100, 5), (700000, 65536)), subgid=((800000, 70000),)))

    assert plan.maps is not None
    assert (plan.maps.uid, plan.maps.gid) == (((0, 700000, 65536),), ((0, 800000, 65536),))


def test_root_of_a_small_user_namespace_has_one_id_to_give() -> None:
    ours = ((0, 500000, 65536),)
    plan = plan_of(replace(V2, in_user_namespace=True, uid_map=ours, gid_map=ours))

    assert plan.maps is not None
    assert plan.maps.uid == ((0, 65535, 1),)


def test_an_ordinary_user_changes_nothing_either() -> None:
    plan = plan_of(ROOTLESS)

    rootfs = steps(plan, Rootfs)[0]
    assert rootfs == Rootfs("$.root.path", "/", how=ROOTFS_THROWAWAY)
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
