"""Limits: which values go to which files of a container's cgroup.  OCI config-linux.md "Control groups".

Pure: what is asked, what this machine has, and for an update what holds already, give a list of
writes.  Where a field has no file, it is refused by its address, or, if doing without takes nothing
from anybody, a warning tells so.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from .._lazy import pattern
from .._tuples import NamedTuple
from ..errors import SpecError, UnsupportedError
from ..spec import Resources, at
from . import limits_v1 as v1
from . import limits_v2 as v2
from .host import CgroupMode
from .limits_merge import meant, merged
from .limits_v1 import Ask
from .plan import CgroupWrite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .host import Host

__all__ = ["cgroup_limits", "limit_warnings", "limited"]

_NAME: Final = pattern(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)+")

_CORE: Final = frozenset({"cgroup.max.depth", "cgroup.max.descendants", "cgroup.pressure"})
"""Settings of every cgroup; the other core files move, freeze, kill or pass on, which is the runtime's."""

_KEYED: Final = frozenset({"io.max", "io.weight", "io.bfq.weight", "io.latency", "rdma.max", "misc.max"})
"""Files with a line for each device: what is written says nothing of the other lines."""


class _Section(NamedTuple):
    """A controller: its name and its writes in v1 and in v2; "" where it has none."""

    v1: str
    v2: str
    writes_v1: Callable[[Ask], Iterator[CgroupWrite]]
    writes_v2: Callable[[Ask], Iterator[CgroupWrite]]


_SECTIONS: Final = (
    _Section("pids", "pids", v1.pids, v1.pids),
    _Section("memory", "memory", v1.memory, v2.memory),
    _Section("blkio", "io", v1.block_io, v2.block_io),
    _Section("cpu", "cpu", v1.cpu, v2.cpu),
    _Section("cpuset", "cpuset", v1.cpuset, v1.cpuset),
    _Section("hugetlb", "hugetlb", v1.hugetlb, partial(v1.hugetlb, file="max")),
    _Section("rdma", "rdma", v1.rdma, v1.rdma),
    _Section("net_cls", "", v1.net_cls, v2.nothing),
    _Section("net_prio", "", v1.net_prio, v2.nothing),
)
"""In the order in which they are set."""


class _Home(NamedTuple):
    """Where a section is controlled on a machine."""

    controller: str
    unified: bool
    available: bool


def cgroup_limits(
    resources: Resources, host: Host, origin: str, current: Resources | None = None
) -> tuple[CgroupWrite, ...]:
    """Return what to write, in order.

    Only for what *resources* say, but with *current*, what holds already, in mind.  Raises SpecError
    and UnsupportedError with addresses below *origin*.
    """
    asked = meant(resources)
    whole = merged(current, asked) if current is not None else asked
    _check_pages(asked, host, origin)
    ask = Ask(asked, whole, origin)
    writes = [write for section in _SECTIONS for write in _section_writes(section, ask, host)]
    unified = [*_unified(asked, host, origin)]
    overridden = {write.file for write in unified} - _KEYED
    writes = [write for write in writes if write.file not in overridden]
    for write in (*writes, *unified):
        if _NAME.fullmatch(write.file) is None:
            raise SpecError(f"{write.file!r} is not the name of a cgroup file", origin=write.origin)
    return (*writes, *unified)


def limit_warnings(
    resources: Resources, host: Host, origin: str, current: Resources | None = None
) -> Iterator[str]:
    """Tell what is asked for and done without."""
    asked = meant(resources)
    whole = merged(current, asked) if current is not None else asked
    if whole.cpu is not None and whole.cpu.idle == 1 and asked.cpu is not None and asked.cpu.shares:
        yield f"{origin}.cpu.shares: ignored, idle has no weight"
    if _home(_SECTIONS[2], host).unified:
        yield from v2.block_io_warnings(asked, origin)
    if host.cgroup_mode is CgroupMode.V2 and asked.network is not None:
        network = asked.network
        for name, value in (("classID", network.class_id), ("priorities", network.priorities)):
            if value:
                yield f"{origin}.network.{name}: cgroup v2 has no counterpart, ignored"


def limited(resources: Resources | None, origin: str) -> str | None:
    """Return the address of the first limit that is asked for; None where none is, devices aside.

    What asks for no limit, as the writers of some documents do for every field, does not count.
    """
    if resources is None:
        return None
    return next(_asking(replace(meant(resources), devices=None), origin), None)


def _asking(value: object, origin: str) -> Iterator[str]:
    if isinstance(value, Struct):
        for field, name in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            yield from _asking(getattr(value, field), f"{origin}.{name}")
    elif isinstance(value, int):
        if value > 0 or (value == 0 and origin.endswith(".pids.limit")):
            yield origin
    elif value:
        yield origin


def _section_writes(section: _Section, ask: Ask, host: Host) -> Iterator[CgroupWrite]:
    home = _home(section, host)
    make = section.writes_v2 if home.unified else section.writes_v1
    for write in make(ask):
        if home.available:
            yield write
        elif not write.optional:
            raise _missing(home.controller, host, write.origin)


def _home(section: _Section, host: Host) -> _Home:
    """Tell where: a hybrid machine has each controller in v1 or in the unified hierarchy beside it."""
    if host.cgroup_mode is CgroupMode.V2:
        return _Home(section.v2, unified=True, available=section.v2 in host.cgroup_controllers)
    if any(section.v1 in hierarchy.split(",") for hierarchy in host.cgroup_hierarchies):
        return _Home(section.v1, unified=False, available=True)
    if section.v2 in host.cgroup_controllers:
        return _Home(section.v2, unified=True, available=True)
    return _Home(section.v1, unified=False, available=False)


def _missing(controller: str, host: Host, origin: str) -> UnsupportedError:
    needs = f"the {controller} controller"
    if host.cgroup_mode is CgroupMode.V2 and not host.privileged:
        needs += ", delegated to us"
    return UnsupportedError("this limit", needs=needs, origin=origin)


def _check_pages(asked: Resources, host: Host, origin: str) -> None:
    """Want sizes that the kernel has: they become part of file names."""
    for index, limit in enumerate(asked.hugepage_limits):
        if limit.page_size not in host.hugepage_sizes:
            known = ", ".join(sorted(host.hugepage_sizes)) or "none"
            raise UnsupportedError(
                f"huge pages of {limit.page_size}",
                needs=f"a kernel that has them (this one: {known})",
                origin=f"{origin}.hugepageLimits[{index}].pageSize",
            )


def _unified(asked: Resources, host: Host, origin: str) -> Iterator[CgroupWrite]:
    """Yield the files that the specification itself names, each line a write."""
    for file, value in asked.unified.items():
        place = at(f"{origin}.unified", file)
        if host.cgroup_mode is not CgroupMode.V2:
            raise UnsupportedError(f"the file {file}", needs="cgroup v2", origin=place)
        controller = file.partition(".")[0]
        if controller == "cgroup":
            if file not in _CORE:
                raise UnsupportedError(
                    f"setting {file}", needs="an operation of the runtime instead", origin=place
                )
            controller = ""
        elif controller not in host.cgroup_controllers:
            raise _missing(controller, host, place)
        for line in value.splitlines() or [""]:
            yield CgroupWrite(place, controller, file, line)
