"""T24 (CVE-2022-29162): inheritable capabilities that nobody asked for make file capabilities work."""

from __future__ import annotations

import os
import struct

import pytest
from support.guest import look, look_by_exec
from support.specs import with_process

from aiocontainer import Runtime, Spec
from aiocontainer.spec import CAPABILITIES, Capabilities

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

NET_RAW = CAPABILITIES.index("CAP_NET_RAW")
HELD = ("CAP_NET_RAW", "CAP_CHOWN")


@pytest.fixture
def hostile(guestfs: str) -> str:
    """The program may have CAP_NET_RAW if whoever runs it can hand it on: ``cap_net_raw+ei``."""
    revision_2, effective = 0x02000000, 1
    value = struct.pack("<5I", revision_2 | effective, 0, 1 << NET_RAW, 0, 0)
    os.setxattr(f"{guestfs}/bin/guest", "security.capability", value)
    return guestfs


def spec(rootfs: str, **sets: tuple[str, ...]) -> Spec:
    held = {"bounding": HELD, "effective": HELD, "permitted": HELD, **sets}
    base = Spec.default(["sleep", "60"], rootfs=rootfs).with_user(1000, 1000)
    return with_process(base, capabilities=Capabilities(**held), no_new_privileges=False)  # type: ignore[arg-type]


async def test_init(runtime: Runtime, hostile: str) -> None:
    sets = (await look(runtime, spec(hostile)))["capabilities"]
    assert (sets["inheritable"], sets["effective"], sets["permitted"]) == (0, 0, 0)


async def test_exec_adds_none(runtime: Runtime, hostile: str) -> None:
    async with runtime.container(spec(hostile)) as container:
        sets = (await look_by_exec(container, capabilities=["CAP_NET_RAW", "CAP_KILL"]))["capabilities"]
    assert (sets["inheritable"], sets["effective"], sets["permitted"]) == (0, 0, 0)


async def test_root_has_none_either(runtime: Runtime, hostile: str) -> None:
    sets = (await look(runtime, spec(hostile).with_user(0, 0)))["capabilities"]
    assert sets["inheritable"] == 0
    async with runtime.container(spec(hostile).with_user(0, 0)) as container:
        sets = (await look_by_exec(container, capabilities=["CAP_KILL"]))["capabilities"]
    assert sets["inheritable"] == 0


async def test_what_is_asked_for_is_there(runtime: Runtime, hostile: str) -> None:
    """The attack would work: the file does have its capability."""
    sets = (await look(runtime, spec(hostile, inheritable=("CAP_NET_RAW",))))["capabilities"]
    assert sets["inheritable"] == sets["effective"] == 1 << NET_RAW
