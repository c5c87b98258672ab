"""Further processes in cgroups below the container's; features.md L37, L63."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.specs import shell

from aiocontainer import SpecError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiocontainer import Container, Runtime

pytestmark = [pytest.mark.needs("root", "busybox"), pytest.mark.may_block("it writes to cgroups")]


@pytest.fixture
async def container(runtime: Runtime, rootfs: str) -> AsyncIterator[Container]:
    async with runtime.container(shell("sleep 1000", rootfs), id="aioc-test-sub") as container:
        yield container


async def cgroups(container: Container) -> dict[str, str]:
    return dict((await container.state()).cgroup_paths)


def own(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/cgroup") as file:
        return {line.split(":", 2)[1]: line.rstrip().split(":", 2)[2] for line in file}


async def test_below_in_all_hierarchies(container: Container) -> None:
    paths = await cgroups(container)
    for path in paths.values():
        os.mkdir(f"{path}/aioc-sub")
    for key in ("cpuset.cpus", "cpuset.mems"):
        for path in paths.values():
            if os.path.exists(f"{path}/tasks") and os.path.exists(f"{path}/{key}"):
                with open(f"{path}/{key}") as above, open(f"{path}/aioc-sub/{key}", "w") as below:
                    below.write(above.read())
    process = await container.exec(["sleep", "1000"], cgroup_paths={"": "aioc-sub"})
    entered = own(process.pid)
    assert all(entered[key].endswith("/aioc-sub") for key in paths)
    assert not any(path.endswith("/aioc-sub") for path in own(container.pid).values())


@pytest.mark.needs("cgroup1")
async def test_below_in_one_hierarchy(container: Container) -> None:
    os.mkdir(f"{(await cgroups(container))['pids']}/aioc-sub")
    process = await container.exec(["sleep", "1000"], cgroup_paths={"pids": "/aioc-sub"})
    entered, init = own(process.pid), own(container.pid)
    assert entered.pop("pids") == init.pop("pids") + "/aioc-sub"
    assert entered == init


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"": "none"}, "no such cgroup"),
        ({"": "../.."}, "leaves the container's cgroup"),
        ({"nonsense": "x"}, "no hierarchy"),
    ],
)
async def test_refused(container: Container, asked: dict[str, str], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        await container.exec(["true"], cgroup_paths=asked)


@pytest.mark.needs("cgroup2")
async def test_where_init_has_gone(container: Container) -> None:
    """An init that is a service manager moves down, and has controllers passed on: nobody else gets in."""
    path = (await cgroups(container))[""]
    with open(f"{path}/cgroup.controllers") as file:
        if "pids" not in file.read().split():
            pytest.skip("needs a controller that is passed on to containers")
    os.mkdir(f"{path}/init.scope")
    for file, value in (
        ("init.scope/cgroup.procs", str(container.pid)),
        ("cgroup.subtree_control", "+memory"),
    ):
        with open(f"{path}/{file}", "w") as opened:
            opened.write(value)
    process = await container.exec(["sleep", "1000"])
    assert own(process.pid)[""] == own(container.pid)[""]
    with pytest.raises(OSError, match="busy"):
        await container.exec(["true"], cgroup_paths={"": "."})
