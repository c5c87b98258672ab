"""Rules of limits, cache allocation, memory policy and personality.  OCI config-linux.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._lazy import pattern
from ...errors import SpecError
from ..document import at
from .devices import is_interface_name, rule_problems
from .shared import list_syntax

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..linux import IntelRdt, Linux, MemoryPolicy
    from ..model import Spec
    from ..resources import BlockIO, Cpu, Memory, Resources, WeightDevice
    from .shared import Problems

__all__ = ["resource_problems", "resource_warnings", "tuning_problems"]

_WEIGHTS = range(10, 1001)

_FILE = pattern(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)+")
_WORD = pattern(r"[^\s\x00]+")

_NEEDS_NODES = ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY")
_TAKES_NO_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")


def resource_problems(resources: Resources, origin: str) -> Problems:
    """Everything wrong with limits, of a container or of an update."""
    for index, rule in enumerate(resources.devices or ()):
        yield from rule_problems(rule, f"{origin}.devices[{index}]")
    if resources.cpu:
        yield from _cpu(resources.cpu, f"{origin}.cpu")
    if resources.memory:
        yield from _memory(resources.memory, f"{origin}.memory")
    if resources.block_io:
        yield from _weights(resources.block_io, f"{origin}.blockIO")
    for name, rdma in resources.rdma.items():
        if _WORD.fullmatch(name) is None:
            yield SpecError(f"{name!r} is not the name of a device", origin=at(f"{origin}.rdma", name))
        if rdma.hca_handles is None and rdma.hca_objects is None:
            yield SpecError("sets neither hcaHandles nor hcaObjects", origin=at(f"{origin}.rdma", name))
    for index, priority in enumerate(resources.network.priorities if resources.network else ()):
        if not is_interface_name(priority.name):
            place = f"{origin}.network.priorities[{index}].name"
            yield SpecError(f"{priority.name!r} is not a name for a network device", origin=place)
    for key in resources.unified:
        if _FILE.fullmatch(key) is None:
            yield SpecError("not the name of a cgroup file", origin=at(f"{origin}.unified", key))


def resource_warnings(resources: Resources, origin: str) -> Iterator[str]:
    """Limits that no longer do anything."""
    if resources.memory:
        for name, value in (("kernel", resources.memory.kernel), ("kernelTCP", resources.memory.kernel_tcp)):
            if value is not None:
                yield f"{origin}.memory.{name}: deprecated, ignored"
        if resources.memory.use_hierarchy is False:
            yield f"{origin}.memory.useHierarchy: cgroups are always hierarchical, ignored"


def tuning_problems(spec: Spec) -> Problems:
    """Everything wrong with `resources`, `intelRdt`, `memoryPolicy` and `personality`."""
    linux = spec.linux
    if linux is None:
        return
    if linux.resources:
        yield from resource_problems(linux.resources, "$.linux.resources")
    if linux.intel_rdt:
        yield from _intel_rdt(linux.intel_rdt)
    if linux.memory_policy:
        yield from _memory_policy(linux.memory_policy)
    yield from _personality(linux)


def _memory(memory: Memory, origin: str) -> Problems:
    for name in ("limit", "reservation", "swap"):
        value = getattr(memory, name)
        if value is not None and value < -1:
            yield SpecError(f"{value} is neither bytes nor -1, no limit", origin=f"{origin}.{name}")
    # Without a limit it may be meant to go with the one that holds already.
    if memory.limit and memory.swap and 0 < memory.swap < memory.limit:
        yield SpecError(f"includes memory, and is below its limit {memory.limit}", origin=f"{origin}.swap")


def _cpu(cpu: Cpu, origin: str) -> Problems:
    yield from list_syntax(cpu.cpus, f"{origin}.cpus")
    yield from list_syntax(cpu.mems, f"{origin}.mems")
    if cpu.idle not in (None, 0, 1):
        yield SpecError(f"{cpu.idle} is neither 0 nor 1", origin=f"{origin}.idle")
    if cpu.burst and cpu.quota and 0 < cpu.quota < cpu.burst:
        yield SpecError(f"is above the quota {cpu.quota}", origin=f"{origin}.burst")


def _weights(block_io: BlockIO, origin: str) -> Problems:
    places: list[tuple[str, BlockIO | WeightDevice]] = [(origin, block_io)]
    places += [(f"{origin}.weightDevice[{i}]", each) for i, each in enumerate(block_io.weight_device)]
    for place, each in places:
        for name, weight in (("weight", each.weight), ("leafWeight", each.leaf_weight)):
            if weight and weight not in _WEIGHTS:  # 0 is unset
                yield SpecError(f"{weight} is not from 10 to 1000", origin=f"{place}.{name}")


def _intel_rdt(rdt: IntelRdt) -> Problems:
    name = rdt.clos_id
    if name in (".", "..") or ("/" in name and name != "/") or "\n" in name or len(name.encode()) > 255:
        yield SpecError(f"{name!r} is not a file name", origin="$.linux.intelRdt.closID")
    for line in rdt.l3_cache_schema.splitlines():
        if not line.startswith(("L3:", "L3CODE:", "L3DATA:")):
            yield SpecError(f"{line!r} is not an L3 line", origin="$.linux.intelRdt.l3CacheSchema")
    if rdt.mem_bw_schema and (not rdt.mem_bw_schema.startswith("MB:") or "\n" in rdt.mem_bw_schema):
        yield SpecError(f"{rdt.mem_bw_schema!r} is not one MB line", origin="$.linux.intelRdt.memBwSchema")
    for index, line in enumerate(rdt.schemata):
        if "\n" in line or ":" not in line:
            yield SpecError(f"{line!r} is not one line", origin=f"$.linux.intelRdt.schemata[{index}]")


def _memory_policy(policy: MemoryPolicy) -> Problems:
    origin = "$.linux.memoryPolicy"
    yield from list_syntax(policy.nodes, f"{origin}.nodes")
    if policy.mode is None:
        yield SpecError("required, and missing", origin=f"{origin}.mode")
    elif policy.mode in _NEEDS_NODES and not policy.nodes:
        yield SpecError(f"{policy.mode} needs some", origin=f"{origin}.nodes")
    elif policy.mode in _TAKES_NO_NODES and policy.nodes:
        yield SpecError(f"{policy.mode} takes none", origin=f"{origin}.nodes")
    if "MPOL_F_NUMA_BALANCING" in policy.flags and policy.mode != "MPOL_BIND":
        yield SpecError("MPOL_F_NUMA_BALANCING is for MPOL_BIND", origin=f"{origin}.flags")
    if {"MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"} <= set(policy.flags):
        yield SpecError("nodes are either relative or static", origin=f"{origin}.flags")


def _personality(linux: Linux) -> Problems:
    personality = linux.personality
    if personality and personality.domain is None:
        yield SpecError("required, and missing", origin="$.linux.personality.domain")
    if personality and personality.flags:
        yield SpecError("no flag is defined", origin="$.linux.personality.flags[0]")
