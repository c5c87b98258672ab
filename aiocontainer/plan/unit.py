"""The unit of the service manager that a container's processes are put in.  systemd.scope(5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from .._lazy import pattern
from .._tuples import NamedTuple
from ..errors import SpecError, UnsupportedError
from ..spec import SYSTEMD_SUBGROUP, at
from .host import CgroupMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .host import Host
    from .options import Options

__all__ = [
    "UnitName",
    "UnitPlan",
    "UnitProperty",
    "expanded_slice",
    "manager_needs",
    "unit_name",
    "unit_paths",
    "unit_subgroup",
]

ORIGIN: Final = "$.linux.cgroupsPath"

_FIELDS: Final = 3
_MAX_NAME: Final = 255  # bytes; UNIT_NAME_MAX counts a NUL
_NAME: Final = pattern(r"[A-Za-z0-9:_.\\@-]+")
_UNFIT: Final = pattern(r"[^A-Za-z0-9:_.-]")
_ROOT: Final = "-.slice"
_SUBGROUP: Final = pattern(r"[A-Za-z0-9][A-Za-z0-9:_.@-]*")
_UNITS: Final = (".scope", ".slice", ".service")
_MORE_FILES: Final = ("hugetlb.", "rdma.", "misc.", "dmem.", "irq.", "perf_event.", "debug.")
"""What files of cgroup2 begin with besides `_CONTROLLERS`, which are those that systemd cares about."""

# A directory named like one of these could be taken for a file of the kernel's.
_CONTROLLERS: Final = (
    *("cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids", "bpf-firewall", "bpf-devices"),
    *("bpf-foreign", "bpf-socket-bind", "bpf-restrict-network-interfaces"),
)
_CORE_FILES: Final = frozenset({"notify_on_release", "release_agent", "tasks"})


class UnitProperty(Struct, frozen=True):
    """One property of a unit as D-Bus carries it."""

    name: str
    signature: str
    """Of the value; one complete type.  D-Bus specification, "Type System"."""
    value: object
    """Plain Python, in the shapes that `gvariant` has."""
    origin: str = ""
    """What in the specification asked for it."""

    @property
    def by_name(self) -> bool:
        """Whether it was asked for by this very name, and not made of something else."""
        return self.origin.startswith(("$.annotations", "systemd_properties"))

    def __str__(self) -> str:
        from ..gvariant import Variant  # what has no unit shows none

        return f"{self.name} = {Variant(self.signature, self.value)}"


class UnitPlan(Struct, frozen=True):
    """The unit to make, and with which properties."""

    name: str
    slice: str
    user: bool
    """Made by our user's own service manager, not by the machine's."""
    properties: tuple[UnitProperty, ...] = ()
    """Given with its start, in order; `PIDs` is not among them: it comes after `Delegate`."""
    resources: tuple[UnitProperty, ...] = ()
    """Set once it has started: they win over those given with its start."""
    subgroup: str = ""
    """Path of the cgroup below the unit's in which its processes live; "": in the unit's own."""


class UnitName(NamedTuple):
    """What a specification says about the place of its unit."""

    name: str
    slice: str
    below: str = ""
    """Path of the cgroup below the unit's that is to have the processes."""


def unit_name(path: str, options: Options, *, user: bool) -> UnitName:
    """Return unit and slice for a cgroups path of ``slice:prefix:name``, or for none.

    A name that ends with ``.slice`` is a slice itself.  Lenient, ``prefix:name`` will do, and
    ``name/a/b`` puts the processes into ``a/b`` below the unit's cgroup.  Raises SpecError.
    """
    fields = path.split(":") if path else ["", options.program_name, _escaped(options.id)]
    if options.lenient_paths and len(fields) == _FIELDS - 1:
        fields = ["", *fields]
    if len(fields) != _FIELDS or path.startswith("/"):
        raise SpecError(f"{path!r} is not slice:prefix:name, as the systemd driver wants it", origin=ORIGIN)
    slice, prefix, name = fields
    below = ""
    if options.lenient_paths and path:
        name, slash, below = name.partition("/")
        for each in below.split("/") if slash else ():
            _check_below(each, ORIGIN)
    if not name:
        raise SpecError(f"{path!r} has no name", origin=ORIGIN)
    slice = slice or ("user.slice" if user else "system.slice")
    expanded_slice(slice)  # or it raises
    if not path or not name.endswith(".slice"):
        name = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    elif name != _ROOT:
        expanded_slice(name)
    _check_name(name)
    return UnitName(name, slice, below)


def _escaped(id: str) -> str:
    """Write what a unit's name may not hold as systemd-escape(1) does."""
    return _UNFIT.sub(lambda match: "".join(f"\\x{byte:02x}" for byte in match[0].encode()), id)


def _check_name(name: str) -> None:
    stem = name.rpartition(".")[0]
    if not stem.strip("-") or not _NAME.fullmatch(name):
        raise SpecError(f"{name!r} is not the name of a unit: of A-Z a-z 0-9 : _ . \\ - @", origin=ORIGIN)
    if stem.startswith("@") or stem.endswith("@"):
        raise SpecError(f"{name!r} is a template, not the name of a unit", origin=ORIGIN)
    if len(name) > _MAX_NAME:
        raise SpecError(f"makes a unit's name of more than {_MAX_NAME} bytes", origin=ORIGIN)


def expanded_slice(slice: str, *, origin: str = ORIGIN) -> str:
    """Return the directories that a slice is in: ``a-b.slice`` is in ``a.slice``.  systemd.slice(5)."""
    if slice == _ROOT:
        return ""
    stem = slice.removesuffix(".slice")
    if not slice.endswith(".slice") or not _NAME.fullmatch(stem) or len(slice) > _MAX_NAME:
        raise SpecError(f"{slice!r} is not the name of a slice", origin=origin)
    parts = stem.split("-")
    if "" in parts or stem.strip(".") == "":
        raise SpecError(f"{slice!r} has an empty part between dashes", origin=origin)
    names = ("-".join(parts[:count]) + ".slice" for count in range(1, len(parts) + 1))
    return "/".join(map(_directory_name, names))


def _directory_name(unit: str) -> str:
    """Return what the manager calls a unit's cgroup: a name that could be the kernel's gets a ``_``."""
    kernels = unit.startswith(("_", ".", "cgroup.")) or unit in _CORE_FILES
    kernels = kernels or unit.startswith(tuple(f"{controller}." for controller in _CONTROLLERS))
    return f"_{unit}" if kernels else unit


def manager_needs(host: Host) -> str:
    """Say what is missing for a unit; empty if nothing is."""
    if not host.systemd:
        return "systemd as the service manager (there is no /run/systemd/system)"
    if host.cgroup_mode is CgroupMode.NONE:
        return "a mounted cgroup hierarchy"
    if host.user_manager and host.cgroup_mode is not CgroupMode.V2:
        return "cgroup v2, or root: a user's manager has no say over the hierarchies of v1"
    return ""


def unit_paths(unit: str, slice: str, host: Host) -> dict[str, str]:
    """Return the directory of a unit in each hierarchy, as the manager lays them out."""
    below = "/".join(part for part in (expanded_slice(slice), _directory_name(unit)) if part)
    return {
        hierarchy: f"{mount.rstrip('/')}{_manager_cgroup(host, hierarchy).rstrip('/')}/{below}"
        for hierarchy, mount in host.cgroup_hierarchies.items()
    }


def _manager_cgroup(host: Host, hierarchy: str) -> str:
    if not host.user_manager:
        return host.init_cgroup.get(hierarchy, "/")
    # Where nobody has asked it yet, what it is on every machine that systemd has booted.
    uid = host.euid
    return host.user_manager_cgroup or f"/user.slice/user-{uid}.slice/user@{uid}.service"


def unit_subgroup(below: str, annotations: Mapping[str, str], host: Host) -> str:
    """Return the path of the cgroup below the unit's that is to have the processes; "" for none.  crun.1.

    It is *below*, which the cgroups path says, and the name that an annotation gives.

    An annotation may be an image's: so it is one component, which nobody can take for a file of the kernel's
    or for another unit.  Raises SpecError, and UnsupportedError with v1: what is delegated there is not safe.
    """
    name = annotations.get(SYSTEMD_SUBGROUP, "")
    origin = at("$.annotations", SYSTEMD_SUBGROUP) if name else ORIGIN
    if name:
        _check_below(name, origin)
    path = "/".join(each for each in (below, name) if each)
    if path and host.cgroup_mode is not CgroupMode.V2:
        raise UnsupportedError("a cgroup below the unit's", needs="cgroup v2", origin=origin)
    return path


def _is_file(name: str) -> bool:
    return _directory_name(name) != name or name.startswith(_MORE_FILES)


def _check_below(name: str, origin: str) -> None:
    """Refuse what is not the name of one cgroup, and nobody else's."""
    if not _SUBGROUP.fullmatch(name) or len(name) > _MAX_NAME or _is_file(name):
        raise SpecError(
            f"{name!r} is not the name of a cgroup: of A-Z a-z 0-9 : _ . @ -, and no file's", origin=origin
        )
    if name.endswith(_UNITS):
        raise SpecError(f"{name!r} would look like another unit", origin=origin)


def refuse_slice(unit: UnitName) -> None:
    """Refuse to put processes where a manager has none, and where other units may be that would end too."""
    if unit.name.endswith(".slice"):
        raise UnsupportedError(
            "a container that is a slice", needs="a name: scopes have processes, slices none", origin=ORIGIN
        )
