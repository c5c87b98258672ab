"""Cgroups of the test's own, in each way that this machine has them, and processes in them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiocontainer.cgroups import Cgroup

__all__ = ["has_controllers", "join", "needs_controllers", "passed_on_as_before", "process", "roots"]

KINDS = [
    pytest.param("hybrid", marks=pytest.mark.needs("cgroup1")),
    pytest.param("v1", marks=pytest.mark.needs("cgroup1")),
    pytest.param("v2", marks=pytest.mark.needs("cgroup2")),
]


def roots(kind: str) -> dict[str, str]:
    from aiocontainer.cgroups import read_hierarchies

    points = {key: found.point for key, found in read_hierarchies().items()}
    if kind == "v1":
        points.pop("", None)
    return points


@pytest.fixture(params=KINDS, name="kind")
def cgroup_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(name="name")
def cgroup_name() -> str:
    return f"aioc-test-{os.getpid()}-{time.monotonic_ns()}"


@pytest.fixture(name="opened")
def opened_cgroups(kind: str, name: str) -> Iterator[Callable[..., Cgroup]]:
    """Open the cgroup below the roots, by relative path; all is removed afterwards."""
    from aiocontainer.cgroups import open_cgroup
    from aiocontainer.errors import CgroupError
    from aiocontainer.plan.host import CgroupMode

    cgroups: list[Cgroup] = []
    mode = CgroupMode.V2 if kind == "v2" else CgroupMode.V1
    descriptors = len(os.listdir("/proc/self/fd"))

    def open_below(below: str = "", **arguments: object) -> Cgroup:
        paths = {key: f"{root}/{name}{below}" for key, root in roots(kind).items()}
        cgroups.append(open_cgroup(mode, paths, **arguments))  # type: ignore[arg-type]
        return cgroups[-1]

    yield open_below
    for cgroup in cgroups:
        cgroup.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    for cgroup in reversed(cgroups):
        with contextlib.suppress(CgroupError):
            cgroup.remove()
        cgroup.close()
    for root in roots(kind).values():
        assert not os.path.exists(f"{root}/{name}")


@pytest.fixture(name="cgroup")
def made_cgroup(opened: Callable[..., Cgroup]) -> Cgroup:
    made = opened()
    made.create()
    return made


@contextlib.contextmanager
def process(
    *cgroups: Cgroup, code: str = "import time; print(1, flush=True); time.sleep(60)"
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that has joined *cgroups*; killed in the end whatever happened."""
    start = f"import sys; sys.stdin.readline(); {code}"
    command = [sys.executable, "-S", "-c", start]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        for each in cgroups:
            join(each, child.pid)
        child.stdin.write(b"go\n")
        assert child.stdout.readline()
        yield child
    finally:
        child.kill()
        for each in cgroups:
            each.thaw()
        child.communicate(timeout=10)


def join(cgroup: Cgroup, pid: int) -> None:
    for fd in cgroup.tasks_fds():
        try:
            os.write(fd, str(pid).encode())
        finally:
            os.close(fd)


@contextlib.contextmanager
def passed_on_as_before() -> Iterator[None]:
    """Take back what a test has passed on from the root of cgroup2."""
    tops = [point for key, point in roots("").items() if not key]
    before = {top: passed_on(top) for top in tops}
    yield
    for top, controllers in before.items():
        for each in passed_on(top) - controllers:
            # Whoever else is there may have come to need it.
            with contextlib.suppress(OSError), open(f"{top}/cgroup.subtree_control", "w") as file:
                file.write(f"-{each}")


def passed_on(directory: str) -> set[str]:
    with open(f"{directory}/cgroup.subtree_control") as file:
        return set(file.read().split())


def missing_controllers(*names: str) -> list[str]:
    """Which of these controllers of v1, or what they are in v2, a container cannot have."""
    from aiocontainer.probe import probe

    host = probe()
    in_v1 = {each for key in host.cgroup_hierarchies for each in key.split(",")}
    v2 = {"blkio": "io"}
    return [name for name in names if name not in in_v1 and v2.get(name, name) not in host.cgroup_controllers]


def has_controllers(*names: str) -> bool:
    """Whether a container can have these controllers of v1, or what they are in v2."""
    return not missing_controllers(*names)


def needs_controllers(*names: str) -> None:
    """Skip the test unless a container can have these controllers of v1, or what they are in v2."""
    if missing := missing_controllers(*names):
        pytest.skip(f"needs the {missing[0]} controller")
