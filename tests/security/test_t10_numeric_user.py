"""T10 (CVE-2016-3697): a numeric user is looked up as a name first, and the image has such a name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.guest import look, look_by_exec

from aiocontainer import Command, Runtime, Spec

if TYPE_CHECKING:
    from support.guest import Found

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

PASSWD = "root:x:0:0::/root:/bin/sh\n1000:x:0:0:evil:/evil:/bin/sh\n"
GROUP = "root:x:0:\n1000:x:0:\n"


@pytest.fixture
def hostile(guestfs: str) -> str:
    for name, text in (("passwd", PASSWD), ("group", GROUP)):
        with open(os.path.join(guestfs, "etc", name), "w") as file:
            file.write(text)
    return guestfs


def check(found: Found) -> None:
    assert found["uids"] == [1000, 1000, 1000]
    assert 0 not in found["groups"]
    assert found["capabilities"]["effective"] == 0
    assert "HOME=/evil" not in found["env"]


async def test_init(runtime: Runtime, hostile: str) -> None:
    check(await look(runtime, Spec.default([], rootfs=hostile).with_user(1000, 1000)))


async def test_command(runtime: Runtime, hostile: str) -> None:
    import json

    done = await runtime.run(Command(["/bin/guest"], rootfs=hostile, user="1000"))
    assert done.stdout is not None
    check(json.loads(done.stdout))


@pytest.mark.parametrize("user", ["1000", "1000:1000"])
async def test_exec(runtime: Runtime, hostile: str, user: str) -> None:
    async with runtime.container(Spec.default(["sleep", "60"], rootfs=hostile)) as container:
        check(await look_by_exec(container, user=user))
