"""Namespaces: which are new, which are joined, and in what order.  OCI config-linux.md "Namespaces"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ..errors import SpecError, UnsupportedError
from ..spec import at, sysctl_namespace, sysctl_path
from .flags import (
    CLONE_NEWNET,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    NAMESPACES,
    PAUSE_MAPS,
    PAUSE_NETWORK,
)
from .plan import NamespaceFile, NetworkDevice
from .steps import (
    Domainname,
    Fork,
    Hostname,
    JoinNamespace,
    Loopback,
    NamespaceRoot,
    OomScore,
    Pause,
    Step,
    TimeNamespace,
    Unshare,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..spec import Linux, Spec, TimeOffset
    from .draft import Draft
    from .host import Host

__all__ = [
    "Namespaces",
    "loopback_steps",
    "name_steps",
    "namespace_steps",
    "network_steps",
    "read_namespaces",
]

ORIGIN = "$.linux.namespaces"
_DEVICES = "$.linux.netDevices"


class Joined(Struct, frozen=True):
    """A namespace that exists already."""

    type: str
    path: str
    origin: str


class Namespaces(Struct, frozen=True):
    """The namespaces of a container; a type that is in neither is the runtime's own."""

    new: int
    joined: tuple[Joined, ...]
    """In the order of joining."""

    def has(self, type: str) -> bool:
        """Whether the container is in a namespace of this type that the specification names."""
        return self.is_new(type) or self.is_joined(type)

    def is_new(self, type: str) -> bool:
        """Whether the namespace of this type is made for the container."""
        return bool(self.new & NAMESPACES[type])

    def is_joined(self, type: str) -> bool:
        """Whether the namespace of this type is one that existed before."""
        return any(each.type == type for each in self.joined)

    def owns(self, type: str) -> bool:
        """Whether the container's root may mount the file system that shows a namespace of this type.

        It has to belong to the user namespace of the container; one that was joined does so only if
        that was joined too.
        """
        return self.is_new(type) or (self.is_joined(type) and not self.is_new("user"))

    @property
    def birth(self) -> int:
        """CLONE_NEW* flags of the clone3(2) that makes the process.

        A user namespace is there first of all, unless others are joined: those belong to the user
        namespace that we come from, and only there may we enter them.  A pid namespace is there
        from birth unless it has to wait for its user namespace.
        """
        user = 0 if self.joined else self.new & CLONE_NEWUSER
        ready = bool(user) or not self.has("user")
        return user | (self.new & CLONE_NEWPID if ready else 0)


def read_namespaces(linux: Linux, host: Host, own: frozenset[str] = frozenset()) -> Namespaces:
    """Sort the list of namespaces; types that the kernel lacks are refused.

    To join one of the runtime's *own* is to stay where we are: setns(2) would even refuse to.
    """
    new, joined = 0, {}
    for index, each in enumerate(linux.namespaces):
        origin = f"{ORIGIN}[{index}]"
        if each.type not in host.namespaces:
            raise UnsupportedError(f"a {each.type} namespace", needs="a kernel with it", origin=origin)
        if each.type in own:
            continue
        if each.path:
            joined[each.type] = Joined(each.type, each.path, f"{origin}.path")
        else:
            new |= NAMESPACES[each.type]
    return Namespaces(new, tuple(joined[type] for type in NAMESPACES if type in joined))


def refuse_foreign(spec: Spec, linux: Linux, own: frozenset[str]) -> None:
    """Refuse settings of namespaces that are the runtime's own: they would be the host's."""
    root = spec.root
    for origin, asked, type in (
        ("$.hostname", spec.hostname, "uts"),
        ("$.domainname", spec.domainname, "uts"),
        ("$.mounts", spec.mounts, "mount"),
        ("$.root.readonly", root and root.readonly, "mount"),
        ("$.linux.maskedPaths", linux.masked_paths, "mount"),
        ("$.linux.readonlyPaths", linux.readonly_paths, "mount"),
        (_DEVICES, linux.net_devices, "network"),
        *((at("$.linux.sysctl", key), True, sysctl_namespace(sysctl_path(key))) for key in linux.sysctl),
    ):
        if asked and type in own:
            raise SpecError(f"would change the host: its {type} namespace is joined", origin=origin)


def namespace_steps(draft: Draft) -> Iterator[Step]:
    """Yield the steps that put the process into its namespaces."""
    names = draft.namespaces
    if names.birth & CLONE_NEWUSER:
        yield from _mapped(draft)
    yield from _oom_score(draft)
    for each in names.joined:
        yield from _join(draft, each)
    if names.new & CLONE_NEWUSER & ~names.birth:
        yield Unshare(ORIGIN, CLONE_NEWUSER)
        yield from _mapped(draft)
    rest = names.new & ~names.birth & ~(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWTIME)
    if rest:
        yield Unshare(ORIGIN, rest)
    if names.is_new("time"):
        yield TimeNamespace(ORIGIN, _offsets(draft.linux))
    late_pid = names.new & CLONE_NEWPID & ~names.birth
    if late_pid or names.is_joined("pid"):
        yield Fork(ORIGIN, late_pid)


def _mapped(draft: Draft) -> Iterator[Step]:
    """Wait for the maps, then be root.

    Dumpable meanwhile, because an ordinary user's maps are written through files that would
    otherwise belong to the machine's root.
    """
    yield Pause("$.linux.uidMappings", PAUSE_MAPS, dumpable=True)
    yield NamespaceRoot("$.linux.uidMappings", drop_groups=not draft.setgroups_denied)


def _join(draft: Draft, each: Joined) -> Iterator[Step]:
    fd = draft.pass_fd(NamespaceFile(each.path, each.type, each.origin))
    yield JoinNamespace(each.origin, fd, NAMESPACES[each.type], each.path)
    if each.type == "user":
        yield NamespaceRoot(each.origin, drop_groups=not draft.setgroups_denied)


def _oom_score(draft: Draft) -> Iterator[Step]:
    """Set it while we are what we were born as: to lower it needs a capability of the machine.

    In a user namespace from birth we have none of those: the parent does it, at the first pause.
    """
    score = draft.process.oom_score_adj
    if score is not None and not draft.namespaces.birth & CLONE_NEWUSER:
        yield OomScore("$.process.oomScoreAdj", score)


def _offsets(linux: Linux) -> str:
    """Return the text for /proc/PID/timens_offsets.  time_namespaces(7)."""
    if linux.time_offsets is None:
        return ""
    clocks: tuple[tuple[str, TimeOffset | None], ...] = (
        ("monotonic", linux.time_offsets.monotonic),
        ("boottime", linux.time_offsets.boottime),
    )
    return "".join(
        f"{clock} {offset.secs} {offset.nanosecs}\n" for clock, offset in clocks if offset is not None
    )


def loopback_steps(draft: Draft) -> Iterator[Step]:
    """Bring up `lo`, if the network namespace is ours to arrange."""
    if draft.namespaces.new & CLONE_NEWNET:
        yield Loopback(ORIGIN)


def network_steps(draft: Draft) -> Iterator[Step]:
    """Yield the pause at which the parent moves network devices in, if there are any."""
    if draft.linux.net_devices:
        draft.devices = _network_devices(draft)
        yield Pause(_DEVICES, PAUSE_NETWORK)


def _network_devices(draft: Draft) -> tuple[NetworkDevice, ...]:
    if not draft.namespaces.has("network"):
        raise SpecError("would stay with the host: there is no network namespace", origin=_DEVICES)
    if not draft.host.privileged:
        raise UnsupportedError("moving network devices", needs="root", origin=_DEVICES)
    return tuple(
        NetworkDevice(host, device.name or host, at(_DEVICES, host))
        for host, device in draft.linux.net_devices.items()
    )


def name_steps(draft: Draft) -> Iterator[Step]:
    """Set the names of the container's uts namespace."""
    if draft.spec.hostname:
        yield Hostname("$.hostname", draft.spec.hostname)
    if draft.spec.domainname:
        yield Domainname("$.domainname", draft.spec.domainname)
