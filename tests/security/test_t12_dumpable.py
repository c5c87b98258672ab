"""T12 (CVE-2016-9962): who enters a container is looked into before it has become the program."""

from __future__ import annotations

import os
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support.guest import compile_program
from support.specs import with_process

from aiocontainer import Runtime, Spec
from aiocontainer.spec import CAPABILITIES, Capabilities, IDMapping, Namespace

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

HERE = os.path.dirname(__file__)
PADDING = {f"PADDING{index}": "x" * 100_000 for index in range(6)}
"""Makes the last moment before the program longer: execve(2) copies it first."""
MAPS = (IDMapping(container_id=0, host_id=100000, size=65536),)


@pytest.fixture
def spyfs(rootfs: str) -> str:
    compile_program(os.path.join(HERE, "spy.c"), f"{rootfs}/bin/spy")
    return rootfs


def plain(rootfs: str) -> Spec:
    """Root inside, without CAP_SYS_PTRACE."""
    return Spec.default(["spy"], rootfs=rootfs)


def mapped(rootfs: str) -> Spec:
    """Root of a user namespace of its own, with everything that he can have there."""
    sets = Capabilities(bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES)
    spec = with_process(plain(rootfs), capabilities=sets)
    assert spec.linux is not None
    namespaces = (*spec.linux.namespaces, Namespace(type="user"))
    return replace(
        spec, linux=replace(spec.linux, namespaces=namespaces, uid_mappings=MAPS, gid_mappings=MAPS)
    )


@pytest.mark.parametrize("kind", [plain, mapped])
async def test_nothing_is_got_hold_of(
    runtime: Runtime, spyfs: str, lap: Callable[[], bool], kind: Callable[[str], Spec]
) -> None:
    """CAP_SYS_PTRACE without a user namespace cannot be kept out, and is no part of this."""
    container = await runtime.create(None, kind(spyfs), stdin=PIPE, stdout=PIPE, stderr=PIPE)
    await container.start()
    assert container.stdout is not None
    assert container.stdin is not None
    assert await container.stdout.readline() == b"ready\n"
    while lap():
        process = await container.exec(["true"], env=PADDING, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
        await process.wait()
        process.close()
    assert container.process is not None
    output, errors = await container.process.communicate()
    assert output is not None
    seen, caught = map(int, output.split()[-2:])
    await container.delete()
    assert seen > 0
    assert caught == 0, errors
