"""T26 (CVE-2024-21626): a descriptor of the host leaks, and working directory or program lead through it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hostile import several
from support.specs import shell, with_process

from aiocontainer import ContainerError, Runtime, Spec

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

NUMBERS = (3, 4, 5, 6, 7, 8, 9, 10, 500)
WAYS = (
    "/proc/self/fd/{}",
    "/proc/thread-self/fd/{}",
    "/proc/1/fd/{}",
    "/lead/{}",
    "/proc/self/../self/fd/{}",
)
OTHERS = (
    *("/proc/1/cwd", "/proc/self/cwd", "/proc/self/root", "/proc/1/root", "/cwd-link"),
    *("/proc/self/task/1/cwd", "/proc/self/fd/3/etc", "/proc/self/fd/4/../.."),
)


@pytest.fixture
def hostile(guestfs: str) -> str:
    os.symlink("/proc/self/fd", f"{guestfs}/lead")
    os.symlink("/proc/1/cwd", f"{guestfs}/cwd-link")
    return guestfs


def inside(cwd: str) -> bool:
    return cwd.startswith("/") and not cwd.startswith("(unreachable)")


async def refused_or_inside(runtime: Runtime, spec: Spec, *, program: bool) -> None:
    """Either it is refused with one of our errors, or it is a directory of the container after all."""
    try:
        done = await runtime.run(spec)
    except ContainerError:
        return
    assert not program, (spec.process, done)
    assert done.stdout is not None
    assert inside(done.stdout.decode()), done


async def refused(runtime: Runtime, spec: Spec) -> None:
    with pytest.raises(ContainerError):
        await runtime.create(None, spec)


def paths(sweep: range) -> list[str]:
    return [way.format(number) for number in {*NUMBERS, *sweep} for way in WAYS[:1]] + [
        way.format(number) for number in NUMBERS for way in WAYS[1:]
    ]


async def test_working_directory(runtime: Runtime, hostile: str, sweep: range) -> None:
    base = shell("pwd", hostile)
    await several(refused(runtime, with_process(base, cwd=path)) for path in paths(sweep))
    await several(refused_or_inside(runtime, with_process(base, cwd=path), program=False) for path in OTHERS)


async def test_working_directory_of_exec(runtime: Runtime, hostile: str, sweep: range) -> None:
    async with runtime.container(shell("sleep 60", hostile)) as container:
        for path in [*paths(sweep), *OTHERS]:
            with pytest.raises(ContainerError):
                await container.exec(["pwd"], cwd=path)


async def test_program(runtime: Runtime, hostile: str, sweep: range) -> None:
    base = Spec.default(["x"], rootfs=hostile)
    programs = [f"{path}/bin/sh" for path in paths(sweep)] + paths(range(4))
    await several(
        refused_or_inside(runtime, base.with_args([path, "-c", "pwd"]), program=True) for path in programs
    )


async def test_program_of_exec(runtime: Runtime, hostile: str, sweep: range) -> None:
    async with runtime.container(shell("sleep 60", hostile)) as container:
        for path in paths(sweep):
            with pytest.raises(ContainerError):
                await container.exec([f"{path}/bin/sh", "-c", "pwd"])


def spec_of(rootfs: str, **changes: Any) -> str:
    return with_process(Spec.default(["guest"], rootfs=rootfs), **changes).encode().decode()


@pytest.mark.parametrize(
    "cwd", ["/proc/self/fd/3", "/proc/self/fd/4", "/proc/self/fd/500", "/proc/self/fd/4/etc"]
)
def test_leaks_of_the_caller_lead_nowhere(
    bad_parent: Callable[..., dict[str, Any]], hostile: str, cwd: str
) -> None:
    report = bad_parent(spec=spec_of(hostile, cwd=cwd))
    assert report["error"] == "BootstrapError", report


def test_leaks_of_the_caller_reach_nobody(bad_parent: Callable[..., dict[str, Any]], hostile: str) -> None:
    """While created there are standard streams and the gate; the programs have the streams alone."""
    report = bad_parent(spec=spec_of(hostile, args=("sleep", "60")), exec={})
    created = report["created"]
    gate = [name for name, target in created.items() if target.startswith("socket:")]
    assert len(gate) == 1
    assert set(created) == {"0", "1", "2", *gate}, created
    assert set(report["exec"]["guest"]["fds"]) == {"0", "1", "2"}


def test_preserved_descriptors_alone_stay(bad_parent: Callable[..., dict[str, Any]], hostile: str) -> None:
    report = bad_parent(spec=spec_of(hostile), preserve_fds=1)
    created = report["created"]
    gate = [name for name, target in created.items() if target.startswith("socket:")]
    assert set(created) == {"0", "1", "2", "3", *gate}, created
    assert created["3"] == "/etc"
    assert set(report["guest"]["fds"]) == {"0", "1", "2", "3"}


def test_init_has_the_streams_alone(bad_parent: Callable[..., dict[str, Any]], hostile: str) -> None:
    assert set(bad_parent(spec=spec_of(hostile))["guest"]["fds"]) == {"0", "1", "2"}
