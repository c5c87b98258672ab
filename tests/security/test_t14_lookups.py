"""T14 (CVE-2018-15664): a path in the container is another one by the time that it is used."""

from __future__ import annotations

import os
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING

import pytest

from aiocontainer import ContainerError, Runtime, Spec

if TYPE_CHECKING:
    from hostile import Canary, Race

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

HOME = "PATH=/bin"


def sleeper(rootfs: str) -> Spec:
    return Spec.default(["sleep", "60"], rootfs=rootfs)


@pytest.mark.parametrize("where", ["passwd", "etc"])
async def test_users_are_not_the_hosts(runtime: Runtime, rootfs: str, canary: Canary, where: str) -> None:
    """A link leads where it would inside: there is no such file there."""
    with open(canary / "file", "w") as file:
        file.write("evil:x:1000:1000::/of-the-host:/bin/sh\n")
    canary.accept()
    if where == "passwd":
        os.unlink(f"{rootfs}/etc/passwd")
        os.symlink(canary / "file", f"{rootfs}/etc/passwd")
    else:
        os.rename(f"{rootfs}/etc", f"{rootfs}/etc-before")
        os.symlink(canary.path, f"{rootfs}/etc")
        os.rename(canary / "file", canary / "passwd")
        canary.accept()
    spec = sleeper(rootfs).with_args(["env"]).with_user(1000, 1000)
    done = await runtime.run(spec)
    assert b"of-the-host" not in (done.stdout or b""), done


async def test_race_of_working_directories(runtime: Runtime, rootfs: str, canary: Canary, race: Race) -> None:
    """A directory of the container and a link to one of the host, by turns."""
    os.makedirs(f"{rootfs}/v/d/x")
    os.makedirs(f"{rootfs}/v/d/directory")
    os.symlink(canary.path, f"{rootfs}/v/other")
    ended = {"made": 0, "refused": 0}
    async with runtime.container(sleeper(rootfs), stdin=DEVNULL) as container:
        with race(f"{rootfs}/v/d", f"{rootfs}/v/other") as laps:
            for _ in laps:
                try:
                    process = await container.exec(
                        ["sh", "-c", "pwd; ls; cat file"], cwd="/v/d/directory", stdout=PIPE, stderr=DEVNULL
                    )
                except ContainerError:
                    ended["refused"] += 1
                    continue
                output, _ = await process.communicate()
                await process.wait()
                process.close()
                ended["made"] += 1
                assert b"untouched" not in (output or b"")
                assert b"inner" not in (output or b"")
    assert ended["made"], ended
