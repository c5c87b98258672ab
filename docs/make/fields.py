"""What each field of ``config.json`` does: found out by compiling a document with it and one without.

The fields are those of the model, which a unit test compares with the schema of the specification.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect
from msgspec.structs import replace

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.compile import compile_plan
from aiocontainer.plan.exec import compile_exec
from aiocontainer.plan.host import CgroupMode, Host, Resctrl
from aiocontainer.plan.options import ExecOptions, Options
from aiocontainer.spec import Spec, decode_spec, default_spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiocontainer.plan.plan import Plan

__all__ = ["addresses", "bad_documents", "effects", "generic"]

V2 = Host(
    kernel=(6, 18),
    euid=0,
    egid=0,
    capabilities=(1 << 41) - 1,
    apparmor=True,
    selinux=True,
    seccomp_flags=0xFF,
    cgroup_mode=CgroupMode.V2,
    cgroup_hierarchies={"": "/sys/fs/cgroup"},
    cgroup_delegated=True,
    cgroup_controllers=frozenset({"cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma"}),
    hugepage_sizes=frozenset({"2MB", "1GB"}),
    resctrl=Resctrl(root="/sys/fs/resctrl", resources=frozenset({"L3", "MB"}), monitoring=True),
)
V1 = replace(
    V2,
    cgroup_mode=CgroupMode.V1,
    cgroup_controllers=frozenset(),
    cgroup_hierarchies={
        name: f"/sys/fs/cgroup/{name}"
        for name in (
            *("cpu", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb"),
            *("net_cls", "net_prio", "rdma", "misc"),
        )
    },
)

READ_LATER = {
    "$.ociVersion": "checked: 1.x; kept in the state, for hooks and callers",
    "$.annotations{}": "kept in the state, for hooks and callers",
    "$.linux.seccomp.listenerPath": "who is given the listener",
    "$.linux.seccomp.listenerMetadata": "sent along with the listener",
    "$.linux.resources.memory.checkBeforeUpdate": "what an update is compared with",
    "$.linux.resources.memory.useHierarchy": "always so; a warning where it is to be otherwise",
}
"""Fields that no plan has, because they are read where they are needed."""

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MAPPED = {"containerID": 0, "hostID": 100000, "size": 65536}
_FEW = {"containerID": 70000, "hostID": 200000, "size": 10}
_MOUNT = {"destination": "/data", "type": "tmpfs", "source": "tmpfs"}
_VOLUME = {"destination": "/data", "type": "bind", "source": "/srv", "options": ["bind"]}
_NODE = {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}
_RULE = {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
_USER = {
    "linux": {
        "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "user"}],
        "uidMappings": [_FEW, _MAPPED],
        "gidMappings": [_FEW, _MAPPED],
        "resources": None,
    },
    "mounts": [],
}
_IDMAP = {"uidMappings": [_MAPPED], "gidMappings": [_MAPPED]}
_TIME = {"linux": {"namespaces": [{"type": "time"}, {"type": "mount"}, {"type": "pid"}, {"type": "uts"}]}}
_RATE = {"major": 8, "minor": 0, "rate": 1000}
_PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {
            "names": ["socket"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": 10, "op": "SCMP_CMP_EQ"}],
        }
    ],
}
_DEADLINE = {"policy": "SCHED_DEADLINE", "runtime": 10_000, "deadline": 20_000, "period": 30_000}

# What else a document must say for the field to mean something; the longest prefix of its address counts.
CONTEXT: dict[str, dict[str, Any]] = {
    "$.process.consoleSize": {
        "process": {"terminal": True, "consoleSize": {"height": 24, "width": 80}},
    },
    "$.process.capabilities.effective[]": {
        "process": {"capabilities": {"permitted": ["CAP_SYS_TIME", *_CAPABILITIES]}}
    },
    "$.process.capabilities.ambient[]": {"process": {"capabilities": {"inheritable": ["CAP_KILL"]}}},
    "$.process.rlimits": {"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]}},
    "$.process.ioPriority": {"process": {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}}},
    "$.process.scheduler": {"process": {"scheduler": {"policy": "SCHED_OTHER"}}},
    "$.process.scheduler.priority": {"process": {"scheduler": {"policy": "SCHED_FIFO", "priority": 1}}},
    **{
        f"$.process.scheduler.{name}": {"process": {"scheduler": _DEADLINE}}
        for name in ("runtime", "deadline", "period")
    },
    "$.mounts": {"mounts": [_MOUNT]},
    "$.mounts[].uidMappings": {"mounts": [{**_VOLUME, **_IDMAP}]},
    "$.mounts[].gidMappings": {"mounts": [{**_VOLUME, **_IDMAP}]},
    **{
        f"$.hooks.{kind}": {"hooks": {kind: [{"path": "/bin/hook"}]}}
        for kind in (
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        )
    },
    "$.linux.uidMappings": _USER,
    "$.linux.gidMappings": _USER,
    "$.linux.timeOffsets": _TIME,
    "$.linux.resources.devices": {"linux": {"resources": {"devices": [_RULE]}}},
    "$.linux.resources.memory.swap": {"linux": {"resources": {"memory": {"limit": 2**20}}}},
    "$.linux.resources.cpu.burst": {"linux": {"resources": {"cpu": {"quota": 50_000}}}},
    **{
        f"$.linux.resources.blockIO.{name}": {"linux": {"resources": {"blockIO": {name: [_RATE]}}}}
        for name in (
            *("throttleReadBpsDevice", "throttleWriteBpsDevice"),
            *("throttleReadIOPSDevice", "throttleWriteIOPSDevice"),
        )
    },
    "$.linux.resources.blockIO.weightDevice": {
        "linux": {"resources": {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 100}]}}}
    },
    "$.linux.resources.hugepageLimits": {
        "linux": {"resources": {"hugepageLimits": [{"pageSize": "2MB", "limit": 2**21}]}}
    },
    "$.linux.resources.network.priorities": {
        "linux": {"resources": {"network": {"priorities": [{"name": "eth0", "priority": 1}]}}}
    },
    "$.linux.namespaces": {
        "linux": {"namespaces": [{"type": "network"}, {"type": "mount"}, {"type": "uts"}]},
    },
    "$.linux.devices": {"linux": {"devices": [_NODE]}},
    "$.linux.seccomp": {"linux": {"seccomp": _PROFILE}},
    "$.linux.seccomp.defaultErrnoRet": {
        "linux": {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}],
            }
        }
    },
    "$.linux.seccomp.syscalls[].args[].valueTwo": {
        "linux": {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {
                        "names": ["socket"],
                        "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 0, "value": 15, "op": "SCMP_CMP_MASKED_EQ"}],
                    }
                ],
            }
        }
    },
    **{
        f"$.linux.seccomp.{name}": {
            "linux": {
                "seccomp": {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "listenerPath": "/run/agent",
                    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
                }
            }
        }
        for name in ("listenerPath", "listenerMetadata")
    },
    "$.linux.intelRdt": {"linux": {"intelRdt": {"closID": "gold"}}},
    "$.linux.memoryPolicy": {"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"}}},
    "$.linux.personality": {"linux": {"personality": {"domain": "LINUX"}}},
}

# A value that is not the one of the context, nor of the default document.
VALUES: dict[str, Any] = {
    "$.ociVersion": "1.0.2",
    "$.process.args[]": "other",
    "$.process.env[]": "NAME=value",
    "$.process.cwd": "/srv",
    "$.process.user.additionalGids[]": 5,
    "$.process.user.umask": 0o27,
    **{
        f"$.process.capabilities.{name}[]": "CAP_SYS_TIME"
        for name in ("bounding", "effective", "inheritable", "permitted")
    },
    "$.process.capabilities.ambient[]": "CAP_KILL",
    "$.process.rlimits[].type": "RLIMIT_CORE",
    "$.process.rlimits[].hard": 256,
    "$.process.apparmorProfile": "profile",
    "$.process.selinuxLabel": "system_u:system_r:container_t:s0",
    "$.process.ioPriority.class": "IOPRIO_CLASS_IDLE",
    "$.process.scheduler.policy": "SCHED_BATCH",
    "$.process.scheduler.flags[]": "SCHED_FLAG_RESET_ON_FORK",
    "$.process.scheduler.runtime": 15_000,
    "$.process.scheduler.deadline": 25_000,
    "$.process.scheduler.period": 35_000,
    "$.process.execCPUAffinity.initial": "0",
    "$.process.execCPUAffinity.final": "0",
    "$.process.noNewPrivileges": False,
    "$.root.path": "other",
    "$.root.readonly": False,
    "$.mounts[].destination": "/other",
    "$.mounts[].type": "ramfs",
    "$.mounts[].options[]": "noexec",
    **{f"$.mounts[].{side}Mappings[].size": 1 for side in ("uid", "gid")},
    **{f"$.linux.{side}Mappings[].containerID": 80000 for side in ("uid", "gid")},
    **{f"$.linux.{side}Mappings[].hostID": 300000 for side in ("uid", "gid")},
    **{f"$.linux.{side}Mappings[].size": 1 for side in ("uid", "gid")},
    **{
        f"$.hooks.{kind}[].{name}": value
        for kind in (
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        )
        for name, value in (("path", "/bin/other"), ("args[]", "word"), ("env[]", "NAME=value"))
    },
    "$.linux.sysctl{}": "1",
    "$.linux.resources.devices[].allow": True,
    "$.linux.resources.devices[].type": "b",
    "$.linux.resources.devices[].access": "r",
    "$.linux.resources.cpu.cpus": "0",
    "$.linux.resources.cpu.mems": "0",
    "$.linux.resources.hugepageLimits[].pageSize": "1GB",
    "$.linux.resources.network.priorities[].name": "eth1",
    "$.linux.resources.unified{}": "100",
    "$.linux.resources.memory.limit": 2**20,
    "$.linux.resources.memory.swap": 2**21,
    "$.linux.resources.memory.reservation": 2**20,
    "$.linux.resources.cpu.idle": 1,
    "$.linux.resources.blockIO.weight": 200,
    "$.linux.resources.blockIO.leafWeight": 200,
    "$.linux.resources.blockIO.weightDevice[].weight": 200,
    "$.linux.resources.blockIO.weightDevice[].leafWeight": 200,
    "$.linux.resources.cpu.shares": 512,
    "$.linux.resources.cpu.quota": 50_000,
    "$.linux.resources.cpu.period": 50_000,
    "$.linux.resources.cpu.burst": 10_000,
    "$.linux.resources.cpu.realtimeRuntime": 10_000,
    "$.linux.resources.cpu.realtimePeriod": 100_000,
    "$.linux.cgroupsPath": "/other",
    "$.linux.namespaces[].type": "ipc",
    "$.linux.namespaces[].path": "/proc/1/ns/net",
    "$.linux.devices[].type": "b",
    "$.linux.devices[].path": "/dev/other",
    "$.linux.netDevices{}.name": "eth1",
    "$.linux.seccomp.defaultAction": "SCMP_ACT_LOG",
    "$.linux.seccomp.architectures[]": "SCMP_ARCH_X86",
    "$.linux.seccomp.flags[]": "SECCOMP_FILTER_FLAG_LOG",
    "$.linux.seccomp.listenerPath": "/run/other",
    "$.linux.seccomp.syscalls[].names[]": "mkdir",
    "$.linux.seccomp.syscalls[].action": "SCMP_ACT_KILL",
    "$.linux.seccomp.syscalls[].args[].index": 1,
    "$.linux.seccomp.syscalls[].args[].op": "SCMP_CMP_NE",
    "$.linux.rootfsPropagation": "shared",
    "$.linux.maskedPaths[]": "/proc/other",
    "$.linux.readonlyPaths[]": "/proc/other",
    "$.linux.mountLabel": "system_u:object_r:container_file_t:s0",
    "$.linux.intelRdt.closID": "silver",
    "$.linux.intelRdt.schemata[]": "L3:0=f",
    "$.linux.intelRdt.l3CacheSchema": "L3:0=f",
    "$.linux.intelRdt.memBwSchema": "MB:0=50",
    "$.linux.memoryPolicy.mode": "MPOL_INTERLEAVE",
    "$.linux.memoryPolicy.nodes": "0-1",
    "$.linux.memoryPolicy.flags[]": "MPOL_F_STATIC_NODES",
    "$.linux.personality.domain": "LINUX32",
}
"""Other fields get a number, a truth value or a text by their type."""

_KEYS = {
    "$.linux.sysctl": "net.ipv4.ip_forward",
    "$.linux.resources.unified": "memory.high",
    "$.linux.resources.rdma": "mlx5_0",
    "$.linux.netDevices": "eth7",
}


def addresses() -> dict[str, inspect.Type]:
    """Return the address of each field with its type; "[]" is any element and "{}" any member."""
    return dict(_leaves(inspect.type_info(Spec), "$"))


def _leaves(type: inspect.Type, address: str) -> Iterator[tuple[str, inspect.Type]]:
    if isinstance(type, inspect.UnionType):
        (type,) = (each for each in type.types if not isinstance(each, inspect.NoneType))
    if isinstance(type, inspect.StructType):
        for field in type.fields:
            yield from _leaves(field.type, f"{address}.{field.encode_name}")
    elif isinstance(type, inspect.VarTupleType):
        yield from _leaves(type.item_type, f"{address}[]")
    elif isinstance(type, inspect.DictType):
        yield from _leaves(type.value_type, f"{address}{{}}")
    else:
        yield address, type


def generic(origin: str) -> str:
    """Return the address of the field at which an error or a step points."""
    maps = "|".join(re.escape(each) for each in (*_KEYS, "$.annotations"))
    origin = re.sub(rf"^({maps})(\[\".*?\"\]|\.[^.\[]+)", r"\1{}", origin)
    return re.sub(r"\[\d+\]", "[]", origin)


def effects(address: str, type: inspect.Type) -> tuple[str, ...]:
    """Return what the field changes: names of steps, and of members of the plan."""
    if address in READ_LATER:
        return (READ_LATER[address],)
    without = _context(address)
    found: dict[str, None] = {}
    with_it = copy.deepcopy(without)
    _set(with_it, address, VALUES.get(address, _value(type)))
    for host in (V2, V1):
        try:
            one, two = _compiled(without, host), _compiled(with_it, host)
        except UnsupportedError as exc:
            found[f"refused with cgroup {host.cgroup_mode.value}: needs {exc.needs}"] = None
            continue
        except SpecError as exc:
            found[f"refused: {str(exc).partition(': ')[2]}"] = None
            continue
        for before, after in zip(one, two, strict=True):
            found.update(dict.fromkeys(_changes(before, after, address)))
    return tuple(found)


def _context(address: str) -> dict[str, Any]:
    """Return a document in which the field would mean something."""
    base: dict[str, Any] = json.loads(msgspec.json.encode(default_spec(["true"], terminal=False)))
    fitting = [
        prefix for prefix in CONTEXT if address == prefix or address.startswith((f"{prefix}.", f"{prefix}["))
    ]
    return _merged(base, CONTEXT[max(fitting, key=len)]) if fitting else base


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = {**old}
    for key, value in new.items():
        merged[key] = (
            _merged(merged.get(key) or {}, value) if isinstance(value, dict) else copy.deepcopy(value)
        )
    return merged


def _set(document: dict[str, Any], address: str, value: Any) -> None:
    """Put a value into the first element of each list; a list of plain values gets one more."""
    place: Any = document
    path = "$"
    parts = re.findall(r"\.?(\w+|\[\]|\{\})", address[1:])
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        path += part if part in {"[]", "{}"} else f".{part}"
        empty: Any = [] if after == "[]" else {}
        if part == "[]" and after is None:
            place.append(value)
        elif part == "[]":
            place.extend([] if place else [empty])
            place = place[0]
        else:
            key = _KEYS.get(path[:-2], "org.example") if part == "{}" else part
            if after is None:
                place[key] = value
            else:
                place[key] = place.get(key) or empty
                place = place[key]


def _value(type: inspect.Type) -> Any:
    if isinstance(type, inspect.BoolType):
        return True
    return 7 if isinstance(type, inspect.IntType) else "text"


def _compiled(document: dict[str, Any], host: Host) -> tuple[Plan, Plan]:
    """Return the plan of a container and that of an exec in it."""
    spec = decode_spec(json.dumps(document))
    process = spec.process
    assert process is not None
    plan = compile_plan(spec, host, Options(id="web", bundle="/bundles/web", console=process.terminal))
    inside = ExecOptions(id="web", namespaces={"mount": 1}, console=process.terminal)
    return plan, compile_exec(process, spec, host, inside)


def _changes(before: Plan, after: Plan, address: str) -> Iterator[str]:
    had = Counter(map(repr, before.steps))
    new = [step for step in after.steps if not _taken(had, repr(step))]
    gone = [step for step in before.steps if _taken(had, repr(step))]
    near = [step for step in (*new, *gone) if _is_about(generic(step.origin), address)]
    for step in near or new or gone:
        yield f"`{type(step).__name__}`"
    for passed in after.fds:
        if passed not in before.fds:
            yield f"a passed `{type(passed).__name__}`"
    for name in after.__struct_fields__:
        if name not in {"steps", "fds"} and getattr(before, name) != getattr(after, name):
            yield f"the plan's {name.replace('_', ' ')}"


def _taken(counter: Counter[str], key: str) -> bool:
    if counter[key] > 0:
        counter[key] -= 1
        return True
    return False


def _is_about(origin: str, address: str) -> bool:
    return len(origin) > 1 and (
        f"{address}.".startswith(f"{origin}.")
        or address.startswith((f"{origin}[", f"{origin}{{"))
        or origin.startswith(address)
    )


def bad_documents(directory: Path) -> dict[str, list[str]]:
    """Return the documents of the unit tests that are refused, by the field at which they are."""
    expected = json.loads((directory / "EXPECTED.json").read_text())
    found: dict[str, list[str]] = {}
    for name, origin in expected.items():
        found.setdefault(generic(origin), []).append(name)
    return found
