"""The plan: what compiling gives, what the bootstrap executes, what the listing shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .devices import DeviceRule
    from .hooks import OutsideHook
    from .host import CgroupMode
    from .resctrl import ResctrlGroup
    from .steps import Rlimit, Step
    from .unit import UnitPlan

__all__ = [
    "CgroupPlan",
    "CgroupTasks",
    "CgroupWrite",
    "Directory",
    "GateSocket",
    "IdMaps",
    "InitPidfd",
    "InitRoot",
    "Layers",
    "MountMap",
    "NamespaceFile",
    "NetworkDevice",
    "Overlay",
    "Plan",
    "PlanFd",
    "Preserved",
    "ResctrlTasks",
    "Stdio",
    "Tree",
    "UsageBelow",
]


class Stdio(Struct, frozen=True):
    """Descriptor 0, 1 or 2 of the payload."""

    number: int
    owner: tuple[int, int] | None = None
    """Outside ids of the payload's user, whose a pipe becomes: in a user namespace nobody could do it."""

    def __str__(self) -> str:
        name = ("stdin", "stdout", "stderr")[self.number]
        return name if self.owner is None else f"{name}, owner {self.owner[0]}:{self.owner[1]} outside"


class Preserved(Struct, frozen=True):
    """A descriptor of the caller that the payload gets under the same number."""

    number: int

    def __str__(self) -> str:
        return f"the caller's descriptor {self.number}"


class NamespaceFile(Struct, frozen=True):
    """A namespace to join: an absolute path to a namespace file of that OCI type, not of our own."""

    path: str
    type: str
    origin: str

    def __str__(self) -> str:
        return f"{self.type} namespace {self.path}"


class MountMap(Struct, frozen=True):
    """Maps of a mount: (inside, outside, size) each; ids on disk are those inside."""

    uid: tuple[tuple[int, int, int], ...]
    gid: tuple[tuple[int, int, int], ...]
    recursive: bool = False
    """Of the mounts below it as well."""

    def __str__(self) -> str:
        words = [
            f"{kind} {'#'.join('-'.join(map(str, each)) for each in ranges)}"
            for kind, ranges in (("uids", self.uid), ("gids", self.gid))
        ]
        return f"{'recursively ' if self.recursive else ''}mapped by {', '.join(words)}"


class Tree(Struct, frozen=True):
    """A detached clone of a directory tree or file, made by the parent: open_tree(2)."""

    path: str
    recursive: bool
    origin: str
    nofollow: bool = False
    """A link at the end of the path is what is cloned."""
    map: MountMap | None = None

    def __str__(self) -> str:
        link = "link " if self.nofollow else ""
        mapped = f", {self.map}" if self.map is not None else ""
        return f"{'recursive ' if self.recursive else ''}tree of {link}{self.path}{mapped}"


class Directory(Struct, frozen=True):
    """A directory, opened by the parent for nothing but to be entered."""

    path: str
    origin: str

    def __str__(self) -> str:
        return f"directory {self.path}"


class InitRoot(Struct, frozen=True):
    """The root directory of the container's init."""

    def __str__(self) -> str:
        return "root directory of the container's init"


class Overlay(Struct, frozen=True):
    """A detached overlay with a throw-away upper layer; the upper root is `owner`'s (outside ids)."""

    lower: str
    origin: str
    owner: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        return f"throw-away overlay over {self.lower}"


class Layers(Struct, frozen=True):
    """Layers over each other, the topmost first, as a detached overlay."""

    layers: tuple[str, ...]
    source: str
    """What the kernel shows that it is made of."""
    origin: str
    upper: str = ""
    """Directory that keeps what is written, and next to it `work`; "": it ends with the container."""
    work: str = ""
    owner: tuple[int, int] = (0, 0)
    userxattr: bool = False
    """Its marks have the names for those who are root of a user namespace alone."""

    def __str__(self) -> str:
        kept = f" under {self.upper}" if self.upper else " under a throw-away layer"
        return f"overlay of {', '.join(self.layers)}{kept}"


class GateSocket(Struct, frozen=True):
    """The listening socket at which `start` knocks."""

    def __str__(self) -> str:
        return "the start gate"


class CgroupTasks(Struct, frozen=True):
    """The file of the container's cgroup that takes processes, in one hierarchy; "" is cgroup2."""

    hierarchy: str

    def __str__(self) -> str:
        return f"members of the cgroup in {self.hierarchy or 'cgroup2'}"


class ResctrlTasks(Struct, frozen=True):
    """The file through which a process joins a group of resctrl."""

    path: str

    def __str__(self) -> str:
        return f"members of the resctrl group, {self.path}"


class InitPidfd(Struct, frozen=True):
    """The pidfd of the container's init."""

    def __str__(self) -> str:
        return "pidfd of the container's init"


PlanFd: TypeAlias = (
    Stdio
    | Preserved
    | NamespaceFile
    | Tree
    | Directory
    | Overlay
    | Layers
    | GateSocket
    | CgroupTasks
    | ResctrlTasks
    | InitPidfd
    | InitRoot
)
"""What the parent opens for the helper; a step names it by its index in `Plan.fds`."""


class NetworkDevice(Struct, frozen=True):
    """A device of the host that the parent moves into the container's network namespace."""

    host: str
    name: str
    """What it is called there."""
    origin: str

    def __str__(self) -> str:
        return self.host if self.host == self.name else f"{self.host} as {self.name}"


class IdMaps(Struct, frozen=True):
    """Maps of a new user namespace: (inside, outside, size) each."""

    uid: tuple[tuple[int, int, int], ...]
    gid: tuple[tuple[int, int, int], ...]
    deny_setgroups: bool = False
    use_tools: bool = False
    """By newuidmap(1) and newgidmap(1): more ids than our own, and we are not root."""


class UsageBelow(Struct, frozen=True):
    """A limit may be set only while what is used, the sum of some files, is below it."""

    files: tuple[str, ...]
    """What is missing of them counts as 0."""
    limit_bytes: int

    def __str__(self) -> str:
        return f"{' + '.join(self.files)} below {self.limit_bytes}"


class CgroupWrite(Struct, frozen=True):
    """One value for one file of the container's cgroup; one call of write(2)."""

    origin: str
    controller: str
    """Who has the file: in v1 its hierarchy, in v2 what must be enabled above; "" is the core."""
    file: str
    value: str
    optional: bool = False
    """The file may be missing: the value asks for no limit, or for more than the kernel can."""
    group: str = ""
    """Writes of one group wait for each other: what is refused with EINVAL is tried again after the rest."""
    otherwise: CgroupWrite | None = None
    """What to write instead where the file is missing."""
    exact: bool = False
    """The kernel takes any number and changes it silently: read it back."""
    only: tuple[UsageBelow, ...] = ()
    """All must hold, or it is not written."""

    def __str__(self) -> str:
        only = "".join(f", only with {each}" for each in self.only)
        instead = f", or else {self.otherwise}" if self.otherwise is not None else ""
        return f"{self.file} = {self.value}{only}{instead}"


class CgroupPlan(Struct, frozen=True):
    """The container's cgroup: where it is, which devices it allows, and its limits."""

    mode: CgroupMode
    paths: Mapping[str, str]
    """Hierarchy, as in `Host.cgroup_hierarchies`, to absolute directory."""
    devices: tuple[DeviceRule, ...] | None = None
    """In order, the last match decides; None leaves devices alone."""
    device_filter: bytes = b""
    """v2: the same as a BPF_CGROUP_DEVICE program."""
    explicit: bool = False
    """The specification names the path: not being able to make it is an error even unprivileged."""
    limits: tuple[CgroupWrite, ...] = ()
    """In the order in which they are written, while the cgroup is still empty."""
    owner: int | None = None
    """Who may make cgroups below it; None: we alone."""
    unit: UnitPlan | None = None
    """What the service manager makes of it; None: the cgroups are made by us alone."""


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that will be done, in order, with nothing left to decide."""

    steps: tuple[Step, ...]
    """What the container's first process does, in order."""
    fds: tuple[PlanFd, ...] = ()
    """What is opened and passed to it."""
    clone_flags: int = 0
    """Namespaces that are there from birth: CLONE_NEWUSER, CLONE_NEWPID."""
    own_network: bool = False
    """It gets a new network namespace, owned by the user namespace that we are in ourselves."""
    maps: IdMaps | None = None
    """Ids of a new user namespace; None: it has none of its own."""
    cgroup: CgroupPlan | None = None
    """None: it is in none of its own."""
    resctrl: ResctrlGroup | None = None
    """Its group of shares of cache and memory bandwidth; None: it is in none of its own."""
    limits_by_parent: tuple[Rlimit, ...] = ()
    """Limits that the payload's own user namespace may not raise: set at the first pause."""
    devices: tuple[NetworkDevice, ...] = ()
    """Moved in at the pause for it."""
    oom_score_adj: int | None = None
    """The same for the score by which the kernel picks victims; None: nothing to do."""
    hooks: tuple[OutsideHook, ...] = ()
    """Hooks of the runtime's namespaces, run by the parent."""
    warnings: tuple[str, ...] = ()
    """Each with its address: what was asked for and is done without."""

    def listing(self) -> str:
        """Return the plan for people: one line for each step, with the address that asked for it."""
        from .listing import plan_listing  # only those who read it pay for it

        return plan_listing(self)
