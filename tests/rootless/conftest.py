"""For an ordinary user with subordinate ids; ``tests/integration/test_rootless.py`` becomes one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from aiocontainer import Runtime, Spec
from aiocontainer.probe import probe
from aiocontainer.spec import IDMapping, Linux, rootless_spec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def ordinary() -> None:
    if os.geteuid() == 0:
        pytest.skip("needs an ordinary user")


@pytest.fixture
async def own_runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    """A runtime of which nothing is left."""
    state = tmp_path / "state"
    fds = sorted(os.listdir("/proc/self/fd"))
    async with Runtime(state) as runtime:
        yield runtime
    assert os.listdir(state) == []
    assert sorted(os.listdir("/proc/self/fd")) == fds


def quiet(spec: Spec) -> Spec:
    """Without a terminal."""
    assert spec.process is not None
    return replace(spec, process=replace(spec.process, terminal=False))


@pytest.fixture
def one_id(rootfs: str) -> Callable[..., Spec]:
    """Function that makes a specification with our own id alone, as root."""
    return lambda *args: quiet(rootless_spec(args, uid=os.geteuid(), gid=os.getegid(), rootfs=rootfs))


@pytest.fixture
def many_ids(one_id: Callable[..., Spec]) -> Callable[..., Spec]:
    """The same with our subordinate ids from 1 on; the tools map them."""
    host = probe()

    def make(*args: str) -> Spec:
        spec = one_id(*args)
        linux = spec.linux or Linux()
        (uid, uids), (gid, gids) = host.subuid[0], host.subgid[0]
        return replace(
            spec,
            linux=replace(
                linux,
                uid_mappings=(*linux.uid_mappings, IDMapping(container_id=1, host_id=uid, size=uids)),
                gid_mappings=(*linux.gid_mappings, IDMapping(container_id=1, host_id=gid, size=gids)),
            ),
        )

    return make
