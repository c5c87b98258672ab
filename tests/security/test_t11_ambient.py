"""T11 (CVE-2016-8867): an ordinary user keeps capabilities over exec, because they were made ambient."""

from __future__ import annotations

import pytest
from support.guest import look, look_by_exec
from support.specs import with_process

from aiocontainer import Runtime, Spec
from aiocontainer.spec import Capabilities, Capability

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

CAPABILITIES: tuple[Capability, ...] = ("CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_KILL", "CAP_CHOWN")
NONE = {"effective": 0, "permitted": 0, "inheritable": 0, "ambient": 0}


def spec(rootfs: str, *, nnp: bool) -> Spec:
    sets = Capabilities(bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES)
    base = Spec.default(["sleep", "60"], rootfs=rootfs).with_user(1000, 1000)
    return with_process(base, capabilities=sets, no_new_privileges=nnp)


@pytest.mark.parametrize("nnp", [True, False])
async def test_init(runtime: Runtime, guestfs: str, nnp: bool) -> None:
    found = await look(runtime, spec(guestfs, nnp=nnp))
    assert {name: found["capabilities"][name] for name in NONE} == NONE
    assert found["no_new_privs"] == nnp


@pytest.mark.parametrize("nnp", [True, False])
async def test_exec(runtime: Runtime, guestfs: str, nnp: bool) -> None:
    async with runtime.container(spec(guestfs, nnp=nnp)) as container:
        found = await look_by_exec(container, capabilities=["CAP_SYS_PTRACE"])
        assert {name: found["capabilities"][name] for name in NONE} == NONE
