"""T65: what cannot be reached to be masked is left as it is."""

from __future__ import annotations

import os
from asyncio.subprocess import DEVNULL

import pytest
from msgspec.structs import replace
from support.specs import with_linux

from aiocontainer import BootstrapError, Runtime, Spec
from aiocontainer.spec import IDMapping, Namespace

pytestmark = pytest.mark.needs("root", "userns", "busybox")

MAPS = (IDMapping(container_id=0, host_id=100000, size=65536),)


def mapped(rootfs: str, *masked: str) -> Spec:
    """A container whose root has no power over what the host's root has locked."""
    spec = with_linux(Spec.default(["sleep", "60"], rootfs=rootfs), masked_paths=masked)
    assert spec.linux is not None
    namespaces = (*spec.linux.namespaces, Namespace(type="user"))
    return replace(
        spec, linux=replace(spec.linux, namespaces=namespaces, uid_mappings=MAPS, gid_mappings=MAPS)
    )


@pytest.fixture
def locked(rootfs: str) -> str:
    os.makedirs(f"{rootfs}/locked")
    with open(f"{rootfs}/locked/secret", "w") as file:
        file.write("secret\n")
    os.chmod(f"{rootfs}/locked", 0o700)
    return rootfs


@pytest.mark.parametrize("path", ["/locked/secret", "/locked/missing"])
async def test_not_reached(runtime: Runtime, locked: str, path: str) -> None:
    """Later it may be reached after all, by who is in the right group then."""
    with pytest.raises(BootstrapError) as caught:
        await runtime.create(None, mapped(locked, path), stdin=DEVNULL)
    assert caught.value.origin == "$.linux.maskedPaths[0]"


async def test_not_there(runtime: Runtime, locked: str) -> None:
    async with runtime.container(mapped(locked, "/missing", "/etc/passwd/below"), stdin=DEVNULL):
        pass
