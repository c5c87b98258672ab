"""Where the cgroup is, and how it is shown inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from plan_hosts import HOSTS, ROOTLESS, V1, V2, compiled, namespaces, rootless, spec, steps

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.flags import MOUNT_ATTR_RDONLY, MOUNT_SETATTR_RECURSIVE
from aiocontainer.plan.plan import CgroupTasks
from aiocontainer.plan.steps import Bind, JoinCgroup, Mount, SetAttr, Symlink
from aiocontainer.spec import Mount as SpecMount
from aiocontainer.spec import Pids, Resources, User

if TYPE_CHECKING:
    from aiocontainer.plan.host import Host

COMOUNTED = HOSTS["linux-5.12-v1"]
VIEW = SpecMount(destination="/sys/fs/cgroup", type="cgroup", options=("nosuid", "ro"))
NO_CGROUP_NS = ("pid", "network", "ipc", "uts", "mount")


@pytest.mark.parametrize(
    ("host", "hierarchy", "path", "directory"),
    [
        (V1, "memory", "", "/sys/fs/cgroup/memory/jobs/7/web"),
        (V1, "cpu", "", "/sys/fs/cgroup/cpu/web"),
        (V1, "pids", "", "/sys/fs/cgroup/pids/web"),
        (V1, "memory", "/pods/a", "/sys/fs/cgroup/memory/pods/a"),
        (V1, "memory", "pods/a", "/sys/fs/cgroup/memory/jobs/7/pods/a"),
        (V1, "", "", "/sys/fs/cgroup/unified/web"),
        (V2, "", "", "/sys/fs/cgroup/system.slice/web"),
        (V2, "", "/pods/a", "/sys/fs/cgroup/pods/a"),
        (V2, "", "pods/a", "/sys/fs/cgroup/system.slice/pods/a"),
        (V2, "", "/../../etc", "/sys/fs/cgroup/etc"),
        (V2, "", "../../../etc", "/sys/fs/cgroup/system.slice/etc"),
        (V2, "", "/a:b", "/sys/fs/cgroup/a:b"),
        (V2, "", "/a:b:c", "/sys/fs/cgroup/a:b:c"),
    ],
)
def test_paths(host: object, hierarchy: str, path: str, directory: str) -> None:
    plan = compiled(spec(cgroups_path=path), host)  # type: ignore[arg-type]

    assert plan.cgroup is not None
    assert plan.cgroup.paths[hierarchy] == directory
    assert plan.cgroup.explicit == bool(path)


@pytest.mark.parametrize("path", ["/", "/..", "a/..", "."])
def test_the_root_cgroup_is_no_place_for_a_container(path: str) -> None:
    with pytest.raises(SpecError) as caught:
        compiled(spec(cgroups_path=path))

    assert caught.value.origin == "$.linux.cgroupsPath"


def test_a_systemd_path_needs_its_driver() -> None:
    with pytest.raises(UnsupportedError, match="systemd"):
        compiled(spec(cgroups_path="user.slice:web:1"))


def test_a_cgroup2_of_a_joined_namespace_keeps_the_options_of_the_hierarchy() -> None:
    host = replace(V2, cgroup_flags=("nsdelegate", "memory_recursiveprot"))
    joined = namespaces("mount", "pid", "uts", "ipc", cgroup="/ns/cgroup")
    assert steps(compiled(spec(namespaces=joined), host), Mount)[-1].data == host.cgroup_flags
    assert steps(compiled(spec(), host), Mount)[-1].data == ()


def test_v1_is_entered_by_the_process_and_v2_at_birth() -> None:
    assert [step.hierarchy for step in steps(compiled(spec(), V1), JoinCgroup)] == [
        key for key in V1.cgroup_hierarchies if key
    ]
    assert not steps(compiled(spec(), V2), JoinCgroup)


def test_no_cgroup_where_none_is_wanted_or_possible() -> None:
    assert compiled(spec(), V2, cgroups=False).cgroup is None
    assert compiled(rootless(), ROOTLESS).cgroup is None
    with pytest.raises(UnsupportedError) as caught:
        compiled(spec(cgroups_path="/a"), HOSTS["no-cgroups"])
    assert caught.value.origin == "$.linux.cgroupsPath"


def test_devices_go_to_files_in_v1_and_to_a_program_in_v2() -> None:
    v1, v2 = compiled(spec(), V1).cgroup, compiled(spec(), V2).cgroup
    assert v1 is not None
    assert v2 is not None

    assert v1.devices
    assert not v1.device_filter
    assert v2.device_filter


def test_an_ordinary_user_has_no_say_over_devices() -> None:
    cgroup = compiled(rootless(), replace(ROOTLESS, cgroup_delegated=True)).cgroup

    assert cgroup is not None
    assert cgroup.devices is None


@pytest.mark.parametrize("host", [V1, V2], ids=["v1", "v2"])
def test_nor_has_root_of_a_user_namespace(host: Host) -> None:
    """As podman starts containers for an ordinary user."""
    cgroup = compiled(spec(), replace(host, in_user_namespace=True)).cgroup

    assert cgroup is not None
    assert cgroup.devices is None


# Mounts of type "cgroup".


def test_v2_is_mounted_in_a_cgroup_namespace() -> None:
    (mount,) = steps(compiled(spec(mounts=(VIEW,))), Mount)

    assert (mount.fstype, mount.target) == ("cgroup2", "/sys/fs/cgroup")
    assert mount.attrs & MOUNT_ATTR_RDONLY


def test_v2_is_bound_without_one_lest_the_hosts_be_reconfigured() -> None:
    plan = compiled(spec(mounts=(VIEW,), namespaces=namespaces(*NO_CGROUP_NS)))

    bind = steps(plan, Bind)[0]
    assert bind.source == "/sys/fs/cgroup"
    assert bind.flags & MOUNT_SETATTR_RECURSIVE


def test_a_user_namespace_without_a_cgroup_namespace_sees_its_own_cgroup_alone() -> None:
    """CVE-2023-25809."""
    value = rootless()
    assert value.linux is not None
    types = namespaces("pid", "ipc", "uts", "mount", "user")
    plan = compiled(replace(value, mounts=(VIEW,), linux=replace(value.linux, namespaces=types)), ROOTLESS)

    bind = steps(plan, Bind)[0]
    assert (bind.source, bind.attrs & MOUNT_ATTR_RDONLY) == ("/sys/fs/cgroup/user.slice", MOUNT_ATTR_RDONLY)


def test_each_v1_hierarchy_is_mounted_under_its_name() -> None:
    plan = compiled(spec(mounts=(VIEW,)), COMOUNTED)

    top, *mounts = steps(plan, Mount)
    assert top.fstype == "tmpfs"
    assert {mount.target.rpartition("/")[2]: mount.data for mount in mounts} == {
        "cpu,cpuacct": ("cpu", "cpuacct"),
        "net_cls,net_prio": ("net_cls", "net_prio"),
        "devices": ("devices",),
        "systemd": ("name=systemd",),
    }
    links = {step.target: step.text for step in steps(plan, Symlink) if "cgroup" in step.target}
    assert links["/sys/fs/cgroup/cpuacct"] == "cpu,cpuacct"
    assert "/sys/fs/cgroup/devices" not in links
    # The directory of them is closed once it is full.
    assert [step.target for step in steps(plan, SetAttr)][:1] == ["/sys/fs/cgroup"]


def test_v1_without_a_cgroup_namespace_shows_the_containers_own() -> None:
    plan = compiled(spec(mounts=(VIEW,), namespaces=namespaces(*NO_CGROUP_NS)), COMOUNTED)

    assert "/sys/fs/cgroup/systemd/user.slice/web" in [step.source for step in steps(plan, Bind)]


def test_without_cgroups_an_empty_directory_covers_what_may_be_there() -> None:
    plan = compiled(spec(mounts=(VIEW,)), HOSTS["no-cgroups"])

    assert [step.fstype for step in steps(plan, Mount)] == ["tmpfs"]
    assert steps(plan, SetAttr)[0].attrs == MOUNT_ATTR_RDONLY


# Limits.


def test_limits_are_part_of_the_plan() -> None:
    plan = compiled(spec(resources=Resources(pids=Pids(limit=5))), V1)

    assert plan.cgroup is not None
    assert [str(write) for write in plan.cgroup.limits] == ["pids.max = 5"]
    assert "pids.max = 5" in plan.listing()
    assert "$.linux.resources.pids.limit" in plan.listing()


@pytest.mark.parametrize(
    ("host", "changes", "needs"),
    [
        (ROOTLESS, {}, "the right to make directories in /sys/fs/cgroup"),
        (HOSTS["no-cgroups"], {}, "mounted"),
        (V1, {"cgroups": False}, "none was wanted"),
    ],
)
def test_limits_without_a_cgroup_are_refused(host: Host, changes: dict[str, bool], needs: str) -> None:
    """S158: with nothing asked for, nothing is missed."""
    value = spec() if host is not ROOTLESS else rootless()
    assert value.linux is not None
    limited = replace(value, linux=replace(value.linux, resources=Resources(pids=Pids(limit=5))))

    with pytest.raises(UnsupportedError, match=needs) as caught:
        compiled(limited, host, **changes)
    assert caught.value.origin == "$.linux.resources.pids.limit"
    unlimited = replace(value, linux=replace(value.linux, resources=Resources(pids=Pids(limit=-1))))
    assert compiled(unlimited, host, **changes).cgroup is None


def test_what_was_there_before_is_entered() -> None:
    """A kernel may kill at birth what is born in a cgroup that was killed once."""
    plan = compiled(spec(), V2, enter_cgroup=True)

    assert isinstance(plan.steps[0], JoinCgroup)
    assert CgroupTasks("") in plan.fds
    assert [step.hierarchy for step in steps(compiled(spec(), V1, enter_cgroup=True), JoinCgroup)] == [
        *V1.cgroup_hierarchies
    ]


# To whom it is given.

WRITABLE = SpecMount(destination="/sys/fs/cgroup", type="cgroup", options=("nosuid", "rw"))


@pytest.mark.parametrize(
    ("uid", "mounts", "namespaces_", "host", "owner"),
    [
        (1000, (WRITABLE,), ("mount", "pid", "cgroup"), V2, 1000),
        (0, (WRITABLE,), ("mount", "pid", "cgroup"), V2, None),
        (1000, (VIEW,), ("mount", "pid", "cgroup"), V2, None),
        (1000, (), ("mount", "pid", "cgroup"), V2, None),
        (1000, (WRITABLE,), ("mount", "pid"), V2, None),
        (1000, (WRITABLE,), ("mount", "pid", "cgroup"), V1, None),
    ],
)
def test_owner(
    uid: int, mounts: tuple[SpecMount, ...], namespaces_: tuple[str, ...], host: Host, owner: int | None
) -> None:
    value = spec(mounts=mounts, namespaces=namespaces(*namespaces_), user=User(uid=uid, gid=uid))
    value = replace(value, hostname="")

    plan = compiled(value, host)
    assert plan.cgroup is not None
    assert plan.cgroup.owner == owner
