"""Where the container's cgroup is.  OCI config-linux.md "Cgroups Path"."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from ..errors import SpecError, UnsupportedError
from ..spec import Resources
from .device_filter import device_filter
from .devices import device_rules
from .host import CgroupMode
from .limits import cgroup_limits, limited
from .paths import clean
from .plan import CgroupPlan, CgroupTasks
from .steps import JoinCgroup, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..spec import Linux, Mount
    from .draft import Draft
    from .host import Host
    from .options import Options
    from .plan import PlanFd

__all__ = ["cgroup_owner", "cgroup_paths", "cgroup_plan", "cgroup_steps", "join_steps"]

ORIGIN = "$.linux.cgroupsPath"
RESOURCES = "$.linux.resources"
VIEW = "/sys/fs/cgroup"
_SYSTEMD_FIELDS = 3


def cgroup_plan(linux: Linux, host: Host, options: Options, *, user_namespace: bool) -> CgroupPlan | None:
    """Return the cgroup to make; None if the container stays in the runtime's own."""
    resources = linux.resources or Resources()
    asked = limited(resources, RESOURCES)
    if not options.cgroups:
        if asked is not None:
            raise UnsupportedError("a limit", needs="a cgroup, and none was wanted", origin=asked)
        return None
    path, by_manager = linux.cgroups_path, options.cgroup_driver == "systemd"
    if path.count(":") == _SYSTEMD_FIELDS - 1 and not path.startswith("/") and not by_manager:
        raise UnsupportedError(
            "a path of slice:prefix:name", needs="the systemd cgroup driver", origin=ORIGIN
        )
    if not by_manager and (host.cgroup_mode is CgroupMode.NONE or not host.cgroup_delegated):
        for what, origin in (("a cgroup of its own", ORIGIN if path else None), ("a limit", asked)):
            if origin is not None:
                raise UnsupportedError(what, needs=_delegation(host, options), origin=origin)
        return None
    rules = None
    # In a user namespace of theirs, or in ours, the kernel opens no device that is not bound from the host.
    if host.rules_devices or not (user_namespace or host.in_user_namespace):
        rules = device_rules(linux, v1=host.cgroup_mode is CgroupMode.V1)
    return CgroupPlan(
        mode=host.cgroup_mode,
        paths={} if by_manager else cgroup_paths(path, host, options),
        devices=rules,
        device_filter=device_filter(rules) if rules and host.cgroup_mode is CgroupMode.V2 else b"",
        explicit=bool(path) or by_manager,
        limits=cgroup_limits(resources, host, RESOURCES),
    )


def cgroup_owner(draft: Draft) -> int | None:
    """Return the user of the host to whom the cgroup is given; None where it stays ours.

    In v2, with a namespace of its own and a view that can be written to, the container may make
    cgroups.  OCI config-linux.md "Cgroup ownership".
    """
    host, namespaces = draft.host, draft.namespaces
    if draft.cgroup is None or host.cgroup_mode is not CgroupMode.V2 or not host.privileged:
        return None
    if not namespaces.is_new("cgroup") or not any(map(_is_writable_view, draft.spec.mounts)):
        return None
    uid = draft.process.user.uid
    if draft.known_maps is not None:
        uids = (
            uid - first + outside
            for first, outside, size in draft.known_maps.uid
            if first <= uid < first + size
        )
        uid = next(uids, host.euid)
    return uid if uid != host.euid else None


def _is_writable_view(mount: Mount) -> bool:
    view = mount.type in ("cgroup", "cgroup2") and clean(mount.destination) == VIEW
    return view and [each for each in mount.options if each in ("ro", "rw")][-1:] != ["ro"]


def _delegation(host: Host, options: Options) -> str:
    """Say what is missing for a cgroup of the container's own."""
    if host.cgroup_mode is CgroupMode.NONE:
        return "cgroups mounted where we see them"
    places = ", ".join(map(posixpath.dirname, cgroup_paths("", host, options).values()))
    return f"a cgroup delegated to us: the right to make directories in {places}"


def cgroup_paths(path: str, host: Host, options: Options) -> dict[str, str]:
    """Return the directory in each hierarchy; *path* is that of the specification, "" if it has none."""
    name = _below(path or options.id)
    return {
        hierarchy: _directory(mount, _base(host, hierarchy, path), name)
        for hierarchy, mount in host.cgroup_hierarchies.items()
    }


def _below(path: str) -> str:
    """Return the path below the root or base that it stays under, whatever ".." it has."""
    below = clean(path).lstrip("/")
    if not below:
        raise SpecError("names the root cgroup", origin=ORIGIN)
    return below


def _base(host: Host, hierarchy: str, path: str) -> str:
    """Return where the path starts: the root if absolute, else our own cgroup.

    In a unified hierarchy it is our parent, because a cgroup that has processes, as ours has, can
    pass no controllers on.  cgroup-v2.rst "No Internal Process Constraint".
    """
    if path.startswith("/"):
        return "/"
    own = host.cgroup_own.get(hierarchy, "/")
    return posixpath.dirname(own.rstrip("/")) or "/" if host.cgroup_mode is CgroupMode.V2 else own


def _directory(mount: str, base: str, name: str) -> str:
    return "/".join(part for part in (mount.rstrip("/"), base.strip("/"), name) if part)


def cgroup_steps(draft: Draft) -> Iterator[Step]:
    """Yield the steps that enter the cgroups of v1; cgroup2 is mostly where the process is born.

    Into the cgroups of a unit it is moved by others, at a pause.
    """
    if draft.cgroup is not None and draft.cgroup.unit is None:
        born = not draft.options.enter_cgroup
        yield from join_steps(draft.cgroup.paths, ORIGIN, draft.pass_fd, born=born)


def join_steps(
    hierarchies: Iterable[str], origin: str, pass_fd: Callable[[PlanFd], int], *, born: bool = True
) -> Iterator[JoinCgroup]:
    """Yield one step for each hierarchy, but for cgroup2 where the process is *born* in it."""
    for hierarchy in hierarchies:
        if hierarchy or not born:
            yield JoinCgroup(origin, pass_fd(CgroupTasks(hierarchy)), hierarchy)
