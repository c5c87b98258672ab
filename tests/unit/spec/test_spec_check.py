"""Rules that need only the document, beyond the broken files in tests/data/specs/bad."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from aiocontainer.errors import SpecError
from aiocontainer.spec import (
    Capabilities,
    ConsoleSize,
    Cpu,
    Device,
    Hook,
    Hooks,
    IDMapping,
    InterfacePriority,
    Linux,
    Memory,
    MemoryPolicy,
    Mount,
    Namespace,
    NetDevice,
    Network,
    Personality,
    Process,
    Rdma,
    Resources,
    Root,
    Scheduler,
    Seccomp,
    Spec,
    Syscall,
    TimeOffset,
    TimeOffsets,
    check,
    check_process,
    check_resources,
    default_spec,
    problems,
    rootless_spec,
    sysctl_namespace,
    sysctl_path,
)

PROCESS = Process(args=("true",), cwd="/")
BASE = Spec(oci_version="1.2.0", process=PROCESS, root=Root(path="rootfs"))


def origins(spec: Spec) -> list[str]:
    return [problem.origin for problem in problems(spec)]


def linux(**members: object) -> Spec:
    return replace(BASE, linux=replace(Linux(), **members))


def maps(*entries: tuple[int, int, int]) -> tuple[IDMapping, ...]:
    return tuple(
        IDMapping(container_id=inside, host_id=outside, size=size) for inside, outside, size in entries
    )


def test_a_document_without_linux_is_valid() -> None:
    assert check(BASE) == []


def test_all_problems_are_listed_and_the_first_is_raised() -> None:
    spec = replace(BASE, oci_version="3.0.0", hostname="a", process=Process(cwd="x"))
    assert origins(spec) == ["$.process.args", "$.process.cwd", "$.ociVersion", "$.hostname"]
    with pytest.raises(SpecError) as caught:
        check(spec)
    assert caught.value.origin == "$.process.args"


def test_what_could_not_be_decoded_comes_alone() -> None:
    assert origins(replace(BASE, oci_version="3.0.0", hostname="a\0")) == ["$.hostname"]


@pytest.mark.parametrize(
    "entries",
    [
        ((0, 100000, 65536),),
        ((0, 1000, 1), (1, 100000, 65535)),
        ((1, 100000, 65535), (0, 1000, 1)),
        ((0, 0, 2**32 - 1),),
        tuple((i * 2, i * 3, 1) for i in range(340)),
    ],
    ids=["plain", "two", "unordered", "whole", "340"],
)
def test_id_maps(entries: tuple[tuple[int, int, int], ...]) -> None:
    user = (Namespace(type="user"),)
    assert origins(linux(namespaces=user, uid_mappings=maps(*entries), gid_mappings=maps(*entries))) == []


@pytest.mark.parametrize(
    ("entries", "origin"),
    [
        (((0, 0, 2), (1, 5, 1)), "[1].containerID"),
        (((5, 5, 1), (0, 0, 6)), "[1].containerID"),
        (((0, 7, 1), (1, 0, 8)), "[1].hostID"),
        (((0, 0, 1), (2**32 - 1, 5, 1)), "[1].containerID"),
        (((0, 2, 2**32 - 2),), "[0].hostID"),
        (((0, 0, 1), (0, 5, 1)), "[1].containerID"),
        (tuple((i, i, 1) for i in range(341)), ""),
    ],
    ids=["inside", "inside-unordered", "outside", "last-id", "overflow", "same", "341"],
)
def test_id_maps_that_are_refused(entries: tuple[tuple[int, int, int], ...], origin: str) -> None:
    spec = linux(
        namespaces=(Namespace(type="user"),), uid_mappings=maps(*entries), gid_mappings=maps((0, 0, 1))
    )
    assert f"$.linux.uidMappings{origin}" in origins(spec)


def test_ids_of_the_process_are_mapped() -> None:
    spec = rootless_spec(uid=1000, gid=1000).with_user(0, 5, additional_gids=[0, 7])
    assert origins(spec) == ["$.process.user.gid", "$.process.user.additionalGids[1]"]


def test_maps_of_a_joined_namespace_are_its_own() -> None:
    joined = (Namespace(type="user", path="/proc/1/ns/user"),)
    assert origins(linux(namespaces=joined)) == []
    assert origins(linux(namespaces=joined, uid_mappings=maps((1, 1, 1)), gid_mappings=maps((1, 1, 1)))) == []


def test_time_offsets() -> None:
    offsets = TimeOffsets(boottime=TimeOffset(secs=-5, nanosecs=999_999_999))
    time = Namespace(type="time")
    assert origins(linux(namespaces=(time,), time_offsets=offsets)) == []
    assert origins(linux(time_offsets=TimeOffsets())) == []
    joined = replace(time, path="/run/ns/time")
    assert origins(linux(namespaces=(joined,), time_offsets=offsets)) == ["$.linux.timeOffsets"]


def test_devices() -> None:
    null = Device(type="c", path="/dev/a", major=1, minor=3)
    fifo = Device(type="p", path="/dev/f", file_mode=0o10644)
    assert origins(linux(devices=(null, null, fifo))) == []
    assert origins(linux(devices=(null, replace(null, minor=5)))) == ["$.linux.devices[1].path"]
    assert origins(linux(devices=(replace(null, minor=2**20),))) == ["$.linux.devices[0].minor"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a b", "a:b", "a\u00a0b", "a%d", "x" * 16, "\u00e9" * 8]
)
def test_names_of_network_devices(name: str) -> None:
    network = (Namespace(type="network"),)
    assert origins(linux(namespaces=network, net_devices={name: NetDevice(name="eth0")})) != []
    if name:
        assert origins(linux(namespaces=network, net_devices={"a": NetDevice(name=name)})) == [
            "$.linux.netDevices.a.name"
        ]


def test_scheduler() -> None:
    def of(**members: object) -> list[str]:
        scheduler = replace(Scheduler(policy="SCHED_OTHER"), **members)
        return origins(replace(BASE, process=replace(PROCESS, scheduler=scheduler)))

    assert of(nice=-20) == []
    assert of(policy="SCHED_FIFO", priority=99) == []
    assert of(policy="SCHED_DEADLINE", runtime=1024, deadline=2000, period=2000) == []
    assert of(policy="SCHED_DEADLINE", runtime=1024, deadline=1024) == []
    assert of(policy="SCHED_DEADLINE", deadline=2000) == ["$.process.scheduler.runtime"]
    assert of(policy="SCHED_DEADLINE", runtime=1024) == ["$.process.scheduler.deadline"]
    late = {"runtime": 1024, "deadline": 2000, "period": 1999}
    assert of(policy="SCHED_DEADLINE", **late) == ["$.process.scheduler.period"]
    assert of(policy="SCHED_DEADLINE", flags=("SCHED_FLAG_KEEP_PARAMS",)) == []
    assert of(policy="SCHED_RR") == ["$.process.scheduler.priority"]
    assert of(priority=1) == ["$.process.scheduler.priority"]
    assert of(policy="SCHED_FIFO", priority=1, runtime=5) == ["$.process.scheduler.runtime"]


def test_memory_policy_and_personality() -> None:
    def policy(**members: object) -> list[str]:
        return origins(linux(memory_policy=replace(MemoryPolicy(), **members)))

    assert policy(mode="MPOL_BIND", nodes="0-1", flags=("MPOL_F_NUMA_BALANCING",)) == []
    assert policy(mode="MPOL_PREFERRED") == []
    assert policy() == ["$.linux.memoryPolicy.mode"]
    assert policy(mode="MPOL_LOCAL", nodes="0") == ["$.linux.memoryPolicy.nodes"]
    assert policy(mode="MPOL_BIND", nodes="x") == ["$.linux.memoryPolicy.nodes"]
    both = ("MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES")
    assert policy(mode="MPOL_PREFERRED", flags=both) == ["$.linux.memoryPolicy.flags"]
    assert origins(linux(personality=Personality())) == ["$.linux.personality.domain"]
    assert origins(linux(personality=Personality(domain="LINUX", flags=("X",)))) == [
        "$.linux.personality.flags[0]"
    ]


def test_seccomp() -> None:
    def of(*syscalls: Syscall, **members: object) -> list[str]:
        filter = replace(Seccomp(default_action="SCMP_ACT_ERRNO", syscalls=syscalls), **members)
        return origins(linux(seccomp=filter))

    notify = Syscall(names=("openat",), action="SCMP_ACT_NOTIFY")
    assert of(default_errno_ret=38) == []
    assert of(notify, listener_path="/run/l", listener_metadata="m") == []
    assert of(default_action="SCMP_ACT_NOTIFY", listener_path="/run/l") == ["$.linux.seccomp.defaultAction"]
    assert of(notify, listener_path="l") == ["$.linux.seccomp.listenerPath"]
    assert of(listener_metadata="m") == ["$.linux.seccomp.listenerMetadata"]
    assert of(replace(notify, names=("read", "write")), listener_path="/l") == [
        "$.linux.seccomp.syscalls[0].names[1]"
    ]
    assert of(default_errno_ret=4096) == ["$.linux.seccomp.defaultErrnoRet"]
    assert of(Syscall(names=("",), action="SCMP_ACT_LOG", errno_ret=1)) == [
        "$.linux.seccomp.syscalls[0].errnoRet",
        "$.linux.seccomp.syscalls[0].names[0]",
    ]


def test_hooks() -> None:
    hooks = Hooks(
        start_container=(Hook(path="/a", env=("A=1",)), Hook(path="b", env=("A",))),
    )
    assert origins(replace(BASE, hooks=hooks)) == [
        "$.hooks.startContainer[1].path",
        "$.hooks.startContainer[1].env[0]",
    ]


def test_what_needs_a_namespace() -> None:
    spec = replace(
        default_spec(),
        domainname="d",
        linux=Linux(
            net_devices={"a": NetDevice()},
            gid_mappings=maps((0, 0, 1)),
            masked_paths=("/a",),
            readonly_paths=("/b",),
        ),
    )
    assert origins(spec) == [
        "$.hostname",
        "$.domainname",
        "$.mounts",
        "$.root.readonly",
        "$.linux.maskedPaths",
        "$.linux.readonlyPaths",
        "$.linux.netDevices",
        "$.linux.gidMappings",
    ]


@pytest.mark.parametrize(
    ("key", "path", "namespace"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward", "network"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward", "network"),
        ("net/ipv4/conf/eno2.100/rp_filter", "net/ipv4/conf/eno2.100/rp_filter", "network"),
        ("net.ipv4.conf.eno2/100.rp_filter", "net/ipv4/conf/eno2.100/rp_filter", "network"),
        ("net.ipv6.neigh.a-b.x", "net/ipv6/neigh/a-b/x", "network"),
        ("kernel.shm_rmid_forced", "kernel/shm_rmid_forced", "ipc"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max", "ipc"),
        ("user.max_user_namespaces", "user/max_user_namespaces", "user"),
        ("kernel.domainname", "kernel/domainname", "uts"),
        ("kernel.core_pattern", "kernel/core_pattern", None),
        ("netx.a", "netx/a", None),
        ("fs.mqueuex.a", "fs/mqueuex/a", None),
        ("kernel", "kernel", None),
    ],
)
def test_sysctl_paths(key: str, path: str, namespace: str | None) -> None:
    assert sysctl_path(key) == path
    assert sysctl_namespace(path) == namespace


@pytest.mark.parametrize(
    "key",
    [
        *("", ".", "..", "/", "net.", ".net", "/net", "net..ipv4", "net/../kernel/core_pattern", "net/./x"),
        *(
            "net.//.kernel.core_pattern",
            "net.ipv4.conf.//.x",
            "net/ipv4/conf/../x",
            "net/ipv4/conf//x",
            "net.a b",
        ),
        *("net/ipv4/conf/" + "x" * 16 + "/y", "net.ipv4.\u00e9", "net.ipv4.a\n", "net/ipv4/route/a.b"),
    ],
)
def test_sysctl_keys_that_are_refused(key: str) -> None:
    with pytest.raises(SpecError) as caught:
        sysctl_path(key)
    assert caught.value.origin.startswith("$.linux.sysctl")
    assert len(problems(linux(namespaces=(Namespace(type="network"),), sysctl={key: "1"}))) == 1


def test_sysctl_of_the_whole_machine() -> None:
    (found,) = problems(linux(sysctl={"kernel.core_pattern": "|/bin/sh"}))
    assert found.problem == "not a parameter of a namespace"


def test_sysctl_in_two_spellings() -> None:
    spec = linux(
        namespaces=(Namespace(type="network"),),
        sysctl={"net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "0"},
    )
    assert origins(spec) == ['$.linux.sysctl["net/ipv4/ip_forward"]']


def test_domain_name_by_two_ways() -> None:
    uts = (Namespace(type="uts"),)
    spec = replace(linux(namespaces=uts, sysctl={"kernel.domainname": "a"}), domainname="a")
    assert origins(spec) == []
    assert origins(replace(spec, domainname="b")) == ['$.linux.sysctl["kernel.domainname"]']


def test_warnings() -> None:
    spec = replace(
        BASE,
        oci_version="1.4.0",
        process=replace(
            PROCESS,
            console_size=ConsoleSize(height=24, width=80),
            capabilities=Capabilities(
                permitted=("CAP_KILL", "CAP_CHOWN"),
                inheritable=("CAP_KILL",),
                ambient=("CAP_KILL", "CAP_CHOWN"),
            ),
        ),
        mounts=(Mount(destination="a", type="mqueue"),),
        linux=Linux(
            namespaces=(Namespace(type="mount"),),
            resources=Resources(memory=Memory(kernel=1)),
            seccomp=Seccomp(default_action="SCMP_ACT_ALLOW", listener_path="/l"),
        ),
    )
    assert [warning.partition(":")[0] for warning in check(spec)] == [
        "$.ociVersion",
        "$.mounts[0].destination",
        "$.mounts[0]",
        "$.process.consoleSize",
        "$.process.capabilities.ambient",
        "$.linux.resources.memory.kernel",
        "$.linux.seccomp.listenerPath",
    ]
    assert "CAP_CHOWN" in check(spec)[4]
    assert "CAP_KILL" not in check(spec)[4]


def test_parts_by_themselves() -> None:
    assert check_process(PROCESS) == []
    assert check_resources(Resources()) == []
    with pytest.raises(SpecError) as caught:
        check_process(replace(PROCESS, cwd="a"))
    assert caught.value.origin == "$.cwd"
    with pytest.raises(SpecError) as caught:
        check_resources(Resources(unified={"a/b": ""}))
    assert caught.value.origin == '$.unified["a/b"]'


@pytest.mark.parametrize(
    ("resources", "origin"),
    [
        (Resources(memory=Memory(limit=-2)), "$.memory.limit"),
        (Resources(memory=Memory(swap=-2)), "$.memory.swap"),
        (Resources(memory=Memory(reservation=-2)), "$.memory.reservation"),
        (Resources(memory=Memory(limit=2, swap=1)), "$.memory.swap"),
        (Resources(cpu=Cpu(idle=2)), "$.cpu.idle"),
        (Resources(cpu=Cpu(idle=-1)), "$.cpu.idle"),
        (Resources(cpu=Cpu(quota=1, burst=2)), "$.cpu.burst"),
        (Resources(cpu=Cpu(cpus="0-")), "$.cpu.cpus"),
        (
            Resources(network=Network(priorities=(InterfacePriority(name="a/b", priority=1),))),
            "$.network.priorities[0].name",
        ),
        (Resources(rdma={"a b": Rdma(hca_handles=1)}), '$.rdma["a b"]'),
        (Resources(unified={"memory..max": ""}), '$.unified["memory..max"]'),
        (Resources(unified={"memory": ""}), "$.unified.memory"),
        (Resources(unified={".max": ""}), '$.unified[".max"]'),
        (Resources(unified={"memory.max\n": ""}), '$.unified["memory.max\\n"]'),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_limits(resources: Resources, origin: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_resources(resources)
    assert caught.value.origin == origin


def test_limits_that_mean_to_leave_something_alone() -> None:
    memory = Memory(limit=0, swap=5, reservation=-1)
    assert check_resources(Resources(memory=memory, cpu=Cpu(quota=-1, burst=2, idle=1))) == []
    assert check_resources(Resources(memory=Memory(limit=5, swap=-1, use_hierarchy=True))) == []
    (warning,) = check_resources(Resources(memory=Memory(use_hierarchy=False)))
    assert warning.startswith("$.memory.useHierarchy")
