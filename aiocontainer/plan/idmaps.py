"""Id maps of a new user namespace, and who may write them.  user_namespaces(7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SpecError, UnsupportedError
from .flags import CAP_SYS_ADMIN
from .plan import IdMaps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..spec import IDMapping, Linux, User
    from .host import Host
    from .namespaces import Namespaces

__all__ = ["check_joined", "check_user", "id_maps", "inside", "owner_outside", "written_maps"]

Ranges = tuple[tuple[int, int, int], ...]


def id_maps(linux: Linux, namespaces: Namespaces, host: Host) -> IdMaps | None:
    """Return the maps of the new user namespace; None where there is none to map."""
    if not namespaces.has("user"):
        _require_root(host)
        return None
    if not namespaces.is_new("user"):
        return None
    uid = _ranges(linux.uid_mappings)
    gid = _ranges(linux.gid_mappings)
    if host.privileged:
        _check_ours(uid, host.uid_map, "$.linux.uidMappings")
        _check_ours(gid, host.gid_map, "$.linux.gidMappings")
        return IdMaps(uid, gid, deny_setgroups=host.setgroups_denied)
    return _ordinary_maps(uid, gid, host)


def check_joined(linux: Linux, joined: IdMaps) -> Iterator[str]:
    """Compare the maps of the specification with those of the user namespace that is joined.

    It has had them since it was made: to repeat them is odd, others are a mistake.
    """
    for name, wanted, found in (
        ("uidMappings", linux.uid_mappings, joined.uid),
        ("gidMappings", linux.gid_mappings, joined.gid),
    ):
        if wanted and sorted(_ranges(wanted)) != sorted(found):
            has = ", ".join("{} {} {}".format(*each) for each in found) or "none"
            raise SpecError(f"the user namespace that is joined has others: {has}", origin=f"$.linux.{name}")
        if wanted:
            yield f"$.linux.{name}: the user namespace that is joined has them already"


def check_user(user: User, joined: IdMaps) -> None:
    """Refuse ids of the process that the user namespace that is joined does not have."""
    for name, id, ranges in (
        ("uid", user.uid, joined.uid),
        ("gid", user.gid, joined.gid),
        *((f"additionalGids[{index}]", gid, joined.gid) for index, gid in enumerate(user.additional_gids)),
    ):
        if not inside(id, ranges):
            raise SpecError(
                f"{id} has no id outside of the user namespace that is joined",
                origin=f"$.process.user.{name}",
            )


def inside(id: int, ranges: Ranges) -> bool:
    """Whether an id of the container is mapped."""
    return any(first <= id < first + size for first, _, size in ranges)


def owner_outside(user: User, maps: IdMaps | None) -> tuple[int, int] | None:
    """Return the ids that a user has outside; None without maps, or for a user that they leave out."""
    if maps is None:
        return None
    uid, gid = _outside(user.uid, maps.uid), _outside(user.gid, maps.gid)
    return None if uid is None or gid is None else (uid, gid)


def written_maps(linux: Linux) -> IdMaps:
    """Return the maps as the specification has them."""
    return IdMaps(_ranges(linux.uid_mappings), _ranges(linux.gid_mappings))


def _outside(id: int, ranges: Ranges) -> int | None:
    return next((outer + id - first for first, outer, size in ranges if first <= id < first + size), None)


def _require_root(host: Host) -> None:
    if not host.privileged and not host.capable(CAP_SYS_ADMIN):
        raise UnsupportedError(
            "a container without a user namespace",
            needs='root, or a namespace of type "user"',
            origin="$.linux.namespaces",
        )


def _ranges(mappings: Iterable[IDMapping]) -> Ranges:
    return tuple((each.container_id, each.host_id, each.size) for each in mappings)


def _within(first: int, size: int, pools: Iterable[tuple[int, int]]) -> bool:
    return any(start <= first and first + size <= start + count for start, count in pools)


def _check_ours(ranges: Ranges, ours: Ranges, origin: str) -> None:
    """Refuse ids that we do not have ourselves, being root of a user namespace only."""
    pools = [(first, size) for first, _, size in ours]
    for index, (_, outside, size) in enumerate(ranges):
        if not _within(outside, size, pools):
            raise SpecError(
                f"ids {outside} to {outside + size - 1} are not those of the runtime",
                origin=f"{origin}[{index}]",
            )


def _ordinary_maps(uid: Ranges, gid: Ranges, host: Host) -> IdMaps:
    """Decide how an ordinary user gets these maps: alone for the own ids, by the tools for more."""
    own_uid = _is_own(uid, host.euid)
    own_gid = _is_own(gid, host.egid)
    use_tools = not (own_uid and own_gid)
    if use_tools:
        _check_subordinate(uid, host.euid, host.subuid, "$.linux.uidMappings", "/etc/subuid")
        _check_subordinate(gid, host.egid, host.subgid, "$.linux.gidMappings", "/etc/subgid")
        _require_tool(host.newuidmap, "newuidmap", "$.linux.uidMappings")
        _require_tool(host.newgidmap, "newgidmap", "$.linux.gidMappings")
    # The kernel lets us map our group alone only without setgroups(2): CVE-2014-8989.
    return IdMaps(uid, gid, deny_setgroups=own_gid or host.setgroups_denied, use_tools=use_tools)


def _is_own(ranges: Ranges, id: int) -> bool:
    return len(ranges) == 1 and ranges[0][1:] == (id, 1)


def _check_subordinate(
    ranges: Ranges, own: int, pools: tuple[tuple[int, int], ...], origin: str, file: str
) -> None:
    for index, (_, outside, size) in enumerate(ranges):
        if not _within(outside, size, ((own, 1), *pools)):
            raise SpecError(
                f"ids {outside} to {outside + size - 1} are not granted in {file}",
                origin=f"{origin}[{index}]",
            )


def _require_tool(path: str | None, name: str, origin: str) -> None:
    if path is None:
        raise UnsupportedError("mapping more ids than our own", needs=f"{name}(1)", origin=origin)
