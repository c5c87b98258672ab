"""Cgroup drivers on the real kernel, one suite for all of them.

Run on a machine with v1 and again with a pure cgroup2 (``benchmarks/view.py``); what is made is
named ``aioc-test-*``, and nothing else is touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.cgroups import process, roots

from aiocontainer.cgroups import (
    CgroupBusyError,
    Mounts,
    base,
    directory,
    fs1,
    members,
    open_cgroup,
    read_hierarchies,
    unified,
)
from aiocontainer.errors import CgroupError, ExistsError, UnsupportedError
from aiocontainer.plan.devices import DEFAULT_RULES, DeviceRule
from aiocontainer.plan.host import CgroupMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiocontainer.cgroups import Cgroup

pytestmark = pytest.mark.needs("root")

# Made and removed


def test_made_and_removed_in_every_hierarchy(opened: Callable[..., Cgroup]) -> None:
    cgroup = opened()
    assert not cgroup.exists()
    assert cgroup.pids() == []
    assert not cgroup.is_frozen()
    cgroup.create()
    assert cgroup.exists()
    assert all(os.path.isdir(path) for path in cgroup.paths.values())
    assert set(cgroup.made.values()) == {1}
    cgroup.remove()
    assert not cgroup.exists()
    assert not any(os.path.exists(path) for path in cgroup.paths.values())
    cgroup.remove()
    cgroup.thaw()
    with pytest.raises(CgroupError):
        cgroup.freeze()


def test_levels_are_made_and_only_those_are_removed(opened: Callable[..., Cgroup]) -> None:
    outer = opened("/a")
    outer.survey()
    assert set(outer.made.values()) == {2}
    outer.create()
    assert set(outer.made.values()) == {2}
    outer.close()
    inner = opened("/a/b/c")
    inner.survey()
    assert set(inner.made.values()) == {2}
    inner.create()
    assert set(inner.made.values()) == {2}
    inner.remove()
    assert outer.exists()
    outer.remove()
    assert not any(os.path.exists(os.path.dirname(path)) for path in outer.paths.values())


def test_what_others_use_above_stays(opened: Callable[..., Cgroup]) -> None:
    first, second = opened("/shared/1"), opened("/shared/2")
    first.create()
    second.create()
    assert set(first.made.values()) == {3}
    assert set(second.made.values()) == {1}
    first.remove()
    assert second.exists()
    second.remove()
    # Neither remembers having made what is above: who did has gone before.
    for path in second.paths.values():
        os.rmdir(os.path.dirname(path))
        os.rmdir(os.path.dirname(os.path.dirname(path)))


def test_a_directory_that_was_there_stays(opened: Callable[..., Cgroup]) -> None:
    before = opened()
    before.create()
    before.close()
    cgroup = opened()
    cgroup.create()
    assert set(cgroup.made.values()) == {0}
    with process(cgroup) as child:
        cgroup.remove()
        assert child.wait(10) == -signal.SIGKILL
    assert cgroup.exists()
    later = opened(made=cgroup.made)
    later.remove()
    assert before.exists()


def test_cgroup_in_use_is_refused(opened: Callable[..., Cgroup], cgroup: Cgroup) -> None:
    other = opened()
    with pytest.raises(ExistsError, match="cgroup in use"):
        other.create()
    cgroup.close()
    with process(cgroup), pytest.raises(ExistsError, match="cgroup with processes"):
        opened().create()
    cgroup.freeze()
    with pytest.raises(ExistsError, match="frozen cgroup"):
        opened().create()
    cgroup.thaw()
    opened().create()
    assert cgroup.exists()


def test_who_is_refused_harms_nobody(opened: Callable[..., Cgroup], cgroup: Cgroup) -> None:
    """Undoing a create that found the cgroup in use must not undo somebody else's."""
    cgroup.close()
    with process(cgroup) as child:
        surveyed, refused = opened(), opened()
        surveyed.survey()
        with pytest.raises(ExistsError):
            refused.create()
        for other in (surveyed, refused):
            other.kill()
            other.remove()
            other.close()
        assert child.poll() is None
        assert cgroup.pids() == [child.pid]
        assert not cgroup.is_frozen()


def test_one_of_many_creates_wins(opened: Callable[..., Cgroup]) -> None:
    """Security test S15."""
    cgroups = [opened() for _ in range(8)]
    barrier = threading.Barrier(len(cgroups))
    outcomes: list[object] = []

    def create(cgroup: Cgroup) -> None:
        barrier.wait()
        try:
            outcomes.append(cgroup.create())
        except ExistsError as exc:
            outcomes.append(exc)

    threads = [threading.Thread(target=create, args=(cgroup,)) for cgroup in cgroups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(None) == 1
    assert len(outcomes) == len(cgroups)
    opened(made=dict.fromkeys(cgroups[0].paths, 1)).remove()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_failing_to_make_one_directory_leaves_none(
    opened: Callable[..., Cgroup], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Security test S7, at every call of mkdir(2)."""
    mkdir = os.mkdir
    for fatal in range(2 * len(opened().paths)):
        calls = iter(range(100))

        def fail(*args: object, calls: Iterator[int] = calls, fatal: int = fatal, **kwargs: object) -> None:
            if next(calls) == fatal:
                raise OSError(code, os.strerror(code))
            mkdir(*args, **kwargs)  # type: ignore[arg-type]

        cgroup = opened("/below")
        with monkeypatch.context() as patch, contextlib.suppress(CgroupError):
            patch.setattr(directory.os, "mkdir", fail)
            cgroup.create()
            pytest.fail("it was to fail")
        assert not any(os.path.exists(os.path.dirname(path)) for path in cgroup.paths.values())


def test_the_directory_above_may_vanish_meanwhile(
    opened: Callable[..., Cgroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir
    vanished = []

    def lose(name: str, mode: int = 0o777, *, dir_fd: int) -> None:
        if name == "below" and len(vanished) < 3:
            vanished.append(dir_fd)
            os.rmdir(os.readlink(f"/proc/self/fd/{dir_fd}"))
        mkdir(name, mode, dir_fd=dir_fd)

    cgroup = opened("/below")
    monkeypatch.setattr(directory.os, "mkdir", lose)
    cgroup.create()
    assert len(vanished) == 3
    assert set(cgroup.made.values()) == {2}
    cgroup.remove()
    assert not any(os.path.exists(os.path.dirname(path)) for path in cgroup.paths.values())


@pytest.mark.parametrize("below", ["", "/..", "/x/../..", "/./x", "//x", "/x/"])
def test_paths_outside_the_hierarchy_are_refused(kind: str, below: str) -> None:
    """Security test T63: killing or removing there would not stop at a container."""
    mode = CgroupMode.V2 if kind == "v2" else CgroupMode.V1
    paths = {key: f"{root}{below}" for key, root in roots(kind).items()}
    with pytest.raises(CgroupError) as caught:
        open_cgroup(mode, paths)
    assert caught.value.errno == errno.EINVAL


def test_another_hierarchys_path_is_refused(kind: str) -> None:
    with pytest.raises(CgroupError) as caught:
        open_cgroup(CgroupMode.V1, {next(iter(roots(kind))): "/tmp/aioc-test-x"})
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(CgroupError) as caught:
        open_cgroup(CgroupMode.V1, {"nosuch": "/sys/fs/cgroup/nosuch/aioc-test-x"})
    assert caught.value.errno == errno.ENODEV


def test_shared_mounts_can_be_closed_and_used_again(opened: Callable[..., Cgroup]) -> None:
    with Mounts() as mounts:
        first = opened(mounts=mounts)
        first.create()
        mounts.close()
        assert first.exists()
        first.remove()


def test_a_failing_open_leaves_no_descriptor(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    last = list(cgroup.paths)[-1]
    opened = cgroup.open_tasks
    before = len(os.listdir("/proc/self/fd"))

    def fail(key: str) -> int:
        if key == last:
            raise CgroupError("x", errno.EMFILE)
        return opened(key)

    monkeypatch.setattr(cgroup, "open_tasks", fail)
    with pytest.raises(CgroupError):
        cgroup.tasks_fds()
    assert len(os.listdir("/proc/self/fd")) == before


# Members


def test_members_are_listed_to_any_depth(opened: Callable[..., Cgroup]) -> None:
    outer, inner = opened(), opened("/a/b/c/d")
    outer.create()
    with process(outer) as one:
        inner.create()
        assert outer.pids() == [one.pid]
        with process(inner) as two:
            assert sorted(outer.pids()) == sorted([one.pid, two.pid])
            assert inner.pids() == [two.pid]
            outer.remove()
            assert one.wait(10) == two.wait(10) == -signal.SIGKILL
    assert not outer.exists()
    assert not inner.exists()


def test_a_process_can_join_by_itself(cgroup: Cgroup) -> None:
    """As the helper does it: writing "0"."""
    fds = cgroup.tasks_fds()
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", f"import os, time\nfor fd in {fds}: os.write(fd, b'0')\ntime.sleep(60)"],
        pass_fds=fds,
    )
    for fd in fds:
        os.close(fd)
    try:
        wait_for(lambda: cgroup.pids() == [child.pid])
        with open(f"/proc/{child.pid}/cgroup") as file:
            lines = [line for line in file if "aioc-test" in line]
        assert len(lines) == len(cgroup.paths)
    finally:
        child.kill()
        child.wait()


def wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


FORKS = """
import os, time
for _ in range(40):
    if os.fork() == 0:
        time.sleep(60)
print(1, flush=True)
time.sleep(60)
"""
BOMB = """
import os, time
print(1, flush=True)
end = time.monotonic() + 20
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
"""


@pytest.mark.parametrize("code", [FORKS, BOMB])
@pytest.mark.parametrize("frozen", [False, True])
def test_kill_misses_nobody(cgroup: Cgroup, code: str, *, frozen: bool) -> None:
    """Security test S23: frozen by somebody else or not, forking or not."""
    with process(cgroup, code=f"exec({code!r})"):
        if frozen:
            cgroup.freeze()
        cgroup.kill()
        wait_for(lambda: cgroup.pids() == [])
        assert not cgroup.is_frozen() or cgroup.mode is CgroupMode.V2
        cgroup.remove()


def test_remove_kills_a_fork_bomb_without_cgroup_kill(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on kernels before 5.14."""
    monkeypatch.setattr(unified, "kill", lambda _: False)
    with process(cgroup, code=f"exec({BOMB!r})"):
        cgroup.remove()
    assert not cgroup.exists()


def test_a_moved_process_is_killed_too(cgroup: Cgroup) -> None:
    """In the hierarchies that it was not moved out of."""
    with process(cgroup) as child:
        first = next(iter(cgroup.paths.values()))
        if len(cgroup.paths) > 1:
            with open(f"{os.path.dirname(first)}/tasks", "w") as file:
                file.write(str(child.pid))
        cgroup.remove()
        assert child.wait(10) == -signal.SIGKILL


def test_other_signals(cgroup: Cgroup) -> None:
    code = (
        "import os, signal, time; signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'2\\n'));"
        "os.write(1, b'1\\n'); time.sleep(60)"
    )
    with process(cgroup, code=code) as one, process(cgroup, code=code) as two:
        for child in (one, two):
            assert child.stdout is not None
        cgroup.kill(signal.SIGUSR1)
        assert one.stdout.readline() == two.stdout.readline() == b"2\n"  # type: ignore[union-attr]
        assert not cgroup.is_frozen()
        cgroup.freeze()
        cgroup.kill(signal.SIGUSR1)
        assert cgroup.is_frozen()
        assert not select.select([one.stdout, two.stdout], [], [], 0.05)[0]
        cgroup.thaw()
        assert one.stdout.readline() == two.stdout.readline() == b"2\n"  # type: ignore[union-attr]


def test_signals_reach_only_who_is_still_a_member(cgroup: Cgroup) -> None:
    """A number that was freed and given to somebody else between the two listings."""
    with process() as stranger, process(cgroup) as member:
        listings = iter([[stranger.pid, member.pid], [member.pid]])
        assert members.signal_members(lambda: next(listings), signal.SIGKILL) == 1
        assert member.wait(10) == -signal.SIGKILL
        assert stranger.poll() is None
        assert members.signal_members(lambda: [os.getpid(), 4_000_000], signal.SIGKILL) == 0


# Frozen


def test_freeze_stops_and_thaw_goes_on(cgroup: Cgroup) -> None:
    code = "import time\nwhile True:\n print(1, flush=True); time.sleep(0.001)"
    with process(cgroup, code=f"exec({code!r})") as child:
        assert child.stdout is not None
        assert not cgroup.is_frozen()
        cgroup.freeze()
        cgroup.freeze()
        assert cgroup.is_frozen()
        os.set_blocking(child.stdout.fileno(), False)
        child.stdout.read()
        assert not select.select([child.stdout], [], [], 0.05)[0]
        cgroup.thaw()
        assert not cgroup.is_frozen()
        assert select.select([child.stdout], [], [], 5)[0]


def test_frozen_from_above(opened: Callable[..., Cgroup]) -> None:
    outer, inner = opened(), opened("/inner")
    outer.create()
    inner.create()
    outer.freeze()
    assert inner.is_frozen()
    third = opened("/third")
    with pytest.raises(ExistsError, match="frozen cgroup"):
        third.create()
    assert not third.exists()
    outer.thaw()
    assert not inner.is_frozen()


def test_a_failing_freeze_is_undone(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Security test T66: nothing stays frozen when something goes wrong."""

    def fail(*_: object) -> None:
        raise CgroupError("x", errno.ETIMEDOUT)

    with process(cgroup) as child:
        with monkeypatch.context() as patch:
            if cgroup.mode is CgroupMode.V2:
                patch.setattr(unified, "_await_frozen", fail)
            else:
                patch.setattr("aiocontainer.cgroups.fs1._state", fail)
            with pytest.raises(CgroupError):
                cgroup.freeze()
        assert not cgroup.is_frozen()
        with monkeypatch.context() as patch:
            patch.setattr(unified, "kill", lambda _: False)
            patch.setattr(base, "signal_members", fail)
            with pytest.raises(CgroupError):
                cgroup.kill()
        assert not cgroup.is_frozen()
        assert child.poll() is None


# Removal that takes its time


def test_busy_cgroup_is_an_error_that_names_the_processes(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_REMOVE_S", 0.05)
    with process(cgroup) as child:
        with monkeypatch.context() as patch:
            patch.setattr(base, "signal_members", lambda *_: 0)
            patch.setattr(unified, "kill", lambda _: True)
            with pytest.raises(CgroupBusyError) as caught:
                cgroup.remove()
        assert caught.value.pids == (child.pid,)
        assert caught.value.errno == errno.EBUSY
        assert str(child.pid) in str(caught.value)
        assert caught.value.path in cgroup.paths.values()
        monkeypatch.undo()
        cgroup.remove()
        assert child.wait(10) == -signal.SIGKILL
    assert not cgroup.exists()


def test_what_the_container_made_below_goes_too(cgroup: Cgroup) -> None:
    for path in cgroup.paths.values():
        for below in ("a/b/c", "a/d", "e"):
            os.makedirs(f"{path}/{below}")
    cgroup.remove()
    assert not cgroup.exists()


def test_very_deep_trees_cost_neither_descriptors_nor_recursion(cgroup: Cgroup) -> None:
    path = next(iter(cgroup.paths.values()))
    fd = os.open(path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    before = len(os.listdir("/proc/self/fd"))
    assert cgroup.pids() == []
    cgroup.remove()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert not cgroup.exists()


def test_removed_by_somebody_else(cgroup: Cgroup) -> None:
    for path in cgroup.paths.values():
        os.rmdir(path)
    assert not cgroup.exists()
    assert cgroup.pids() == []
    assert not cgroup.is_frozen()
    cgroup.kill()
    cgroup.remove()


def test_removing_right_after_the_last_exit(cgroup: Cgroup) -> None:
    with process(cgroup) as child:
        child.kill()
        child.wait()
        cgroup.remove()
    assert not cgroup.exists()


# What is not what it seems

COVERED = """
import errno, os, subprocess, sys
from aiocontainer.cgroups import open_cgroup, read_hierarchies
from aiocontainer.errors import CgroupError
from aiocontainer.plan.host import CgroupMode
key, name = sys.argv[1:]
point = read_hierarchies()[key].point
mode = CgroupMode.V1 if key else CgroupMode.V2
def cover(path):
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
def errno_of(call):
    try:
        call()
    except CgroupError as exc:
        return errno.errorcode[exc.errno]
os.mkdir(f"{point}/{name}")
cover(f"{point}/{name}")
inside = open_cgroup(mode, {key: f"{point}/{name}/x"})
print(errno_of(inside.create), os.listdir(f"{point}/{name}"))
print(errno_of(inside.exists), errno_of(inside.pids))
covered = open_cgroup(mode, {key: f"{point}/{name}"}, made={key: 0})
print(errno_of(covered.pids))
subprocess.run(["umount", f"{point}/{name}"], check=True)
os.rmdir(f"{point}/{name}")
late = open_cgroup(mode, {key: f"{point}/{name}"})
cover(point)
print(errno_of(late.create), os.listdir(point))
"""


def test_what_is_mounted_over_a_cgroup_is_never_used(kind: str, name: str) -> None:
    """Invariant 38: one hierarchy's own file system, from its root to the last component."""
    command = ["unshare", "--mount", "--propagation=private", sys.executable, "-c", COVERED]
    ended = subprocess.run(
        [*command, list(roots(kind))[-1], name], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines() == ["EXDEV []", "EXDEV EXDEV", "EXDEV", "EXDEV []"]


# What only one version has


@pytest.mark.needs("cgroup1")
def test_cpuset_is_seeded_from_above_whatever_is_missing(name: str) -> None:
    root = read_hierarchies()["cpuset"].point
    os.mkdir(f"{root}/{name}")  # by somebody who has not seeded it
    cgroup = open_cgroup(CgroupMode.V1, {"cpuset": f"{root}/{name}/a/b"})
    try:
        cgroup.create()
        for file in ("cpuset.cpus", "cpuset.mems"):
            values = []
            for path in (root, f"{root}/{name}", f"{root}/{name}/a", f"{root}/{name}/a/b"):
                with open(f"{path}/{file}") as opened:
                    values.append(opened.read())
            assert len(set(values)) == 1
            assert values[0].strip()
        with process(cgroup) as child:
            assert cgroup.pids() == [child.pid]
    finally:
        cgroup.remove()
        cgroup.close()
        os.rmdir(f"{root}/{name}")


RULES = (DeviceRule(allow=False), *DEFAULT_RULES)


@pytest.mark.needs("cgroup1")
def test_v1_devices_are_written_in_order(name: str) -> None:
    points = {key: found.point for key, found in read_hierarchies().items() if key in ("devices", "pids")}
    cgroup = open_cgroup(CgroupMode.V1, {key: f"{point}/{name}" for key, point in points.items()})
    try:
        cgroup.create()
        cgroup.set_devices([DeviceRule(allow=True), DeviceRule(False, "c", 1, 3), *RULES])
        with open(f"{points['devices']}/{name}/devices.list") as file:
            listed = file.read().splitlines()
        assert sorted(listed) == sorted(rule.text for rule in DEFAULT_RULES)
        with process(cgroup, code=DEVICES) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"null yes, kmsg no\n"
        with pytest.raises(CgroupError) as caught:
            cgroup.set_devices([DeviceRule(True, "c", 1, 2**40)])
        assert caught.value.errno == errno.EINVAL
        assert caught.value.path.endswith(f"{name}/devices.allow")
        assert caught.value.value == f"c 1:{2**40} rwm"
    finally:
        cgroup.remove()
        cgroup.close()


DEVICES = """
def allowed(path):
    try:
        open(path).close()
    except PermissionError:
        return "no"
    return "yes"
print(1, flush=True)
print(f"null {allowed('/dev/null')}, kmsg {allowed('/dev/kmsg')}", flush=True)
time.sleep(60)
"""
DEVICES = f"import time; exec({DEVICES!r})"


@pytest.mark.needs("cgroup1")
def test_v1_without_a_devices_controller(name: str) -> None:
    cgroup = open_cgroup(CgroupMode.V1, {"pids": f"{read_hierarchies()['pids'].point}/{name}"})
    cgroup.set_devices([])
    with pytest.raises(UnsupportedError, match="devices controller"):
        cgroup.set_devices(RULES)
    with pytest.raises(UnsupportedError, match="freezer"):
        cgroup.freeze()
    with pytest.raises(UnsupportedError):
        cgroup.dirfd()
    cgroup.create()
    with process(cgroup) as child:
        cgroup.remove()  # without any freezer
        assert child.wait(10) == -signal.SIGKILL
    cgroup.close()


@pytest.mark.needs("cgroup1")
def test_v1_freezer_is_told_again_and_given_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = open_cgroup(CgroupMode.V1, {"freezer": f"{read_hierarchies()['freezer'].point}/{name}"})
    state = fs1._state
    cgroup.create()
    try:
        answers = iter(["FREEZING"] * 40)
        monkeypatch.setattr(fs1, "_state", lambda each: next(answers, None) or state(each))
        cgroup.freeze()
        assert cgroup.is_frozen()
        cgroup.thaw()
        monkeypatch.setattr(fs1, "_FREEZE_S", 0.05)
        monkeypatch.setattr(fs1, "_state", lambda _: "FREEZING")
        with pytest.raises(CgroupError) as caught:
            cgroup.freeze()
        assert caught.value.errno == errno.ETIMEDOUT
        assert caught.value.path.endswith(f"{name}/freezer.state")
        monkeypatch.undo()
        assert not cgroup.is_frozen()
    finally:
        cgroup.remove()
        cgroup.close()


@pytest.mark.needs("cgroup1")
def test_hybrid_is_frozen_by_either_freezer(name: str) -> None:
    points = {key: found.point for key, found in read_hierarchies().items() if key in ("", "freezer")}
    cgroup = open_cgroup(CgroupMode.V1, {key: f"{point}/{name}" for key, point in points.items()})
    beside = open_cgroup(CgroupMode.V1, {"": f"{points['']}/{name}"})
    try:
        cgroup.create()
        with process(cgroup):
            beside.freeze()
            assert cgroup.is_frozen()
            cgroup.thaw()
            assert not beside.is_frozen()
            cgroup.freeze()
            with open(f"{points['freezer']}/{name}/freezer.state") as file:
                assert file.read() == "FROZEN\n"
    finally:
        cgroup.remove()
        cgroup.close()
        beside.close()


@pytest.mark.needs("cgroup1")
def test_v1_release_agent_is_not_ours(name: str) -> None:
    """Security test T50, our half: nothing that we make runs an agent when it empties."""
    for key, found in read_hierarchies().items():
        if key:
            with open(f"{found.point}/notify_on_release") as file:
                inherited = file.read()
            cgroup = open_cgroup(CgroupMode.V1, {key: f"{found.point}/{name}"})
            cgroup.create()
            with open(f"{found.point}/{name}/notify_on_release") as file:
                assert file.read() == inherited
            cgroup.remove()
            cgroup.close()


@pytest.mark.needs("cgroup2", "compiled")
def test_v2_devices_by_program(name: str) -> None:
    from aiocontainer.plan.device_filter import device_filter

    cgroup = open_cgroup(CgroupMode.V2, {"": f"{read_hierarchies()[''].point}/{name}"})
    try:
        cgroup.create()
        cgroup.set_devices(RULES, device_filter(RULES))
        with process(cgroup, code=DEVICES) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"null yes, kmsg no\n"
    finally:
        cgroup.remove()
        cgroup.close()


# Waiting until it is empty


def test_waiting_ends_when_the_last_process_does(
    cgroup: Cgroup, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By event where there is a cgroup2, however long the pause would be."""
    if kind == "v1":
        pytest.skip("v1 alone tells nobody")
    top = directory.Directory(Mounts(), "", cgroup.paths[""])
    with process(cgroup) as child, unified.Emptying(top) as emptying:
        timer = threading.Timer(0.1, child.kill)
        timer.start()
        started = time.monotonic()
        emptying.wait(20)
        assert 0.05 < time.monotonic() - started < 10
        assert cgroup.pids() == []
        # Empty and not gone: now only time can tell.
        slept: list[float] = []
        monkeypatch.setattr(unified.time, "sleep", slept.append)
        emptying.wait(0.5)
        assert slept == [0.5]
        monkeypatch.undo()
        timer.join()
    top.close()
    cgroup.remove()


def test_waiting_where_nothing_tells_is_sleeping(cgroup: Cgroup) -> None:
    cgroup.remove()
    for absent in (None, directory.Directory(Mounts(), *next(iter(cgroup.paths.items())))):
        with unified.Emptying(absent) as emptying:
            started = time.monotonic()
            emptying.wait(0.02)
            assert time.monotonic() - started >= 0.02


def test_an_empty_cgroup_is_removed_at_once(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual case is one rmdir(2) in each hierarchy, and no file is looked at."""
    monkeypatch.setattr(unified, "Emptying", None)
    cgroup.remove()
    assert not cgroup.exists()


# Usage


def test_usage_of_what_is_there_and_of_what_is_gone(cgroup: Cgroup, kind: str) -> None:
    with process(cgroup):
        stats = cgroup.stats()
        assert stats.version == (2 if kind == "v2" else 1)
        assert stats.pids.current == 1
        assert stats.cpu.total_ns > 0
    cgroup.remove()
    with pytest.raises(CgroupError) as caught:
        cgroup.stats()
    assert caught.value.errno in (errno.ENOENT, errno.ENODEV)
