"""T06 (CVE-2015-3627): standard streams and console are opened by a path that the image chose."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hostile import Canary, attempt, links_to
from support.specs import with_process, without_mounts

from aiocontainer import ContainerError, Runtime, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiocontainer import Container

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

NAMES = (
    "console",
    "stdin",
    "stdout",
    "stderr",
    "null",
    "zero",
    "full",
    "random",
    "tty",
    "ptmx",
    "fd",
    "core",
)


def spec(rootfs: str, *, terminal: bool = False) -> Spec:
    """A container whose /dev is the image's own."""
    made = without_mounts(Spec.default(["guest"], rootfs=rootfs), "/dev")
    return with_process(made, terminal=terminal)


TARGETS = ("file", "node", "missing", "directory")


def links(canary: Canary, rootfs: str, name: str) -> Iterator[str]:
    for target in TARGETS:
        yield from links_to(canary / target, rootfs, f"dev/{name}")


@pytest.mark.parametrize("name", NAMES)
async def test_link_in_dev(runtime: Runtime, guestfs: str, canary: Canary, name: str) -> None:
    for _ in links(canary, guestfs, name):
        await attempt(runtime, spec(guestfs))


@pytest.mark.parametrize("name", ["console", "tty", "null", "ptmx"])
async def test_link_in_dev_with_a_terminal(runtime: Runtime, guestfs: str, canary: Canary, name: str) -> None:
    """The devpts is the container's own here; only the names around it are the image's."""
    hostile = spec(guestfs, terminal=True)
    devpts = next(mount for mount in Spec.default([], rootfs="/").mounts if mount.type == "devpts")
    hostile = hostile.with_mount(devpts)
    for _ in links(canary, guestfs, name):
        try:
            container = await runtime.create(None, hostile)
        except ContainerError:
            continue
        console_is_a_pty(container)
        await container.delete(force=True)


def console_is_a_pty(container: Container) -> None:
    for number in range(3):
        status = os.stat(f"/proc/{container.pid}/fd/{number}")
        assert 136 <= os.major(status.st_rdev) <= 143
