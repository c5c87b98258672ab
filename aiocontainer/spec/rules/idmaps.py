"""Rules of id maps, and of the ids that a user namespace must have.  user_namespaces(7)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from ...errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..linux import IDMapping, Linux
    from ..model import Spec
    from .shared import Problems

__all__ = ["map_problems", "user_namespace_problems"]

_MAX_ENTRIES = 340  # UID_GID_MAP_MAX_EXTENTS, Linux 4.15
_LAST = 2**32 - 1  # never an id

_SIDES: tuple[tuple[str, Callable[[IDMapping], int]], ...] = (
    ("containerID", lambda entry: entry.container_id),
    ("hostID", lambda entry: entry.host_id),
)


def map_problems(entries: Sequence[IDMapping], origin: str) -> Problems:
    """Everything wrong with one map."""
    if len(entries) > _MAX_ENTRIES:
        yield SpecError(f"more than {_MAX_ENTRIES} entries", origin=origin)
    for side, start in _SIDES:
        for index, entry in enumerate(entries):
            if start(entry) + entry.size > _LAST:
                yield SpecError(f"reaches beyond {_LAST - 1}", origin=f"{origin}[{index}].{side}")
        for index, other in _overlaps(entries, start):
            yield SpecError(f"overlaps with entry {other}", origin=f"{origin}[{index}].{side}")


def user_namespace_problems(spec: Spec) -> Problems:
    """Everything wrong with the maps of a container, and ids that they leave out."""
    linux = spec.linux
    if linux is None:
        return
    yield from map_problems(linux.uid_mappings, "$.linux.uidMappings")
    yield from map_problems(linux.gid_mappings, "$.linux.gidMappings")
    namespace = linux.namespace("user")
    if namespace is None or namespace.path:  # the maps of one that is joined are known when it is
        return
    for name, entries in (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings)):
        if not entries:
            yield SpecError("a new user namespace needs one", origin=f"$.linux.{name}")
        elif not _is_mapped(0, entries):
            yield SpecError("does not map root (0)", origin=f"$.linux.{name}")
    yield from _process_ids(spec, linux)


def _process_ids(spec: Spec, linux: Linux) -> Problems:
    for origin, id, entries in _ids(spec, linux):
        if entries and not _is_mapped(id, entries):
            yield SpecError(f"{id} has no id outside of the user namespace", origin=origin)


def _ids(spec: Spec, linux: Linux) -> Iterator[tuple[str, int, Sequence[IDMapping]]]:
    if spec.process is None:
        return
    user = spec.process.user
    yield "$.process.user.uid", user.uid, linux.uid_mappings
    yield "$.process.user.gid", user.gid, linux.gid_mappings
    for index, gid in enumerate(user.additional_gids):
        yield f"$.process.user.additionalGids[{index}]", gid, linux.gid_mappings


def _is_mapped(id: int, entries: Iterable[IDMapping]) -> bool:
    return any(entry.container_id <= id < entry.container_id + entry.size for entry in entries)


def _overlaps(entries: Sequence[IDMapping], start: Callable[[IDMapping], int]) -> Iterator[tuple[int, int]]:
    """Pairs of neighbours that share an id, the later in the document first."""
    order = sorted(range(len(entries)), key=lambda index: start(entries[index]))
    for one, next_one in pairwise(order):
        if start(entries[one]) + entries[one].size > start(entries[next_one]):
            yield max(one, next_one), min(one, next_one)
