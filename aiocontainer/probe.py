"""The machine and our place on it, read once into a `plan.Host`.

No process is started and nothing is changed.  What the kernel offers is found out by asking for it,
where asking does no harm: a version number says little about a kernel with backports or under a
seccomp filter.  Files are read as pure functions of their text, so any machine can be quoted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import re
import resource
import stat
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from . import native
from .plan.flags import NAMESPACES, RLIM_INFINITY, RLIMITS
from .plan.host import CgroupMode, Host, Resctrl
from .plan.mountinfo import find_hierarchies, parse_mountinfo, parse_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .plan.mountinfo import Hierarchy, Mount

__all__ = ["below_user_manager", "has_systemd", "probe"]

IdMap = tuple[tuple[int, int, int], ...]

_SYSTEMD_DIRECTORIES: Final = ("/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd")
_MAX_SUBID_BYTES: Final = 1 << 20
_MFD_EXEC: Final = 0x10
# The last of them to come was mount_setattr(2), in Linux 5.12.
_NEEDED_CALLS: Final = (
    *("clone3", "close_range", "faccessat2", "fsconfig", "fsmount", "fsopen", "fspick", "mount_setattr"),
    *("move_mount", "open_tree", "openat2", "pidfd_open", "pidfd_send_signal"),
)
_FILTER_FLAGS: Final = 6  # how many SECCOMP_FILTER_FLAG_* there are
_NEW_LISTENER: Final = 8
_NAMESPACE_FILES: Final[Mapping[str, str]] = {"mnt": "mount", "net": "network"}  # where OCI differs

# Never from $PATH: what is found runs with the privileges of its set-user-ID bit, on our behalf.
_TOOL_DIRECTORIES: Final = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin", "/usr/local/sbin")


def probe() -> Host:
    """Read everything; about a millisecond, blocking."""
    status = parse_status(_read("/proc/self/status"))
    kernel = parse_release(os.uname().release)
    uid_map = parse_id_map(_read("/proc/self/uid_map"))
    filesystems = parse_filesystems(_read("/proc/filesystems"))
    mounts = [*parse_mountinfo(_read("/proc/self/mountinfo"), types=("cgroup", "cgroup2", "resctrl"))]
    hierarchies = find_hierarchies(mounts, parse_own(_read("/proc/self/cgroup")))
    mode = cgroup_mode(hierarchies)
    # A set-user-ID program gets nothing from us then.  prctl(2) PR_SET_NO_NEW_PRIVS.
    may_gain = status.get("NoNewPrivs") != "1"
    return Host(
        euid=os.geteuid(),
        egid=os.getegid(),
        groups=tuple(os.getgroups()),
        capabilities=int(status["CapPrm"], 16),
        in_user_namespace=uid_map != ((0, 0, 2**32 - 1),),
        uid_map=uid_map,
        gid_map=parse_id_map(_read("/proc/self/gid_map")),
        setgroups_denied=_read("/proc/self/setgroups").strip() == b"deny",
        hard_limits=_hard_limits(),
        kernel=kernel,
        last_cap=int(_read("/proc/sys/kernel/cap_last_cap")),
        namespaces=_namespaces(),
        filesystems=filesystems,
        missing_calls=tuple(call for call in _NEEDED_CALLS if not native.knows_call(call)),
        mount_id_unique=kernel >= (6, 8),
        memfd_exec_seal=_works(lambda: os.memfd_create("aiocontainer-probe", os.MFD_CLOEXEC | _MFD_EXEC)),
        seccomp_flags=_seccomp_flags(),
        has_kcore=os.path.exists("/proc/kcore"),
        apparmor=_has_apparmor(),
        selinux="selinuxfs" in filesystems,  # registered only where the module is enabled
        cgroup_mode=mode,
        cgroup_hierarchies={key: hierarchy.point for key, hierarchy in hierarchies.items()},
        cgroup_own={key: hierarchy.own for key, hierarchy in hierarchies.items()},
        cgroup_flags=hierarchies[""].flags if "" in hierarchies else (),
        cgroup_delegated=_may_make_cgroups(mode, hierarchies),
        cgroup_controllers=_controllers(mode, hierarchies),
        hugepage_sizes=frozenset(filter(None, map(parse_hugepage, _list("/sys/kernel/mm/hugepages")))),
        systemd=_systemd(),
        init_cgroup=_init_cgroup(mounts),
        user_manager=os.geteuid() != 0 or not _shares_user_namespace_with_init(),
        resctrl=find_resctrl(mounts),
        subuid=_subordinate("/etc/subuid"),
        subgid=_subordinate("/etc/subgid"),
        newuidmap=_tool("newuidmap") if may_gain else None,
        newgidmap=_tool("newgidmap") if may_gain else None,
    )


def has_systemd() -> bool:
    """Tell whether systemd is the service manager here: sd_booted(3)."""
    try:
        return stat.S_ISDIR(os.lstat("/run/systemd/system").st_mode)
    except OSError:
        return False


def parse_status(text: bytes) -> dict[str, str]:
    """Read ``/proc/<pid>/status``; a newline in the command's name comes escaped."""
    lines = (os.fsdecode(line).partition(":") for line in text.splitlines())
    return {key: value.strip() for key, separator, value in lines if separator}


def parse_release(release: str) -> tuple[int, int]:
    """Read major and minor version from what uname(2) says, whatever a distribution adds."""
    match = re.match(r"(\d+)\.(\d+)", release, re.ASCII)
    if match is None:
        raise ValueError(f"kernel release: {release!r}")
    return int(match[1]), int(match[2])


def parse_id_map(text: bytes) -> IdMap:
    """Read ``/proc/<pid>/uid_map``: (inside, outside, size) each."""
    rows = (tuple(map(int, line.split())) for line in text.splitlines())
    return tuple((inside, outside, size) for inside, outside, size in rows)


def parse_filesystems(text: bytes) -> frozenset[str]:
    """Read ``/proc/filesystems``: those that need a device are marked by an empty first column."""
    return frozenset(os.fsdecode(line.split()[-1]) for line in text.splitlines() if line.strip())


def parse_subordinate(text: bytes, owners: frozenset[bytes]) -> tuple[tuple[int, int], ...]:
    """Read subuid(5): (first, count) of each range of one of *owners*; a malformed line is nobody's."""
    return tuple(_ranges(text, owners))


def _ranges(text: bytes, owners: frozenset[bytes]) -> Iterator[tuple[int, int]]:
    for line in text.splitlines():
        fields = line.split(b":")
        if len(fields) == 3 and fields[0] in owners and fields[1].isdigit() and fields[2].isdigit():
            # No valid id has more digits, and a number with very many would take long to read.
            first, count = int(fields[1][:20]), int(fields[2][:20])
            if count and first + count <= 2**32 - 1:
                yield first, count


def cgroup_mode(hierarchies: Mapping[str, Hierarchy]) -> CgroupMode:
    """Tell how cgroups are mounted: cgroup2 beside any of v1 is hybrid, and counts as v1."""
    if not hierarchies:
        return CgroupMode.NONE
    return CgroupMode.V2 if hierarchies.keys() == {""} else CgroupMode.V1


def container_parent(mode: CgroupMode, hierarchy: Hierarchy) -> str:
    """Return the directory below which a container's cgroup is made when nobody says where."""
    own = hierarchy.own
    if mode is CgroupMode.V2:
        # A cgroup with processes, as ours is, passes no controllers on.  cgroup-v2.rst.
        own = os.path.dirname(own)
    return hierarchy.point + own.rstrip("/")


def _may_make_cgroups(mode: CgroupMode, hierarchies: Mapping[str, Hierarchy]) -> bool:
    """Tell whether we may, everywhere.

    In cgroup2 the file that takes processes in must be ours to write as well, in the directory above
    both where we are and where the container will be.  cgroup-v2.rst "Delegation Containment".
    """
    if not hierarchies:
        return False
    parents = [container_parent(mode, hierarchy) for hierarchy in hierarchies.values()]
    needed = parents if mode is CgroupMode.V1 else [*parents, f"{parents[0]}/cgroup.procs"]
    return all(os.access(path, os.W_OK, effective_ids=True) for path in needed)


def _controllers(mode: CgroupMode, hierarchies: Mapping[str, Hierarchy]) -> frozenset[str]:
    """Return the controllers of cgroup2: root can have them passed on to wherever a container is."""
    unified = hierarchies.get("")
    if unified is None:
        return frozenset()
    above = unified.point if os.geteuid() == 0 else container_parent(mode, unified)
    try:
        return frozenset(os.fsdecode(_read(f"{above}/cgroup.controllers")).split())
    except OSError:
        return frozenset()


def below_user_manager(host: Host, cgroup: str) -> Host:
    """Return the machine as it is for units of our user's manager, which says that this is its cgroup."""
    above = host.cgroup_hierarchies.get("", "") + cgroup.rstrip("/")
    try:
        controllers = frozenset(os.fsdecode(_read(f"{above}/cgroup.controllers")).split())
    except OSError:
        controllers = frozenset()
    return replace(host, user_manager_cgroup=cgroup, cgroup_controllers=controllers)


def parse_hugepage(name: str) -> str | None:
    """Return the size that a directory of ``/sys/kernel/mm/hugepages`` is for as cgroup files spell it."""
    match = re.fullmatch(r"hugepages-(\d+)kB", name, re.ASCII)
    if match is None:
        return None
    size, unit = int(match[1]), 0
    # hugetlb_cgroup.c, mem_fmt(): the largest unit that leaves a number.
    while size >= 1024 and unit < 2:
        size, unit = size // 1024, unit + 1
    return f"{size}{('KB', 'MB', 'GB')[unit]}"


def _systemd() -> int:
    """Return the version of the service manager: 0, none runs; -1, nothing tells it.

    By the name of its library: asking itself takes a bus, and whoever has one knows better then.
    """
    if not has_systemd():
        return 0
    places = [f"/usr/lib/{name}/systemd" for name in _list("/usr/lib") if "-linux-" in name]
    names = [name for place in (*_SYSTEMD_DIRECTORIES, *places) for name in _list(place)]
    return max(map(parse_systemd_library, names), default=-1)


def parse_systemd_library(name: str) -> int:
    """Return the version in ``libsystemd-shared-252.so``; -1 for other names."""
    match = re.match(r"libsystemd-shared-([0-9]{1,4})\b", name)
    return int(match[1]) if match is not None else -1


def _init_cgroup(mounts: Iterable[Mount]) -> dict[str, str]:
    """Return where PID 1 is in each hierarchy, or rather its manager: it has a scope for itself."""
    try:
        found = find_hierarchies(mounts, parse_own(_read("/proc/1/cgroup")))
    except OSError:  # /proc may hide it.  proc(5) hidepid
        return {}
    return {key: manager_cgroup(hierarchy.own) for key, hierarchy in found.items()}


def manager_cgroup(own: str) -> str:
    """Return the cgroup below which a manager makes its units, for the one that it is in itself."""
    return own.removesuffix("/init.scope") or "/"


def _shares_user_namespace_with_init() -> bool:
    """Tell whether PID 1 is of our user namespace: if not, our root is an ordinary user to its manager."""
    try:
        own, init = (os.stat(f"/proc/{pid}/ns/user") for pid in ("self", "1"))
    except OSError:  # it belongs to somebody above us
        return False
    return os.path.samestat(own, init)


def _has_apparmor() -> bool:
    """Tell whether profiles can be had: the module is there, and was not switched off at boot."""
    try:
        enabled = _read("/sys/module/apparmor/parameters/enabled")
    except OSError:
        return False
    return enabled.startswith(b"Y") and os.path.isdir("/sys/kernel/security/apparmor")


def find_resctrl(mounts: Iterable[Mount]) -> Resctrl | None:
    """Return the resctrl file system, if one is mounted where we see all of it, and what it offers."""
    for mount in mounts:
        if mount.type == "resctrl" and mount.root == "/":
            offered = frozenset(_list(f"{mount.point}/info"))
            monitoring = any(name.endswith("_MON") for name in offered)
            resources = frozenset(name for name in offered if os.path.isdir(f"{mount.point}/info/{name}"))
            return Resctrl(
                root=mount.point,
                resources=frozenset(name for name in resources if not name.endswith("_MON")),
                monitoring=monitoring,
            )
    return None


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _namespaces() -> frozenset[str]:
    # Not by listing the directory: who is not dumpable, having changed his user, may not.  proc(5)
    names = {name: name for name in NAMESPACES} | {name: file for file, name in _NAMESPACE_FILES.items()}
    return frozenset(name for name, file in names.items() if os.path.lexists(f"/proc/self/ns/{file}"))


def _hard_limits() -> dict[str, int]:
    limits = {name: resource.getrlimit(number)[1] for name, number in RLIMITS.items()}
    return {name: RLIM_INFINITY if hard == resource.RLIM_INFINITY else hard for name, hard in limits.items()}


def _seccomp_flags() -> int:
    flags = [1 << bit for bit in range(_FILTER_FLAGS)]
    # One of them is about the listener, and refused without.
    return sum(each for each in flags if any(map(native.knows_filter_flags, (each, each | _NEW_LISTENER))))


def _works(call: Callable[[], int]) -> bool:
    """Make a harmless call that gives a descriptor: False when the kernel does not know it."""
    try:
        os.close(call())
    except OSError as exc:
        # No such call, no such flag; anything else is an answer of the call itself.
        return exc.errno not in (errno.ENOSYS, errno.EINVAL)
    return True


def _subordinate(path: str) -> tuple[tuple[int, int], ...]:
    try:
        text = _read(path, _MAX_SUBID_BYTES)
    except OSError:
        return ()
    euid = os.geteuid()
    owners = {str(euid).encode()}
    with contextlib.suppress(KeyError):
        owners.add(os.fsencode(pwd.getpwuid(euid).pw_name))
    return parse_subordinate(text, frozenset(owners))


def _tool(name: str) -> str | None:
    for directory in _TOOL_DIRECTORIES:
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return None


def _read(path: str, limit_bytes: int = -1) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall() if limit_bytes < 0 else file.read(limit_bytes) or b""
