"""T42 (CVE-2026-30892): what is no number is no user; it must never end as root."""

from __future__ import annotations

import json

import pytest
from support.guest import look_by_exec, status_ids
from support.users import NO_USERS

from aiocontainer import Command, Runtime, Spec, SpecError

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

GOOD = {
    "1": (1, 0),
    "1:2": (1, 2),
    "0": (0, 0),
    "4294967294:4294967294": (2**32 - 2, 2**32 - 2),
}


@pytest.mark.parametrize("text", GOOD)
async def test_exec_as(runtime: Runtime, guestfs: str, text: str) -> None:
    uid, gid = GOOD[text]
    async with runtime.container(Spec.default(["sleep", "60"], rootfs=guestfs)) as container:
        found = await look_by_exec(container, user=text)
        assert (found["uids"], found["gids"], found["groups"]) == ([uid] * 3, [gid] * 3, [])
        process = await container.exec(["sleep", "60"], user=text)
        ids = status_ids(process.pid)
        assert (ids["Uid"], ids["Gid"], ids["Groups"]) == ([uid] * 4, [gid] * 4, [])
        await process.end()


@pytest.mark.parametrize("text", ["1", "1:2"])
async def test_command_as(runtime: Runtime, guestfs: str, text: str) -> None:
    done = await runtime.run(Command(["/bin/guest"], rootfs=guestfs, user=text))
    assert done.stdout is not None
    found = json.loads(done.stdout)
    assert (found["uids"], found["gids"]) == ([GOOD[text][0]] * 3, [GOOD[text][1]] * 3)


async def test_everything_else_is_refused(runtime: Runtime, guestfs: str) -> None:
    async with runtime.container(Spec.default(["sleep", "60"], rootfs=guestfs)) as container:
        for text in (*NO_USERS, "\ud800"):
            with pytest.raises(SpecError) as caught:
                await container.exec(["guest"], user=text)
            assert caught.value.origin == "user"
            with pytest.raises(SpecError):
                await runtime.create(None, Command(["/bin/guest"], rootfs=guestfs, user=text))
        assert await container.processes() == [container.pid]


@pytest.mark.parametrize("field", ["uid", "gid"])
@pytest.mark.parametrize("value", ["-1", "4294967295", "4294967296", "1.0", "1e2", '"1"', "true", "[1]"])
async def test_document(runtime: Runtime, guestfs: str, field: str, value: str) -> None:
    spec = Spec.default(["guest"], rootfs=guestfs).encode().decode()
    broken = spec.replace(f'"{field}":0', f'"{field}":{value}', 1).replace(
        f'"{field}": 0', f'"{field}": {value}', 1
    )
    assert broken != spec
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, broken.encode())
    assert caught.value.origin == f"$.process.user.{field}"
