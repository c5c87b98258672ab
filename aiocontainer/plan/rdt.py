"""Cache and memory bandwidth: which resctrl group the container is in.  OCI config-linux.md "IntelRdt"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import SpecError, UnsupportedError
from .plan import ResctrlTasks
from .resctrl import ResctrlGroup
from .steps import JoinCgroup, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..spec import IntelRdt
    from .host import Host
    from .options import Options
    from .plan import PlanFd

__all__ = ["changed_lines", "join_resctrl", "resctrl_group"]

ORIGIN: Final = "$.linux.intelRdt"
RESCTRL: Final = "resctrl"
"""What steps call the hierarchy; no controller has that name."""

RESERVED: Final = frozenset({"info", "mon_groups", "mon_data"})
"""Directories of the file system itself."""


def resctrl_group(rdt: IntelRdt | None, host: Host, options: Options) -> ResctrlGroup | None:
    """Return the group of a container; None if the specification asks for none."""
    if rdt is None:
        return None
    if host.resctrl is None or not host.privileged:
        needs = "a resctrl file system" if host.resctrl is None else "root"
        raise UnsupportedError("a share of the cache", needs=needs, origin=ORIGIN)
    _check(rdt, host, ORIGIN)
    if rdt.enable_monitoring and not host.resctrl.monitoring:
        raise UnsupportedError("monitoring", needs="a CPU with it", origin=f"{ORIGIN}.enableMonitoring")
    return ResctrlGroup(
        root=host.resctrl.root,
        name=_name(rdt, options),
        named=bool(rdt.clos_id),
        monitor=options.id if rdt.enable_monitoring else "",
        lines=_lines(rdt),
    )


def changed_lines(rdt: IntelRdt | None, group: ResctrlGroup | None, host: Host) -> tuple[str, ...]:
    """Return the lines that change the share of a container that is in *group*."""
    if rdt is None:
        return ()
    if group is None:
        raise UnsupportedError("another share of the cache", needs="one from create on", origin="$.intelRdt")
    _check(rdt, host, "$.intelRdt")
    return _lines(rdt)


def _lines(rdt: IntelRdt) -> tuple[str, ...]:
    return (*rdt.l3_cache_schema.splitlines(), *rdt.mem_bw_schema.splitlines(), *rdt.schemata)


def _check(rdt: IntelRdt, host: Host, origin: str) -> None:
    resources = host.resctrl.resources if host.resctrl is not None else frozenset[str]()
    for asked, wanted, name in (
        (rdt.l3_cache_schema, _resources(rdt.l3_cache_schema), "l3CacheSchema"),
        (rdt.mem_bw_schema, {"MB"}, "memBwSchema"),
    ):
        missing = wanted - resources
        if asked and missing:
            raise UnsupportedError(
                ", ".join(sorted(missing)), needs="a CPU with it", origin=f"{origin}.{name}"
            )


def _resources(schema: str) -> set[str]:
    return {line.partition(":")[0] for line in schema.splitlines()}


def _name(rdt: IntelRdt, options: Options) -> str:
    if rdt.clos_id == "/":
        return ""
    name = rdt.clos_id or options.id
    if name in RESERVED:
        raise SpecError(f"{name!r} is a directory of resctrl itself", origin=f"{ORIGIN}.closID")
    return name


def join_resctrl(files: Iterable[str], origin: str, pass_fd: Callable[[PlanFd], int]) -> Iterator[Step]:
    """Yield the steps that enter the group: by writing "0", as into the cgroups of v1."""
    for file in files:
        yield JoinCgroup(origin, pass_fd(ResctrlTasks(file)), RESCTRL)
