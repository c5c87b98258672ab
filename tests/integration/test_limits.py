"""Limits on the real kernel: each field set, read back, changed, read back; and undone when one is refused.

Run on a machine with v1 and again with a pure cgroup2; only cgroups of the test's own are written to.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from support import limit_cases
from support.cgroups import passed_on_as_before, process
from support.limit_cases import CASES, MIB, Case, disk, expected, held

from aiocontainer.errors import CgroupError, SpecError, UnsupportedError
from aiocontainer.plan.limits import cgroup_limits, limit_warnings
from aiocontainer.plan.plan import CgroupWrite, UsageBelow
from aiocontainer.probe import probe
from aiocontainer.spec import decode_resources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from aiocontainer.cgroups import Cgroup
    from aiocontainer.plan.host import Host
    from aiocontainer.spec import Resources

pytestmark = pytest.mark.needs("root")

CPUS = "0"


def numbers(**members: Any) -> dict[str, Any]:
    major, minor = map(int, disk().split(":"))
    return {"major": major, "minor": minor, **members}


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    with passed_on_as_before():
        yield


def resources(members: Mapping[str, Any]) -> Resources:
    return decode_resources(json.dumps(members).encode())


def host(kind: str) -> Host:
    """This machine, as if it had only what the cgroups under test are in."""
    found = probe()
    return replace(found, cgroup_controllers=frozenset()) if kind == "v1" else found


def limit(cgroup: Cgroup, kind: str, **members: Any) -> None:
    cgroup.set_limits(cgroup_limits(resources(members), host(kind), "$"))


def find(cgroup: Cgroup, file: str) -> str | None:
    for path in cgroup.paths.values():
        if os.path.exists(f"{path}/{file}"):
            return f"{path}/{file}"
    return None


def read(cgroup: Cgroup, file: str) -> str:
    path = find(cgroup, file)
    assert path is not None, file
    with open(path) as text:
        return text.read().strip()


@pytest.mark.proves(
    "$.linux.resources.pids.limit",
    "$.linux.resources.memory.limit",
    "$.linux.resources.memory.swap",
    "$.linux.resources.memory.reservation",
    "$.linux.resources.memory.swappiness",
    "$.linux.resources.memory.disableOOMKiller",
    "$.linux.resources.cpu.*",
    "$.linux.resources.blockIO.weight",
    "$.linux.resources.blockIO.throttleReadBpsDevice[].*",
    "$.linux.resources.blockIO.throttleWriteBpsDevice[].*",
    "$.linux.resources.blockIO.throttleReadIOPSDevice[].*",
    "$.linux.resources.blockIO.throttleWriteIOPSDevice[].*",
    "$.linux.resources.hugepageLimits[].*",
)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_set_read_back_changed_read_back(cgroup: Cgroup, kind: str, case: Case) -> None:
    machine = host(kind)
    answer = limit_cases.answer(case, machine)
    if answer.refused == "$":
        pytest.skip("needs its controller")
    with process(cgroup):
        current = resources(case.first)
        try:
            cgroup.set_limits(cgroup_limits(current, machine, "$"))
            refusal: UnsupportedError | CgroupError | None = None
        except (UnsupportedError, CgroupError) as exc:
            refusal = exc
        if refusal is not None:
            assert limit_cases.is_right(case, answer, refusal)
            return
        assert not answer.refused
        found = held(cgroup.paths.values(), answer.held)
        assert bool(found) == bool(answer.held)
        assert found == expected(answer, found, 0)
        assert answer.told in " ".join(limit_warnings(current, machine, "$"))
        cgroup.set_limits(cgroup_limits(resources(case.then), machine, "$", current))
        found = held(cgroup.paths.values(), answer.held)
        assert found == expected(answer, found, 1)


# What is refused


def write(file: str, value: str, **more: Any) -> CgroupWrite:
    return CgroupWrite(f"$.{file}", file.partition(".")[0], file, value, **more)


def controlled(cgroup: Cgroup, kind: str, controller: str) -> None:
    in_v1 = any(controller in key.split(",") for key in cgroup.paths)
    if not in_v1 and controller not in host(kind).cgroup_controllers:
        pytest.skip(f"needs the {controller} controller")


def test_what_is_refused_undoes_what_was_written(cgroup: Cgroup, kind: str) -> None:
    controlled(cgroup, kind, "pids")
    controlled(cgroup, kind, "cpuset")
    cgroup.set_limits([write("pids.max", "5")])
    cpus = read(cgroup, "cpuset.cpus")
    with pytest.raises(CgroupError) as caught:
        cgroup.set_limits(
            [write("pids.max", "9"), write("cpuset.mems", "0"), write("cpuset.cpus", "4000-5000")]
        )
    assert caught.value.origin == "$.cpuset.cpus"
    assert "writing '4000-5000'" in str(caught.value)
    assert (read(cgroup, "pids.max"), read(cgroup, "cpuset.cpus")) == ("5", cpus)


@pytest.mark.needs("cgroup1")
@pytest.mark.parametrize("kind", ["v1"])
def test_everything_goes_back_the_way_it_came(cgroup: Cgroup) -> None:
    """Values of each form: numbers, lists of devices, words among others; and what depends on each other."""
    start = {
        "memory": {"limit": 64 * MIB, "swap": 80 * MIB, "disableOOMKiller": True},
        "cpu": {"quota": 50000, "burst": 40000},
        "blockIO": {"throttleReadBpsDevice": [numbers(rate=5)]},
    }
    change = {
        "memory": {"limit": 256 * MIB, "swap": 256 * MIB, "disableOOMKiller": False},
        "cpu": {"quota": 90000, "burst": 80000},
        "blockIO": {
            "throttleReadBpsDevice": [numbers(rate=6)],
            "throttleWriteBpsDevice": [numbers(rate=7)],
        },
    }
    files = (
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "memory.oom_control",
        "cpu.cfs_quota_us",
        "cpu.cfs_burst_us",
        "blkio.throttle.read_bps_device",
        "blkio.throttle.write_bps_device",
    )
    cgroup.set_limits(cgroup_limits(resources(start), probe(), "$"))
    before = {file: read(cgroup, file) for file in files}
    writes = [*cgroup_limits(resources(change), probe(), "$"), write("cpu.cfs_period_us", "0")]
    with pytest.raises(CgroupError, match=r"\$\.cpu\.cfs_period_us"):
        cgroup.set_limits(writes)
    assert {file: read(cgroup, file) for file in files} == before
    cgroup.set_limits(writes[:-1])
    assert {file: read(cgroup, file) for file in files} != before


@pytest.mark.needs("cgroup1")
@pytest.mark.parametrize("kind", ["v1"])
@pytest.mark.parametrize(("shares", "words"), [("1", "2 at least"), ("300000", "262144 at most")])
def test_shares_that_the_kernel_changes_are_refused(cgroup: Cgroup, shares: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        cgroup.set_limits([write("cpu.shares", shares, exact=True)])
    assert read(cgroup, "cpu.shares") == "1024"


def test_a_file_that_is_missing(cgroup: Cgroup, kind: str) -> None:
    controlled(cgroup, kind, "pids")
    other = write("pids.max", "3")
    cgroup.set_limits([write("pids.nosuch", "1", optional=True), write("pids.nosuch", "1", otherwise=other)])
    assert read(cgroup, "pids.max") == "3"
    with pytest.raises(UnsupportedError, match="a kernel that has this file") as caught:
        cgroup.set_limits([write("pids.nosuch", "1")])
    assert caught.value.origin == "$.pids.nosuch"
    with pytest.raises(UnsupportedError):
        cgroup.set_limits([write("nosuch.max", "1")])


def test_a_device_that_is_missing(cgroup: Cgroup, kind: str) -> None:
    controlled(cgroup, kind, "io" if kind == "v2" else "blkio")
    members = {"blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 1, "rate": 1}]}}
    with pytest.raises(CgroupError, match="no such block device"):
        cgroup.set_limits(cgroup_limits(resources(members), host(kind), "$"))


TAKE = "held = bytearray({} << 20); held[::4096] = b'x' * len(held[::4096])"
HOLD = f"{TAKE.format(40)}; print(1, flush=True); import time; time.sleep(60)"


@pytest.mark.proves("$.linux.resources.memory.checkBeforeUpdate")
def test_less_memory_than_is_used(cgroup: Cgroup, kind: str) -> None:
    """v1 refuses by itself, v2 when it is asked to: it would kill."""
    controlled(cgroup, kind, "memory")
    cgroup.set_limits(
        cgroup_limits(resources({"memory": {"limit": 128 * MIB, "swap": 128 * MIB}}), host(kind), "$")
    )
    with process(cgroup, code=HOLD) as child:
        memory = {"limit": 8 * MIB, "swap": 8 * MIB, "checkBeforeUpdate": True}
        with pytest.raises(CgroupError, match=r"\d{8} bytes are in use") as caught:
            limit(cgroup, kind, memory=memory)
        assert caught.value.origin.startswith("$.memory.")
        assert child.poll() is None
    held = "memory.max" if kind == "v2" else "memory.limit_in_bytes"
    assert read(cgroup, held) == str(128 * MIB)
    assert cgroup.oom_kills() == 0


def test_usage_counts_what_is_there(cgroup: Cgroup, kind: str) -> None:
    controlled(cgroup, kind, "pids")
    with process(cgroup):
        cgroup.set_limits([write("pids.max", "8", only=(UsageBelow(("pids.current", "pids.nosuch"), 2),))])
        with pytest.raises(CgroupError, match="1 bytes are in use"):
            cgroup.set_limits([write("pids.max", "9", only=(UsageBelow(("pids.current",), 1),))])
    assert read(cgroup, "pids.max") == "8"


# They bite


def test_memory(cgroup: Cgroup, kind: str) -> None:
    controlled(cgroup, kind, "memory")
    cgroup.set_limits(
        cgroup_limits(resources({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}), host(kind), "$")
    )
    code = f"print(1, flush=True); {TAKE.format(64)}"
    with process(cgroup, code=code) as child:
        assert child.wait(20) == -signal.SIGKILL
    assert cgroup.oom_kills() == 1


def test_pids(cgroup: Cgroup, kind: str) -> None:
    controlled(cgroup, kind, "pids")
    limit(cgroup, kind, pids={"limit": 1})
    code = """
import os
try:
    os.fork()
except BlockingIOError:
    print("refused", flush=True)
"""
    with process(cgroup, code=f"print(1, flush=True); exec({code!r})") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"refused\n"


SPIN = """
import time
print(1, flush=True)
end, start = time.monotonic() + 2, time.process_time()
while time.monotonic() < end:
    sum(range(1000))
print((time.process_time() - start) / 2, flush=True)
"""


def test_cpu_quota(cgroup: Cgroup, kind: str) -> None:
    controlled(cgroup, kind, "cpu")
    limit(cgroup, kind, cpu={"quota": 20000, "period": 100000})
    with process(cgroup, code=f"exec({SPIN!r})") as child:
        assert child.stdout is not None
        share = float(child.stdout.readline())
    told = dict(line.split() for line in read(cgroup, "cpu.stat").splitlines())
    # In a period in which it was stopped it has had all that it may have; others compute here, too.
    stopped = int(told["nr_throttled"]) / int(told["nr_periods"])
    print(f"a share of {share:.3f}, stopped in {stopped:.2f} of {told['nr_periods']} periods")
    assert 0.9 * 0.2 * stopped - 0.02 <= share <= 1.1 * 0.2
    assert stopped > 0


def test_cpuset(cgroup: Cgroup, kind: str) -> None:
    controlled(cgroup, kind, "cpuset")
    limit(cgroup, kind, cpu={"cpus": CPUS})
    code = "import os; print(*os.sched_getaffinity(0), flush=True); os._exit(0)"
    with process(cgroup, code=f"print(1, flush=True); {code}") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"0\n"


@pytest.fixture
def loop_device(tmp_path: Path) -> Iterator[str]:
    """A block device of the test's own."""
    image = tmp_path / "image"
    with open(image, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 8 * MIB)
    try:
        made = subprocess.run(
            ["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs loop devices")
    device = made.stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


WRITE = """
import mmap, os, sys, time
fd = os.open({device!r}, os.O_RDWR | os.O_DIRECT)
block = mmap.mmap(-1, 1 << 16)
for name in ("read", "written"):
    start = time.monotonic()
    for turn in range(64):
        if name == "read":
            os.preadv(fd, [block], turn << 16)
        else:
            os.pwritev(fd, [block], turn << 16)
    print(name, time.monotonic() - start, flush=True)
"""


@pytest.mark.proves("$.linux.resources.blockIO.throttleWriteBpsDevice[].rate")
def test_rates_of_a_device(cgroup: Cgroup, kind: str, loop_device: str) -> None:
    """4 MiB at 2 MiB a second take two; what may be read is not limited."""
    controlled(cgroup, kind, "io" if kind == "v2" else "blkio")
    number = os.stat(loop_device).st_rdev
    major, minor = os.major(number), os.minor(number)
    limit(
        cgroup,
        kind,
        blockIO={"throttleWriteBpsDevice": [{"major": major, "minor": minor, "rate": 2 * MIB}]},
    )
    code = f"print(1, flush=True); exec({WRITE.format(device=loop_device)!r})"
    with process(cgroup, code=code) as child:
        assert child.stdout is not None
        took = dict(child.stdout.readline().decode().split() for _ in range(2))
    assert float(took["written"]) > 1.5
    if kind == "v2":
        lines = [
            line for line in read(cgroup, "io.stat").splitlines() if line.startswith(f"{major}:{minor} ")
        ]
        counts = dict(word.split("=") for word in lines[0].split()[1:])
        assert (int(counts["rbytes"]), int(counts["wbytes"])) == (4 * MIB, 4 * MIB)


# cgroup v2: controllers on the way down, threads, owners


@pytest.mark.needs("cgroup2")
@pytest.mark.parametrize("kind", ["v2"])
def test_controllers_are_passed_on_to_every_level(opened: Callable[..., Cgroup]) -> None:
    cgroup = opened("/a/b")
    cgroup.create()
    path = cgroup.paths[""]
    with open("/sys/fs/cgroup/cgroup.controllers") as file:
        everything = set(file.read().split())
    for level in (path, os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
        with open(f"{level}/cgroup.controllers") as file:
            assert set(file.read().split()) == everything
    with open(f"{path}/cgroup.subtree_control") as file:
        assert file.read().strip() == ""  # processes will be in it


@pytest.mark.needs("cgroup2")
@pytest.mark.parametrize("kind", ["v2"])
def test_below_a_cgroup_with_processes_there_are_none(opened: Callable[..., Cgroup], kind: str) -> None:
    outer = opened("/a")
    outer.create()
    outer.close()
    with process(outer):
        inner = opened("/a/b")
        inner.create()
        # Controllers that know threads could be had, at a price: the cgroup above would be for threads alone.
        assert (read(outer, "cgroup.type"), read(inner, "cgroup.type")) == ("domain", "domain")
        for controller in host(kind).cgroup_controllers:
            words = f"the {controller} controller passed on to {inner.paths['']}"
            with pytest.raises(UnsupportedError, match=words):
                inner.set_limits([write(f"{controller}.max", "1")])
        assert read(outer, "cgroup.type") == "domain"


@pytest.mark.needs("cgroup2")
@pytest.mark.parametrize("kind", ["v2"])
def test_threaded_subtrees(opened: Callable[..., Cgroup]) -> None:
    outer = opened("/a")
    outer.create()
    outer.close()
    threaded = f"{outer.paths['']}/t"
    os.mkdir(threaded)
    with open(f"{threaded}/cgroup.type", "w") as file:
        file.write("threaded")
    inner = opened("/a/t/inner")
    inner.create()
    assert read(inner, "cgroup.type") == "threaded"
    with process(outer, inner) as child:
        assert inner.pids() == [child.pid]
        with pytest.raises(UnsupportedError, match="memory"):
            inner.set_limits([write("memory.max", "1")])
        inner.kill()
        assert child.wait(10) == -signal.SIGKILL


@pytest.mark.needs("cgroup2")
@pytest.mark.parametrize("kind", ["v2"])
def test_given_away(cgroup: Cgroup) -> None:
    cgroup.delegate(1000)
    path = cgroup.paths[""]
    owners = {name: os.stat(f"{path}/{name}").st_uid for name in ("", *os.listdir(path))}
    with open("/sys/kernel/cgroup/delegate") as file:
        given = set(file.read().split())
    assert owners[""] == 1000
    assert {name for name, uid in owners.items() if uid == 1000 and name} == given & owners.keys()


@pytest.mark.proves("$.linux.resources.unified{}")
@pytest.mark.needs("cgroup2")
@pytest.mark.parametrize("kind", ["v2"])
def test_files_by_name(cgroup: Cgroup, kind: str) -> None:
    limit(cgroup, kind, unified={"cgroup.max.depth": "3"})
    assert read(cgroup, "cgroup.max.depth") == "3"
    controlled(cgroup, kind, "memory")
    limit(cgroup, kind, memory={"limit": MIB}, unified={"memory.max": "max", "memory.high": f"{5 * MIB}"})
    assert (read(cgroup, "memory.max"), read(cgroup, "memory.high")) == ("max", f"{5 * MIB}")


@pytest.mark.needs("cgroup2")
@pytest.mark.parametrize("kind", ["v2"])
def test_weights_of_devices(cgroup: Cgroup, kind: str) -> None:
    """By BFQ where the kernel has it, by the cost model elsewhere."""
    controlled(cgroup, kind, "io")
    if find(cgroup, "io.bfq.weight") is None and find(cgroup, "io.weight") is None:
        pytest.skip("needs weights")
    limit(cgroup, kind, blockIO={"weight": 1000})
    if find(cgroup, "io.bfq.weight") is not None:
        assert read(cgroup, "io.bfq.weight").removeprefix("default ") == "1000"
    else:
        assert read(cgroup, "io.weight") == "default 10000"


# The unified hierarchy beside v1


@pytest.mark.needs("cgroup1")
@pytest.mark.parametrize("kind", ["hybrid"])
def test_nothing_is_passed_on_in_a_hybrid_that_nobody_asked_for(cgroup: Cgroup, name: str) -> None:
    control = f"{os.path.dirname(cgroup.paths[''])}/cgroup.subtree_control"
    with open(control) as file:
        before = file.read()
    controlled(cgroup, "hybrid", "pids")
    cgroup.set_limits([write("pids.max", "3")])
    with open(control) as file:
        assert file.read() == before


@pytest.mark.needs("cgroup1")
@pytest.mark.parametrize("kind", ["hybrid"])
def test_devices_of_running_processes_are_replaced(cgroup: Cgroup) -> None:
    """Between the verdict on all and the exceptions nobody runs."""
    from aiocontainer.plan.devices import DEFAULT_RULES, DeviceRule

    rules = (DeviceRule(allow=False), *DEFAULT_RULES)
    cgroup.set_devices(rules)
    code = """
import os, time
print(1, flush=True)
end, failed = time.monotonic() + 1.5, 0
while time.monotonic() < end:
    try:
        os.close(os.open("/dev/null", os.O_RDONLY))
    except PermissionError:
        failed += 1
print(failed, flush=True)
"""
    with process(cgroup, code=f"exec({code!r})") as child:
        assert child.stdout is not None
        for _ in range(50):
            cgroup.set_devices(rules)
        assert child.stdout.readline() == b"0\n"
        assert not cgroup.is_frozen()
        cgroup.freeze()
        cgroup.set_devices(rules)
        assert cgroup.is_frozen()
        cgroup.thaw()


def test_this_machine_has_something_to_limit() -> None:
    """All tests above would be skipped elsewhere, and prove nothing."""
    found = probe()
    listed = subprocess.run(["cat", "/proc/cgroups"], capture_output=True, text=True, check=True).stdout
    assert found.cgroup_controllers or "memory" in listed
