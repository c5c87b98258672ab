"""Id-mapped mounts: which maps one has.  OCI config.md "Mounts", mount_setattr(2) MOUNT_ATTR_IDMAP.

The ids of the file system are those "inside" of the map, and what is seen through the mount are those
"outside", as with the owner of a container's own files: where both have the same maps, root of the
container owns what root owns on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SpecError, UnsupportedError
from ..spec import IDMapping, map_problems
from .plan import MountMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec import Mount as SpecMount
    from .draft import Draft
    from .mount_options import IdmapOption, MountOptions

__all__ = ["mount_map"]

Ranges = tuple[tuple[int, int, int], ...]

_LAST_ID = 2**32 - 2


def mount_map(draft: Draft, mount: SpecMount, options: MountOptions, origin: str) -> MountMap | None:
    """Return the maps of a bind; None if it shows the owners that there are."""
    asked = options.idmap
    own = mount.uid_mappings or mount.gid_mappings
    if asked is None and not own:
        return None
    where = f"{origin}.uidMappings" if asked is None else asked.origin
    if not draft.host.privileged:
        raise UnsupportedError("an id-mapped mount", needs="root of the file system", origin=where)
    if own and asked is not None and asked.text:
        raise SpecError("maps in the option, and in the mount", origin=where)
    if own:
        uid, gid = _ranges(mount.uid_mappings), _ranges(mount.gid_mappings)
    elif asked is not None and asked.text:
        uid, gid = _inline(draft, asked)
    else:
        uid, gid = _containers(draft, where)
    return MountMap(uid, gid, recursive=asked is not None and asked.recursive)


def _ranges(mappings: Sequence[IDMapping]) -> Ranges:
    return tuple((each.container_id, each.host_id, each.size) for each in mappings)


def _containers(draft: Draft, origin: str) -> tuple[Ranges, Ranges]:
    """Return the maps of the container's user namespace, made for it or joined."""
    if draft.known_maps is None:
        raise SpecError("no maps in the mount, and none of a user namespace", origin=origin)
    return draft.known_maps.uid, draft.known_maps.gid


def _inline(draft: Draft, option: IdmapOption) -> tuple[Ranges, Ranges]:
    """Read crun's form: ``uids=0-1000-10#20-2000-5;gids=0-1000-1``."""
    fields = dict[str, str]()
    for field in option.text.split(";"):
        name, _, text = field.partition("=")
        if name not in {"uids", "gids"} or name in fields or not text:
            raise SpecError(f"{field!r}: needs one of uids= and gids= each", origin=option.origin)
        fields[name] = text
    if len(fields) != 2:
        raise SpecError("maps of users and of groups go together", origin=option.origin)
    known = draft.known_maps
    return (
        _triples(fields["uids"], known.uid if known else (), option.origin),
        _triples(fields["gids"], known.gid if known else (), option.origin),
    )


def _triples(text: str, container: Ranges, origin: str) -> Ranges:
    found = tuple(_triple(part, container, origin) for part in text.split("#"))
    entries = [IDMapping(container_id=inside, host_id=outside, size=size) for inside, outside, size in found]
    for problem in map_problems(entries, origin):
        raise SpecError(f"{text!r}: {problem.problem}", origin=origin)
    return found


def _triple(text: str, container: Ranges, origin: str) -> tuple[int, int, int]:
    """Read one range; with "@" in front its ids outside are counted from where the container's are.

    crun(1) "idmap": the host's id is shifted as the container's own map shifts the id inside.
    """
    numbers = text.removeprefix("@").split("-")
    if len(numbers) != 3 or not all(each.isascii() and each.isdigit() and len(each) < 11 for each in numbers):
        raise SpecError(f"{text!r} is no range of ids, as 0-1000-10 is", origin=origin)
    inside, outside, size = map(int, numbers)
    if not 0 < size <= _LAST_ID + 1:
        raise SpecError(f"{text!r} has no ids", origin=origin)
    if text.startswith("@"):
        outside += _shift(inside, size, container, f"{text!r}", origin)
    return inside, outside, size


def _shift(inside: int, size: int, container: Ranges, text: str, origin: str) -> int:
    for first, outside, count in container:
        if first <= inside and inside + size <= first + count:
            return outside - first
    raise SpecError(f"{text}: the container's user namespace has no such range", origin=origin)
