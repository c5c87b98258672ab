"""T73: what is in the environment or among the arguments shows up in errors, logs or other files."""

from __future__ import annotations

import logging
import os
import traceback
from typing import TYPE_CHECKING

import pytest
from support.specs import with_process

from aiocontainer import ContainerError, Mount, Runtime, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "busybox")

SECRET = "correct-horse-battery-staple"


def with_secret(rootfs: str, *mounts: Mount) -> Spec:
    spec = Spec.default(["sh", "-c", "sleep 60", SECRET], rootfs=rootfs).with_mount(*mounts)
    return with_process(spec, env=("PATH=/bin", f"TOKEN={SECRET}"))


def failing(rootfs: str) -> Iterator[Spec]:
    """Each fails at another time: in the plan, with a source, in the helper early and late."""
    yield with_secret(rootfs, Mount.tmpfs("/proc/self"))
    yield with_secret(rootfs, Mount.bind("/nowhere-at-all", "/m"))
    yield with_secret(rootfs, Mount(destination="/m", type="nosuchfs", source="x"))
    yield with_process(with_secret(rootfs), cwd="/etc/passwd")
    yield with_process(with_secret(rootfs), args=("/bin/nosuch", SECRET))


async def test_errors_and_logs(runtime: Runtime, rootfs: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for spec in failing(rootfs):
        with pytest.raises(ContainerError) as caught:
            await runtime.create(None, spec)
        shown = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value)
        assert SECRET not in shown
    async with runtime.container(with_secret(rootfs)) as container:
        with pytest.raises(ContainerError) as caught:
            await container.exec(["/bin/nosuch", SECRET], env={"TOKEN": SECRET})
        assert SECRET not in str(caught.value) + repr(caught.value)
    assert SECRET not in caplog.text


async def test_processes_of_ours(runtime: Runtime, rootfs: str) -> None:
    """Not in what others can read of a process; only the program has it."""
    async with runtime.container(with_secret(rootfs)) as container:
        children = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and parent(pid) == os.getpid()]
        assert container.pid in children
        for pid in children:
            if pid != container.pid:
                for name in ("cmdline", "environ"):
                    with open(f"/proc/{pid}/{name}", "rb") as file:
                        assert SECRET.encode() not in file.read()
        assert SECRET not in str(container) + repr(container)


def parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return -1
