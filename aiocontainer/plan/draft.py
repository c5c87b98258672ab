"""What the subject modules share while one plan is being made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..spec import Linux
from .idmaps import check_joined, check_user, id_maps, inside
from .namespaces import Namespaces, read_namespaces, refuse_foreign
from .plan import IdMaps

if TYPE_CHECKING:
    from ..spec import Process, Spec
    from .host import Host
    from .options import Options
    from .plan import CgroupPlan, NetworkDevice, PlanFd
    from .steps import Step

__all__ = ["Draft"]

OVERFLOW_ID = 65534
"""How an id looks that the user namespace does not map.  user_namespaces(7)."""


class Draft:
    """The questions that several subjects ask, and what they collect besides steps."""

    def __init__(self, spec: Spec, process: Process, host: Host, options: Options) -> None:
        self.spec = spec
        self.linux: Linux = spec.linux or Linux()
        self.process = process
        self.host = host
        self.options = options
        self.namespaces: Namespaces = read_namespaces(self.linux, host, options.own_namespaces)
        refuse_foreign(spec, self.linux, options.own_namespaces)
        self.maps: IdMaps | None = id_maps(self.linux, self.namespaces, host)
        """Of a new user namespace."""
        self.cgroup: CgroupPlan | None = None
        self.fds: list[PlanFd] = []
        self.warnings: list[str] = []
        self.devices: tuple[NetworkDevice, ...] = ()
        self._check_joined(process)
        self.late: list[Step] = []
        """Attributes that wait until the file systems are filled."""

    def pass_fd(self, what: PlanFd) -> int:
        """Return the index under which a step names a descriptor that the parent passes."""
        self.fds.append(what)
        return len(self.fds) - 1

    def _check_joined(self, process: Process) -> None:
        joined, host = self.options.joined_maps, self.host
        if "user" in self.options.own_namespaces:
            joined = IdMaps(host.uid_map, host.gid_map)
        if joined is not None:
            self.warnings.extend(check_joined(self.linux, joined))
            check_user(process.user, joined)

    @property
    def known_maps(self) -> IdMaps | None:
        """The maps of the container's user namespace, new or joined; None where it has none that we know."""
        return self.maps if self.maps is not None else self.options.joined_maps

    @property
    def in_user_namespace(self) -> bool:
        """The container is not in the initial user namespace."""
        return self.namespaces.has("user") or self.host.in_user_namespace

    @property
    def by_parent(self) -> bool:
        """Paths of the host are opened by the parent: the container's root might not get there."""
        return self.namespaces.has("user") and self.host.privileged

    @property
    def setgroups_denied(self) -> bool:
        """setgroups(2) is forbidden for good where the container runs."""
        if self.known_maps is not None:
            return self.known_maps.deny_setgroups or self.host.setgroups_denied
        # Of a namespace that is joined we know nothing; but an ordinary user's usually forbids it.
        joined = self.namespaces.has("user") and not self.host.privileged
        return joined or self.host.setgroups_denied

    @property
    def may_be_seen(self) -> bool:
        """Whether the process has to be dumpable while the parent looks which namespaces it is in.

        Of an ordinary user's neither the parent nor a hook could even read the links in /proc/PID/ns
        otherwise.  But in a pid namespace that was joined there are others who would see it, and could
        be faster.
        """
        return self.maps is not None and not self.host.privileged and not self.namespaces.is_joined("pid")

    def is_mapped_uid(self, uid: int) -> bool:
        """Whether the container has this uid, as far as is known here."""
        return self.known_maps is None or inside(uid, self.known_maps.uid)

    def is_mapped_gid(self, gid: int) -> bool:
        """Whether the container has this gid, as far as is known here."""
        return self.known_maps is None or inside(gid, self.known_maps.gid)

    @property
    def runtime_uid(self) -> int:
        """Our own uid as the container sees it: credentials on a socket are translated."""
        euid = self.host.euid
        if self.known_maps is not None:
            for first, outside, size in self.known_maps.uid:
                if outside <= euid < outside + size:
                    return first + euid - outside
            return OVERFLOW_ID
        if self.namespaces.has("user"):
            return OVERFLOW_ID if self.host.privileged else 0
        return euid
