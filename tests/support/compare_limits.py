"""What runc and we make of the same limits: every file of the cgroup, every property of the unit."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import random
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from support import limit_cases
from support.limit_cases import CASES, MIB, addresses, disk

from aiocontainer import ContainerError, Runtime, Spec
from aiocontainer.cgroups import read_hierarchies
from aiocontainer.plan.host import CgroupMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from support.limit_cases import Answer, Case

    from aiocontainer.plan.host import Host

__all__ = ["Compared", "Documents", "by_chance", "compare", "covering", "fields"]

Found = dict[str, str]
Documents = tuple[dict[str, Any], dict[str, Any]]
"""Limits of the bundle, and those of an update."""

NAME: Final = "aioc-test-limits"
COUNTED: Final = re.compile(
    r".*(usage|current|peak|events|stat|pressure|failcnt|_serviced|_service_bytes|_merged|_queued)(\W.*|_.*)?"
    r"|tasks|cgroup\.(procs|threads|kill|clone_children)|cpuacct\..*|memory\.(force_empty|kmem.slabinfo|reclaim)"
    r"|memory.pressure_level|cgroup.event_control|.*_in_bytes\.local|blkio\.(time|sectors|reset_stats).*"
)
"""Files that count, or that are there to be written to."""

PASSING: Final = re.compile(
    r".*(Timestamp|TimestampMonotonic|USageNSec|Current|Peak|Available)|InvocationID|ControlGroupId|Job"
    r"|CPUUsageNSec|(IO|IP)(Read|Write|Ingress|Egress)(Bytes|Operations|Packets)|NRestarts"
)
"""Properties that are others each time."""

UPDATED: Final = {
    "memory": ("limit", "swap", "reservation", "checkBeforeUpdate"),
    "cpu": (
        "shares",
        "quota",
        "period",
        "burst",
        "idle",
        "cpus",
        "mems",
        "realtimePeriod",
        "realtimeRuntime",
    ),
    "blockIO": ("weight",),
    "pids": ("limit",),
    "unified": (),
}
"""Fields that runc's update takes; all of the last."""


# Bundles -----------------------------------------------------------------------------------------------


def covering(host: Host) -> list[Documents]:
    """Return as few documents as hold all cases that this machine can have, each field once in each."""
    made: list[tuple[Documents, set[str]]] = []
    v1 = host.cgroup_mode is not CgroupMode.V2
    for case in CASES:
        answer = limit_cases.answer(case, host)
        if (
            answer.refused
            or answer.told
            or (v1 and answer.held != case.held_v1)
            or not _is_there(case, answer)
        ):
            continue  # runc looks for no controller in the hierarchy beside those of v1
        fields = {*addresses(dict(case.first)), *addresses(dict(case.then))}
        place = next((each for each in made if not each[1] & fields), None)
        if place is None:
            place = (({}, {}), set())
            made.append(place)
        for document, part in zip(place[0], (case.first, case.then), strict=True):
            _merge(document, part)
        place[1].update(fields)
    return [documents for documents, _ in made]


def _is_there(case: Case, answer: Answer) -> bool:
    """Tell whether this kernel has the files: some cgroup of the machine has them, then."""
    if "weightDevice" in case.first.get("blockIO", {}):
        with open(f"/sys/dev/block/{disk()}/queue/scheduler") as file:
            if "[bfq]" not in file.read():  # bfq-iosched.rst: only then does the device have a weight
                return False
    points = [hierarchy.point for hierarchy in read_hierarchies().values()]
    return any(glob.glob(f"{point}/*/{file}") for point in points for file in answer.held)


def _merge(document: dict[str, Any], part: Any) -> None:
    for key, value in part.items():
        if isinstance(value, dict):
            _merge(document.setdefault(key, {}), value)
        else:
            document[key] = value


def fields(bundles: Iterable[Documents]) -> set[str]:
    """Return the fields that bundles say something of, by address."""
    return {place for both in bundles for document in both for place in addresses(document)}


def by_chance(seed: int, host: Host) -> Documents:
    """Return documents that the number alone decides about."""
    chance = random.Random(seed)
    first, then = _by_chance(chance, host), _by_chance(chance, host)
    if then.get("memory", {}).get("swap", -1) > 0 and "limit" not in then["memory"]:
        del then["memory"]["swap"]
    return first, then


def _by_chance(chance: random.Random, host: Host) -> dict[str, Any]:
    size = chance.choice([-1, 24 * MIB, 64 * MIB, 100_000_000, 1 << 40])
    swap = chance.choice([-1, size, size + 32 * MIB]) if size > 0 else -1
    major, minor = map(int, disk().split(":"))
    rates = [{"major": major, "minor": minor, "rate": chance.choice([1024, MIB, 1 << 33])}]
    quota = chance.choice([-1, 10000, 33333, 55000, 200000])
    members: dict[str, dict[str, Any]] = {
        "memory": {"limit": size, "swap": swap, "reservation": chance.choice([-1, 16 * MIB, 5_000_000])},
        "pids": {"limit": chance.choice([-1, 0, 1, 77, 4_000_000])},
        "cpu": {
            "shares": chance.choice([2, 3, 100, 1024, 1025, 99999, 262144]),
            "quota": quota,
            "period": chance.choice([20000, 100000, 123456]),
            "cpus": chance.choice(["0", "0-1", "1"]) if os.cpu_count() != 1 else "0",
            "mems": "0",
        },
        "blockIO": {
            f"throttle{name}Device": rates
            for name in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
            if chance.random() < 0.5
        },
    }
    if host.cgroup_mode is CgroupMode.V2:
        files = {
            "memory.high": chance.choice(["max", "20M", str(48 * MIB)]),
            "memory.min": chance.choice(["0", "4096000"]),
            "cpu.weight": chance.choice(["1", "5000"]),
            "pids.max": chance.choice(["max", "99"]),
            "cgroup.max.descendants": "7",
        }
        members["unified"] = {file: value for file, value in files.items() if chance.random() < 0.4}
    return {name: value for name, value in members.items() if chance.random() < 0.8 and value}


def _for_update(then: dict[str, Any]) -> dict[str, Any]:
    """Leave out what runc's update does not take."""
    taken: dict[str, Any] = {}
    for name, fields in UPDATED.items():
        members = {key: value for key, value in then.get(name, {}).items() if not fields or key in fields}
        if members:
            taken[name] = members
    return taken


# One bundle by both ------------------------------------------------------------------------------------


class Compared(NamedTuple):
    """What differs, as "what: theirs -> ours", after create and after an update; and what was compared."""

    differences: list[str]
    files: set[str]
    properties: set[str]


async def compare(rootfs: str, work: str, documents: Documents, *, systemd: bool) -> Compared:
    """Have both do the same, one after the other."""
    bundle, update = f"{work}/bundle", _for_update(documents[1])
    config = json.loads(Spec.default(["sleep", "1000"], rootfs=rootfs).encode())
    config["linux"]["resources"] |= documents[0]
    config["linux"]["cgroupsPath"] = "system.slice:aioc:test-limits" if systemd else f"/{NAME}"
    shutil.rmtree(bundle, ignore_errors=True)
    os.mkdir(bundle)
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(config, file)
    theirs = [*_by_runc(bundle, work, update, systemd=systemd)]
    ours = await _by_us(bundle, work, update, systemd=systemd)
    differences = []
    for word, one, other in zip(("", "updated "), theirs, ours, strict=False):
        differences += [f"{word}{each}" for each in _differences(one, other)]
    names = {name for found in (*theirs, *ours) for name in found} - {"create", "update"}
    properties = {name for name in names if name.startswith("unit ")}
    return Compared(differences, names - properties, properties)


def _by_runc(bundle: str, work: str, update: dict[str, Any], *, systemd: bool) -> Iterator[Found]:
    program = ["runc", "--root", f"{work}/runc", "--log", f"{work}/log"]
    program += ["--systemd-cgroup"] if systemd else []
    quiet: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def run(*words: str) -> str:
        """Run it; return how it failed, the last line of its log."""
        done = subprocess.run([*program, *words], timeout=60, check=False, **quiet)
        with open(f"{work}/log") as file:
            lines = file.read().splitlines()
        found = re.search(r'msg="(.*)"$', lines[-1]) if lines else None
        return "" if done.returncode == 0 else (found[1] if found else "failed")

    with open(f"{work}/update.json", "w") as file:
        json.dump(update, file)
    try:
        failure = run("create", "--bundle", bundle, NAME)
        yield {"create": failure} if failure else _found(systemd=systemd)
        if not failure:
            failure = run("update", "--resources", f"{work}/update.json", NAME)
            yield {"update": failure} if failure else _found(systemd=systemd)
    finally:
        run("delete", "--force", NAME)
        _wait_gone(systemd=systemd)


async def _by_us(bundle: str, work: str, update: dict[str, Any], *, systemd: bool) -> list[Found]:
    found = []
    async with Runtime(root=f"{work}/ours", cgroups="systemd" if systemd else "cgroupfs") as runtime:
        try:
            container = await runtime.create(NAME, bundle)
        except ContainerError as exc:
            return [{"create": str(exc)}]
        found.append(_found(systemd=systemd))
        try:
            await container.update(update)
            found.append(_found(systemd=systemd))
        except ContainerError as exc:
            found.append({"update": str(exc)})
        await container.delete(force=True)
    return found


def _directories(*, systemd: bool) -> list[str]:
    name = "system.slice/aioc-test-limits.scope" if systemd else NAME
    return [f"{hierarchy.point}/{name}" for hierarchy in read_hierarchies().values()]


def _wait_gone(*, systemd: bool) -> None:
    """Wait for the cgroup to be gone: runc gives up where the kernel still counts who was killed."""
    for _ in range(200):
        left = [each for each in _directories(systemd=systemd) if os.path.isdir(each)]
        if not left:
            return
        for each in left:
            with contextlib.suppress(OSError):
                os.rmdir(each)
        time.sleep(0.02)
    raise AssertionError(f"runc left {left}")


def _found(*, systemd: bool) -> Found:
    found = {}
    for directory in _directories(systemd=systemd):
        for file in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
            if COUNTED.fullmatch(file) is None:
                with contextlib.suppress(OSError), open(f"{directory}/{file}") as text:
                    lines = text.read().split("\n")
                    found[file] = "\n".join(sorted(lines) if file == "devices.list" else lines).strip()
    if systemd:
        show = ["systemctl", "show", "--all", "aioc-test-limits.scope"]
        shown = subprocess.run(show, capture_output=True, text=True, check=True)
        lists: dict[str, list[str]] = {}
        for name, _, value in (line.partition("=") for line in shown.stdout.splitlines()):
            if PASSING.fullmatch(name) is None:
                # What was set of a transient unit is a file each: "/run/.../50-MemoryMax.conf".
                values = map(os.path.basename, value.split()) if name == "DropInPaths" else [value]
                lists.setdefault(f"unit {name}", []).extend(values)
        found |= {name: "\n".join(sorted(values)) for name, values in lists.items()}
    return found


def _differences(theirs: Found, ours: Found) -> Iterator[str]:
    failed = [each.get("create", each.get("update", "works")) for each in (theirs, ours)]
    if failed != ["works", "works"]:
        word = "run" if "works" in failed else "refused by both"
        yield f"{word}: {failed[0]} -> {failed[1]}"
        return
    for key in dict.fromkeys((*theirs, *ours)):
        one, other = (each.get(key, "").split("\n") for each in (theirs, ours))
        if len(one) + len(other) > 2:  # of several lines only those that differ
            one, other = [e for e in one if e not in other], [e for e in other if e not in one]
        if one != other:
            yield f"{key}: {','.join(filter(None, one)) or '-'} -> {','.join(filter(None, other)) or '-'}"
