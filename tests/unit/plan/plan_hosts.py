"""Machines that we do not have, and short ways to a plan on one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from aiocontainer.plan.compile import compile_plan
from aiocontainer.plan.host import CgroupMode, Host
from aiocontainer.plan.options import Options
from aiocontainer.spec import Linux, Mount, Namespace, Spec, default_spec, rootless_spec

if TYPE_CHECKING:
    from aiocontainer.plan.plan import Plan

ALL_CAPABILITIES = (1 << 41) - 1
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
PAGES = frozenset({"2MB", "1GB"})

HOSTS = {
    # Everything mounted alone, as on the machine where this was written.
    "linux-6.18-v1": Host(
        kernel=(6, 18),
        euid=0,
        egid=0,
        capabilities=ALL_CAPABILITIES,
        cgroup_mode=CgroupMode.V1,
        cgroup_hierarchies={
            **{name: f"/sys/fs/cgroup/{name}" for name in CONTROLLERS},
            "name=systemd": "/sys/fs/cgroup/systemd",
            "": "/sys/fs/cgroup/unified",
        },
        cgroup_own={"memory": "/jobs/7", "cpu": "/"},
        cgroup_delegated=True,
        cgroup_controllers=frozenset({"hugetlb"}),
        hugepage_sizes=PAGES,
        has_kcore=True,
    ),
    # Co-mounted controllers, as systemd does it.
    "linux-5.12-v1": Host(
        kernel=(5, 12),
        euid=0,
        egid=0,
        capabilities=ALL_CAPABILITIES,
        cgroup_mode=CgroupMode.V1,
        cgroup_hierarchies={
            "cpu,cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
            "net_cls,net_prio": "/sys/fs/cgroup/net_cls,net_prio",
            "devices": "/sys/fs/cgroup/devices",
            "name=systemd": "/sys/fs/cgroup/systemd",
        },
        cgroup_own={"name=systemd": "/user.slice"},
        cgroup_delegated=True,
        hugepage_sizes=PAGES,
    ),
    "linux-6.1-v2": Host(
        kernel=(6, 1),
        euid=0,
        egid=0,
        capabilities=ALL_CAPABILITIES,
        hard_limits={"RLIMIT_NOFILE": 4096},
        cgroup_mode=CgroupMode.V2,
        cgroup_hierarchies={"": "/sys/fs/cgroup"},
        cgroup_own={"": "/system.slice/caller.service"},
        cgroup_delegated=True,
        cgroup_controllers=frozenset({"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"}),
        hugepage_sizes=PAGES,
    ),
    "rootless": Host(
        kernel=(6, 1),
        euid=1000,
        egid=1000,
        groups=(27, 1000),
        hard_limits={"RLIMIT_NOFILE": 4096},
        cgroup_mode=CgroupMode.V2,
        cgroup_hierarchies={"": "/sys/fs/cgroup"},
        cgroup_own={"": "/user.slice"},
        cgroup_controllers=frozenset({"memory", "pids"}),
        subuid=((100000, 65536),),
        subgid=((100000, 65536),),
        newuidmap="/usr/bin/newuidmap",
        newgidmap="/usr/bin/newgidmap",
    ),
    "no-cgroups": Host(kernel=(6, 1), euid=0, egid=0, capabilities=ALL_CAPABILITIES),
}
HOSTS["systemd-257"] = replace(HOSTS["linux-6.1-v2"], systemd=257, init_cgroup={"": "/"})
HOSTS["systemd-user"] = replace(
    HOSTS["rootless"],
    systemd=252,
    user_manager=True,
    user_manager_cgroup="/user.slice/user-1000.slice/user@1000.service",
    cgroup_own={"": "/user.slice/user-1000.slice/session-1.scope"},
)
HOSTS["systemd-241-v1"] = replace(
    HOSTS["linux-5.12-v1"],
    systemd=241,
    init_cgroup={"cpu,cpuacct": "/", "name=systemd": "/machine"},
)
SYSTEMD, SYSTEMD_V1, SYSTEMD_USER = HOSTS["systemd-257"], HOSTS["systemd-241-v1"], HOSTS["systemd-user"]
V1, V2, ROOTLESS = HOSTS["linux-6.18-v1"], HOSTS["linux-6.1-v2"], HOSTS["rootless"]


def options(**changes: Any) -> Options:
    return replace(Options(id="web", bundle="/bundles/web"), **changes)


def spec(**changes: Any) -> Spec:
    """The default specification of `true` without a terminal; `process` and `linux` members by name."""
    base = default_spec(["true"], terminal=False)
    assert base.process is not None
    assert base.linux is not None
    process = {key: changes.pop(key) for key in [*changes] if key in base.process.__struct_fields__}
    linux = {key: changes.pop(key) for key in [*changes] if key in base.linux.__struct_fields__}
    return replace(
        base, process=replace(base.process, **process), linux=replace(base.linux, **linux), **changes
    )


def rootless() -> Spec:
    base = rootless_spec(["true"], uid=1000, gid=1000)
    assert base.process is not None
    return replace(base, process=replace(base.process, terminal=False))


def compiled(value: Spec, host: Host = V2, **changes: Any) -> Plan:
    return compile_plan(value, host, options(**changes))


def with_mount(*mounts: Mount, **changes: Any) -> Spec:
    """The default specification with these mounts alone."""
    return spec(mounts=mounts, **changes)


def namespaces(*types: str, **paths: str) -> tuple[Namespace, ...]:
    new = [Namespace(type=type) for type in types]  # type: ignore[arg-type]
    return (*new, *(Namespace(type=type, path=path) for type, path in paths.items()))  # type: ignore[arg-type]


def linux(value: Spec) -> Linux:
    assert value.linux is not None
    return value.linux


def steps(plan: Plan, *kinds: type) -> list[Any]:
    """The steps of a kind, in order."""
    return [step for step in plan.steps if isinstance(step, kinds)]


def names(plan: Plan) -> list[str]:
    return [type(step).__name__ for step in plan.steps]
