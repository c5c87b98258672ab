"""Id-mapped mounts, and user namespaces that are joined: whose ids are whose."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from plan_hosts import ROOTLESS, V2, compiled, namespaces, rootless, spec, steps, with_mount

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.plan import IdMaps, MountMap, Plan, Tree
from aiocontainer.plan.steps import Bind, Gate, JoinNamespace, Unshare
from aiocontainer.spec import IDMapping, User
from aiocontainer.spec import Mount as SpecMount

CONTAINER = (
    IDMapping(container_id=0, host_id=100000, size=1000),
    IDMapping(container_id=1000, host_id=7, size=1),
)
OWN = (IDMapping(container_id=0, host_id=5000, size=10),)
RANGES = ((0, 100000, 1000), (1000, 7, 1))
JOINED = IdMaps(RANGES, RANGES)


def bind(*options: str, **changes: Any) -> SpecMount:
    return replace(SpecMount(destination="/m", type="bind", source="/data", options=options), **changes)


def tree(plan: Plan) -> Tree:
    (step,) = steps(plan, Bind)[:1]
    found = plan.fds[step.fd]
    assert isinstance(found, Tree)
    return found


def mapped(mount: SpecMount, **changes: Any) -> Plan:
    types = namespaces("mount", "pid", "uts", "ipc", "user")
    return compiled(
        with_mount(mount, namespaces=types, uid_mappings=CONTAINER, gid_mappings=CONTAINER, **changes)
    )


def refused(mount: SpecMount, **changes: Any) -> SpecError | UnsupportedError:
    with pytest.raises((SpecError, UnsupportedError)) as caught:
        mapped(mount, **changes)
    return caught.value


def test_maps_of_the_mount_need_no_user_namespace() -> None:
    plan = compiled(with_mount(bind("bind", uid_mappings=OWN, gid_mappings=OWN)))

    assert tree(plan) == Tree(
        "/data", False, "$.mounts[0].source", map=MountMap(((0, 5000, 10),), ((0, 5000, 10),))
    )
    assert "mapped by uids 0-5000-10, gids 0-5000-10" in plan.listing()


@pytest.mark.parametrize(("options", "recursive"), [(("rbind", "idmap"), False), (("rbind", "ridmap"), True)])
def test_the_container_lends_its_maps(options: tuple[str, ...], recursive: bool) -> None:
    assert tree(mapped(bind(*options))).map == MountMap(RANGES, RANGES, recursive)


def test_maps_of_the_mount_come_before_those_of_the_container() -> None:
    found = tree(mapped(bind("rbind", "ridmap", uid_mappings=OWN, gid_mappings=OWN))).map
    assert found == MountMap(((0, 5000, 10),), ((0, 5000, 10),), True)


def test_maps_may_stand_in_the_option() -> None:
    found = tree(mapped(bind("bind", "idmap=uids=0-1-2#5-9-3;gids=4-5-6"))).map
    assert found == MountMap(((0, 1, 2), (5, 9, 3)), ((4, 5, 6),))


def test_maps_in_the_option_may_be_relative_to_the_container() -> None:
    found = tree(mapped(bind("bind", "ridmap=uids=@10-3-5;gids=@1000-1000-1#0-0-1"))).map
    assert found == MountMap(((10, 100003 - 0, 5),), ((1000, 7, 1), (0, 0, 1)), True)


@pytest.mark.parametrize(
    "text",
    [
        *("uids=0-1-2", "gids=0-1-2", "uids=0-1-2;uids=0-1-2", "uids=0-1-2;gids=", "x=0-1-2;gids=0-1-2"),
        *("uids=0-1;gids=0-1-2", "uids=0-1-0;gids=0-1-2", "uids=0-1--2;gids=0-1-2", "uids=+0-1-2;gids=0-1-2"),
        *("uids=0-1-2#1-9-9;gids=0-1-2", "uids=0-4294967295-1;gids=0-1-2", "uids=@999-0-2;gids=0-1-2"),
        *("uids=\u0661-1-1;gids=0-1-2", "uids=99999999999-1-1;gids=0-1-2", ";", "uids=0-1-2;gids=0-1-2;"),
    ],
)
def test_bad_maps_in_the_option_are_refused(text: str) -> None:
    assert refused(bind("bind", f"idmap={text}")).origin == "$.mounts[0].options[1]"


def test_nothing_to_map_by_is_refused() -> None:
    with pytest.raises(SpecError, match="no maps") as caught:
        compiled(with_mount(bind("bind", "idmap")))
    assert caught.value.origin == "$.mounts[0].options[1]"


def test_maps_are_given_once() -> None:
    error = refused(bind("bind", "idmap=uids=0-1-2;gids=0-1-2", uid_mappings=OWN, gid_mappings=OWN))
    assert error.origin == "$.mounts[0].options[1]"


@pytest.mark.parametrize("options", [("idmap",), ("remount", "bind", "idmap")])
def test_only_a_bind_is_mapped(options: tuple[str, ...]) -> None:
    mount = bind(*options, type="tmpfs", source="tmpfs")
    assert refused(mount).origin == f"$.mounts[0].options[{len(options) - 1}]"


def test_an_ordinary_user_maps_no_mount() -> None:
    value = replace(rootless(), mounts=(bind("rbind", "idmap"),))
    with pytest.raises(UnsupportedError) as caught:
        compiled(value, ROOTLESS)
    assert caught.value.origin == "$.mounts[0].options[1]"


# Joined.


def joined(**changes: Any) -> Any:
    types = namespaces("mount", "pid", "uts", "ipc", user="/ns/user")
    return spec(namespaces=types, mounts=(), **changes)


def test_maps_of_a_joined_user_namespace_are_used() -> None:
    value = replace(joined(), mounts=(bind("rbind", "idmap"),))
    plan = compiled(value, joined_maps=JOINED)

    assert tree(plan).map == MountMap(RANGES, RANGES)
    assert steps(plan, Gate)[0].uid == 65534


def test_the_runtime_is_whom_the_joined_maps_say() -> None:
    maps = IdMaps(((0, 0, 10),), ((0, 0, 10),))
    assert steps(compiled(joined(), joined_maps=maps), Gate)[0].uid == 0


def test_the_same_maps_are_odd_and_others_are_wrong() -> None:
    plan = compiled(joined(uid_mappings=CONTAINER[::-1], gid_mappings=CONTAINER), joined_maps=JOINED)
    assert [warning.partition(":")[0] for warning in plan.warnings] == [
        "$.linux.uidMappings",
        "$.linux.gidMappings",
    ]
    with pytest.raises(SpecError, match="0 100000 1000, 1000 7 1") as caught:
        compiled(joined(uid_mappings=OWN), joined_maps=JOINED)
    assert caught.value.origin == "$.linux.uidMappings"


@pytest.mark.parametrize(
    ("user", "origin"),
    [
        (User(uid=1001), "$.process.user.uid"),
        (User(gid=1001), "$.process.user.gid"),
        (User(additional_gids=(1, 2000)), "$.process.user.additionalGids[1]"),
    ],
)
def test_ids_of_the_process_are_in_the_joined_maps(user: User, origin: str) -> None:
    with pytest.raises(SpecError) as caught:
        compiled(joined(user=user), joined_maps=JOINED)
    assert caught.value.origin == origin


def test_joining_where_we_are_does_nothing() -> None:
    types = namespaces("mount", "pid", user="/ns/user", network="/ns/net", uts="/ns/uts", ipc="/ns/ipc")
    value = spec(namespaces=types, hostname="")
    plan = compiled(value, own_namespaces=frozenset({"user", "network", "uts", "ipc"}))

    assert not steps(plan, JoinNamespace)
    assert steps(plan, Unshare)
    assert plan.maps is None


def test_a_mount_namespace_that_is_ours_is_none() -> None:
    value = spec(namespaces=namespaces("pid", "uts", "ipc", mount="/ns/mnt"))
    with pytest.raises(SpecError, match="would change the host") as caught:
        compiled(value, V2, own_namespaces=frozenset({"mount"}))
    assert caught.value.origin == "$.mounts"
