"""T45 (CVE-2022-36109): supplementary groups are not those that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from ordinary import USER
from support.specs import with_linux, with_namespaces, with_process

from aiocontainer import Spec
from aiocontainer.spec import IDMapping, Namespace

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

OURS = [4, 27, 999, 70000]
"""Groups of the caller."""


def spec(rootfs: str, *gids: int, user_namespace: bool = False) -> str:
    base = with_process(Spec.default(["guest"], rootfs=rootfs))
    base = base.with_user(1000, 1000, additional_gids=gids)
    if user_namespace:
        assert base.linux is not None
        maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
        namespaces = (*base.linux.namespaces, Namespace(type="user"))
        linux = replace(base.linux, namespaces=namespaces, uid_mappings=maps, gid_mappings=maps)
        base = replace(base, linux=linux)
    return base.encode().decode()


@pytest.mark.parametrize("user_namespace", [False, True], ids=["host-ids", "user-namespace"])
@pytest.mark.parametrize("gids", [(), (2000,), (4, 2000, 3000)], ids=str)
def test_groups_are_the_list(
    bad_parent: Callable[..., dict[str, Any]], guestfs: str, gids: tuple[int, ...], user_namespace: bool
) -> None:
    report = bad_parent(spec=spec(guestfs, *gids, user_namespace=user_namespace), groups=OURS)
    assert sorted(report["guest"]["groups"]) == sorted(gids), report
    assert report["guest"]["gids"] == [1000] * 3


@pytest.mark.parametrize("user_namespace", [False, True], ids=["host-ids", "user-namespace"])
def test_groups_of_exec(
    bad_parent: Callable[..., dict[str, Any]], guestfs: str, user_namespace: bool
) -> None:
    text = spec(guestfs, 2000, user_namespace=user_namespace).replace('"guest"', '"sleep","60"')
    for options, groups in (
        ({}, [2000]),
        ({"additional_gids": [3000]}, [2000, 3000]),
        ({"user": "1001:1001"}, []),
    ):
        report = bad_parent(spec=text, groups=OURS, exec=options)
        assert sorted(report["exec"]["guest"]["groups"]) == groups, report


def for_user(rootfs: str, *gids: int) -> Spec:
    """What an ordinary user can have by himself: one id of each kind, and no setgroups(2)."""
    base = Spec.default(["sleep", "60"], rootfs=rootfs).with_user(0, 0, additional_gids=gids)
    maps = (IDMapping(container_id=0, host_id=USER, size=1),)
    return with_linux(
        with_namespaces(base, "mount", "pid", "uts", "ipc", "user"), uid_mappings=maps, gid_mappings=maps
    )


def test_setgroups_is_denied_to_who_maps_one_group(
    as_user: Callable[..., dict[str, Any]], guestfs: str
) -> None:
    """CVE-2014-8989: to drop a group could be to gain what it is kept from."""
    report = as_user(for_user(guestfs), groups=(4, 999))
    assert report["setgroups"] == "deny", report
    assert report["groups"] == [4, 999]


def test_groups_that_cannot_be_are_refused(as_user: Callable[..., dict[str, Any]], guestfs: str) -> None:
    report = as_user(for_user(guestfs, 0))
    assert report["error"] == "UnsupportedError", report
    assert report["origin"] == "$.process.user.additionalGids"
