"""Namespaces and id maps: order of entering, and who may have which ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from plan_hosts import ROOTLESS, V2, compiled, names, namespaces, rootless, spec, steps

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.flags import (
    CLONE_NEWNET,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    PAUSE_MAPS,
)
from aiocontainer.plan.plan import IdMaps, NamespaceFile, Plan
from aiocontainer.plan.steps import (
    Bind,
    Credentials,
    Fork,
    Gate,
    JoinNamespace,
    Loopback,
    Mount,
    NamespaceRoot,
    OomScore,
    Pause,
    Rlimit,
    TimeNamespace,
    Unshare,
)
from aiocontainer.spec import IDMapping, Spec, TimeOffset, TimeOffsets, User
from aiocontainer.spec import Rlimit as SpecRlimit

if TYPE_CHECKING:
    from aiocontainer.plan.host import Host


ALL = ("pid", "network", "ipc", "uts", "mount", "cgroup")


def mapping(inside: int, outside: int, size: int) -> IDMapping:
    return IDMapping(container_id=inside, host_id=outside, size=size)


WIDE = (mapping(0, 100000, 65536),)


def mapped(*types: str, maps: tuple[IDMapping, ...] = WIDE, **changes: Any) -> Spec:
    return spec(
        namespaces=changes.pop("namespaces", namespaces(*ALL, "user", *types)),
        uid_mappings=maps,
        gid_mappings=changes.pop("gid_mappings", maps),
        **changes,
    )


def test_what_must_be_there_from_birth() -> None:
    assert compiled(spec()).clone_flags == CLONE_NEWPID
    assert compiled(mapped()).clone_flags == CLONE_NEWPID | CLONE_NEWUSER
    assert compiled(spec(namespaces=namespaces("mount", "uts"))).clone_flags == 0


def test_a_plain_container_waits_once() -> None:
    assert len(steps(compiled(spec()), Pause)) == 1


def test_absent_namespaces_are_inherited() -> None:
    plan = compiled(spec(namespaces=namespaces("mount", "uts")))

    assert not steps(plan, Fork, JoinNamespace, Loopback)
    assert not steps(plan, Unshare)[0].flags & CLONE_NEWNET


def test_lo_comes_up_only_in_a_new_network_namespace() -> None:
    assert steps(compiled(spec()), Loopback)
    joined = namespaces("pid", "ipc", "uts", "mount", network="/run/netns/a")
    assert not steps(compiled(spec(namespaces=joined)), Loopback)


def test_namespaces_are_joined_user_first_and_mount_last() -> None:
    paths = {
        type: f"/ns/{type}" for type in ("mount", "network", "user", "ipc", "uts", "pid", "cgroup", "time")
    }
    plan = compiled(spec(namespaces=namespaces(**paths)))

    joined = [step.path.removeprefix("/ns/") for step in steps(plan, JoinNamespace)]
    assert (joined[0], joined[-1]) == ("user", "mount")
    assert sorted(joined) == sorted(paths)
    assert [each.type for each in plan.fds if isinstance(each, NamespaceFile)] == joined
    assert plan.clone_flags == 0


def test_a_joined_pid_namespace_takes_a_fork_after_the_last_join() -> None:
    plan = compiled(spec(namespaces=namespaces("mount", "uts", pid="/ns/pid", ipc="/ns/ipc")))

    order = names(plan)
    assert order.index("Fork") > max(i for i, name in enumerate(order) if name == "JoinNamespace")
    assert order.index("Fork") < order.index("Procfs")
    assert steps(plan, Fork)[0].flags == 0


def test_what_is_joined_is_joined_from_outside_of_a_new_user_namespace() -> None:
    """It belongs to the user namespace that we come from."""
    types = (*namespaces("mount", "pid", "uts", "user"), *namespaces(network="/ns/net"))
    plan = compiled(mapped(namespaces=types))

    order = names(plan)
    assert plan.clone_flags == 0
    assert order.index("JoinNamespace") < order.index("Unshare") < order.index("NamespaceRoot")
    assert steps(plan, Unshare)[0].flags == CLONE_NEWUSER
    assert steps(plan, Fork)[0].flags == CLONE_NEWPID


def test_a_pid_namespace_is_made_inside_a_joined_user_namespace() -> None:
    plan = compiled(spec(namespaces=(*namespaces("pid", "mount", "uts"), *namespaces(user="/ns/user"))))

    assert plan.clone_flags == 0
    assert steps(plan, Fork)[0].flags == CLONE_NEWPID
    assert steps(plan, NamespaceRoot)[0].origin == "$.linux.namespaces[3].path"


def test_clock_offsets_are_written_in_one_step() -> None:
    offsets = TimeOffsets(monotonic=TimeOffset(secs=-3, nanosecs=5), boottime=TimeOffset(secs=7))
    plan = compiled(spec(namespaces=namespaces(*ALL, "time"), time_offsets=offsets))

    assert steps(plan, TimeNamespace)[0].offsets == "monotonic -3 5\nboottime 7 0\n"
    assert not steps(plan, Unshare)[0].flags & CLONE_NEWTIME


def test_a_namespace_that_the_kernel_lacks_is_refused() -> None:
    host = replace(V2, namespaces=frozenset({"mount", "pid"}))
    with pytest.raises(UnsupportedError) as caught:
        compiled(spec(), host)

    assert caught.value.origin == "$.linux.namespaces[1]"


@pytest.mark.parametrize(
    ("changes", "type", "origin"),
    [
        ({"sysctl": {"net/ipv4/ip_forward": "1"}}, "network", '$.linux.sysctl["net/ipv4/ip_forward"]'),
        ({"sysctl": {"kernel.msgmax": "1"}}, "ipc", '$.linux.sysctl["kernel.msgmax"]'),
        ({"hostname": "a"}, "uts", "$.hostname"),
    ],
)
def test_a_joined_namespace_must_not_be_the_hosts_if_it_is_changed(
    changes: dict[str, Any], type: str, origin: str
) -> None:
    joined = namespaces("mount", *({"uts", "ipc", "network"} - {type}), **{type: "/ns/x"})
    value = spec(namespaces=joined, **changes)
    compiled(value)
    with pytest.raises(SpecError, match="would change the host") as caught:
        compiled(value, own_namespaces=frozenset({type}))
    assert caught.value.origin == origin


# User namespaces.


def test_maps_are_written_by_the_parent_while_the_process_waits() -> None:
    plan = compiled(mapped())

    assert plan.maps == IdMaps(((0, 100000, 65536),), ((0, 100000, 65536),))
    pause, *_ = steps(plan, Pause)
    assert (pause.kind, pause.dumpable) == (PAUSE_MAPS, True)
    assert names(plan).index("NamespaceRoot") == names(plan).index("Pause") + 1


def test_an_ordinary_user_needs_a_user_namespace() -> None:
    with pytest.raises(UnsupportedError) as caught:
        compiled(spec(), ROOTLESS)

    assert caught.value.origin == "$.linux.namespaces"


def test_an_ordinary_user_maps_the_own_id_without_setgroups() -> None:
    plan = compiled(rootless(), ROOTLESS)

    assert plan.maps == IdMaps(((0, 1000, 1),), ((0, 1000, 1),), deny_setgroups=True)
    assert not steps(plan, NamespaceRoot)[0].drop_groups
    assert steps(plan, Credentials)[0].groups is None


def test_more_ids_need_the_tools() -> None:
    own_and_more = (mapping(0, 1000, 1), mapping(1, 100000, 65536))
    plan = compiled(mapped(maps=own_and_more), ROOTLESS)

    assert plan.maps is not None
    assert plan.maps.use_tools
    assert not plan.maps.deny_setgroups
    with pytest.raises(UnsupportedError, match="newgidmap"):
        compiled(mapped(maps=own_and_more), replace(ROOTLESS, newgidmap=None))


@pytest.mark.parametrize("entry", [mapping(1, 0, 1), mapping(1, 99999, 2), mapping(1, 165535, 2)])
def test_ids_that_are_not_granted_are_refused(entry: IDMapping) -> None:
    with pytest.raises(SpecError, match="/etc/subuid") as caught:
        compiled(mapped(maps=(mapping(0, 1000, 1), entry)), ROOTLESS)

    assert caught.value.origin == "$.linux.uidMappings[1]"


def test_root_of_a_user_namespace_can_map_only_what_it_has() -> None:
    host = replace(V2, in_user_namespace=True, uid_map=((0, 500000, 65536),))
    with pytest.raises(SpecError) as caught:
        compiled(mapped(), host)

    assert caught.value.origin == "$.linux.uidMappings[0]"


def test_groups_cannot_be_asked_for_where_setgroups_is_denied() -> None:
    value = rootless()
    assert value.process is not None
    user = User(uid=0, gid=0, additional_gids=(0,))
    with pytest.raises(UnsupportedError) as caught:
        compiled(replace(value, process=replace(value.process, user=user)), ROOTLESS)

    assert caught.value.origin == "$.process.user.additionalGids"


def test_paths_of_the_host_are_opened_by_the_parent_for_a_mapped_root() -> None:
    plan = compiled(mapped(), V2)

    assert plan.steps[names(plan).index("Rootfs")].fd >= 0  # type: ignore[attr-defined]
    assert "recursive tree of /bundles/web/rootfs" in plan.listing()
    assert (
        compiled(rootless(), ROOTLESS).steps[names(compiled(rootless(), ROOTLESS)).index("Rootfs")].fd == -1
    )  # type: ignore[attr-defined]


def test_nodes_are_bound_in_a_user_namespace() -> None:
    assert [step.target for step in steps(compiled(mapped()), Bind)][:1] == ["/dev/null"]


@pytest.mark.parametrize(
    ("host", "value", "uid"), [(V2, spec(), 0), (V2, mapped(), 65534), (ROOTLESS, rootless(), 0)]
)
def test_the_gate_knows_the_runtime_by_the_uid_that_the_container_sees(
    host: Host, value: Spec, uid: int
) -> None:
    assert steps(compiled(value, host), Gate)[0].uid == uid


@pytest.mark.parametrize(
    ("type", "namespace", "source"),
    [("sysfs", "network", "/sys"), ("proc", "pid", "/proc"), ("mqueue", "ipc", "/dev/mqueue")],
)
def test_kernel_file_systems_of_foreign_namespaces_are_bound(type: str, namespace: str, source: str) -> None:
    def shown(plan: Plan) -> object:
        return next(step for step in plan.steps if isinstance(step, (Bind, Mount)) and step.target == source)

    inherited = mapped(namespaces=namespaces(*(each for each in (*ALL, "user") if each != namespace)))
    bound = shown(compiled(inherited))
    assert isinstance(bound, Bind)
    assert bound.source == source
    assert isinstance(shown(compiled(mapped())), Mount)
    assert isinstance(shown(compiled(spec(namespaces=namespaces("mount", "uts")))), Mount)


def test_the_score_is_set_before_the_privilege_is_gone() -> None:
    plan = compiled(spec(oom_score_adj=-5))
    assert isinstance(plan.steps[0], OomScore)
    assert plan.oom_score_adj is None

    plan = compiled(mapped(oom_score_adj=-5))
    assert not steps(plan, OomScore)
    assert plan.oom_score_adj == -5
    assert "set oom_score_adj to -5" in plan.listing()


def test_limits_above_ours_are_raised_from_outside_of_the_user_namespace() -> None:
    limit = (SpecRlimit(type="RLIMIT_NOFILE", soft=10, hard=9999),)
    plan = compiled(mapped(rlimits=limit))
    assert [(each.name, each.soft, each.hard) for each in plan.limits_by_parent] == [
        ("RLIMIT_NOFILE", 9999, 9999)
    ]
    assert [(each.soft, each.hard) for each in steps(plan, Rlimit)] == [(10, 9999)]

    joined = spec(rlimits=limit, namespaces=(*namespaces(*ALL), *namespaces(user="/ns/user")))
    first, last = steps(compiled(joined), Rlimit)
    assert (first.soft, last.soft) == (9999, 10)

    assert not compiled(spec(rlimits=limit)).limits_by_parent
    with pytest.raises(UnsupportedError, match="CAP_SYS_RESOURCE"):
        compiled(spec(rlimits=limit), replace(V2, capabilities=0))
    with pytest.raises(UnsupportedError) as caught:
        compiled(mapped(rlimits=limit), replace(V2, capabilities=0))
    assert caught.value.origin == "$.process.rlimits[0]"


def test_a_created_container_is_open_to_its_ordinary_owner_alone() -> None:
    """Whoever is in a pid namespace that was joined could attach to it meanwhile: T12."""
    value = rootless()
    assert value.linux is not None
    joined = (*namespaces("mount", "user", "uts", "ipc"), *namespaces(pid="/ns/pid"))

    assert steps(compiled(value, ROOTLESS), Pause)[-1].dumpable
    assert not steps(compiled(mapped()), Pause)[-1].dumpable
    guarded = replace(value, linux=replace(value.linux, namespaces=joined))
    assert not steps(compiled(guarded, ROOTLESS), Pause)[-1].dumpable
