"""T62: id maps of many entries arrive whole, whoever writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from ordinary import FIRST, USER
from support.guest import look_by_exec

from aiocontainer import Runtime, Spec, SpecError
from aiocontainer.spec import IDMapping, Namespace

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("root", "userns", "gcc", "busybox")

COUNTS = (1, 5, 6, 7, 20, 21, 100, 340)

Maps = tuple[IDMapping, ...]


def maps(count: int, first: int = FIRST, root: int | None = None) -> Maps:
    """So many entries of different sizes, from id 0 on, out of order on the other side.

    `root` is who id 0 is, where he is another.
    """
    entries, inside, outside = [], 0, first + 2000
    for index in range(count):
        size = 1 + index % 3
        outside -= size + 1
        entries.append(IDMapping(container_id=inside, host_id=outside, size=size))
        inside += size
    if root is not None:
        entries[0] = IDMapping(container_id=0, host_id=root, size=1)
    return tuple(entries)


def spec(rootfs: str, uids: Maps, gids: Maps, *namespaces: str) -> Spec:
    base = Spec.default(["sleep", "60"], rootfs=rootfs)
    assert base.linux is not None
    kept = [each for each in base.linux.namespaces if not namespaces or each.type in namespaces]
    linux = replace(
        base.linux, namespaces=(*kept, Namespace(type="user")), uid_mappings=uids, gid_mappings=gids
    )
    return replace(base, linux=linux)


def written(entries: Maps) -> list[tuple[int, int, int]]:
    return sorted((entry.container_id, entry.host_id, entry.size) for entry in entries)


def of_process(pid: int, name: str) -> list[tuple[int, ...]]:
    with open(f"/proc/{pid}/{name}") as file:
        return sorted(tuple(map(int, line.split())) for line in file)


@pytest.mark.parametrize("count", COUNTS)
async def test_by_root(runtime: Runtime, guestfs: str, count: int) -> None:
    uids, gids = maps(count), maps(count, FIRST + 3000)
    async with runtime.container(spec(guestfs, uids, gids)) as container:
        assert of_process(container.pid, "uid_map") == written(uids)
        assert of_process(container.pid, "gid_map") == written(gids)
        found = await look_by_exec(container)
        assert (found["uids"], found["gids"]) == ([0] * 3, [0] * 3)
        last = uids[-1].container_id
        found = await look_by_exec(container, user=f"{last}:{last}")
        assert (found["uids"], found["gids"]) == ([last] * 3, [last] * 3)


@pytest.mark.parametrize("entries", [maps(341), maps(340, 1000000)], ids=["entries", "text"])
async def test_too_many(runtime: Runtime, guestfs: str, entries: Maps) -> None:
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, spec(guestfs, entries, maps(1)))
    assert caught.value.origin.startswith("$.linux.uidMappings")


@pytest.mark.parametrize(
    "broken",
    [
        (IDMapping(container_id=0, host_id=1, size=0),),
        (IDMapping(container_id=0, host_id=1, size=10), IDMapping(container_id=9, host_id=100, size=1)),
        (IDMapping(container_id=0, host_id=1, size=10), IDMapping(container_id=10, host_id=5, size=1)),
        (IDMapping(container_id=0, host_id=2**32 - 2, size=5),),
        (IDMapping(container_id=1, host_id=1, size=5),),
        (),
    ],
    ids=["empty", "overlap-inside", "overlap-outside", "overflow", "without-root", "none"],
)
async def test_broken(runtime: Runtime, guestfs: str, broken: Maps) -> None:
    for uids, gids in ((broken, maps(1)), (maps(1), broken)):
        with pytest.raises(SpecError):
            await runtime.create(None, spec(guestfs, uids, gids))


# By an ordinary user, with the tools.


@pytest.mark.needs("uidmap")
@pytest.mark.parametrize("count", COUNTS)
def test_by_the_tools(as_user: Callable[..., dict[str, Any]], guestfs: str, count: int) -> None:
    uids, gids = maps(count, root=USER), maps(count, FIRST + 3000, root=USER)
    report = as_user(spec(guestfs, uids, gids, "pid", "mount", "uts", "ipc"))
    assert report.get("uid_map") == [list(entry) for entry in written(uids)], report
    assert report["gid_map"] == [list(entry) for entry in written(gids)]


@pytest.mark.needs("uidmap")
def test_by_an_application_that_is_not_dumpable(as_user: Callable[..., dict[str, Any]], guestfs: str) -> None:
    """As one is that was started by root and has become somebody else: its /proc/self is root's."""
    uids, gids = maps(1, root=USER), maps(1, root=USER)
    report = as_user(spec(guestfs, uids, gids, "pid", "mount", "uts", "ipc"), dumpable=False)
    assert report.get("uid_map") == [[0, USER, 1]], report


@pytest.mark.needs("uidmap")
def test_what_was_not_granted(as_user: Callable[..., dict[str, Any]], guestfs: str) -> None:
    report = as_user(
        spec(guestfs, maps(2, 900000, root=USER), maps(2, root=USER), "pid", "mount", "uts", "ipc")
    )
    assert report["error"] == "SpecError"
    assert report["origin"].startswith("$.linux.uidMappings")
