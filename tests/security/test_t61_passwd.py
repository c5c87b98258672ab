"""T61: the file that names users is endless, a pipe, a device, or full of nonsense."""

from __future__ import annotations

import os
import time

import pytest
from support.specs import with_process

from aiocontainer import Runtime, Spec

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

KINDS = ("pipe", "directory", "zero", "huge", "empty-fields", "loop", "missing", "unreadable", "nul")


def put(path: str, kind: str) -> None:
    os.unlink(path)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            os.mkdir(path)
        case "zero":
            os.mknod(path, 0o20666, os.makedev(1, 5))
        case "huge":
            with open(path, "wb") as file:
                file.write(b"a:x:1000:1000::/huge:\n" * 100_000)
        case "empty-fields":
            with open(path, "wb") as file:
                file.write(b":::::::\n::1000::::\nuser:x::1000:::\nuser:x:1000")
        case "loop":
            os.symlink("passwd", path)
        case "unreadable":
            with open(path, "w"):
                os.chmod(path, 0)
        case "nul":
            with open(path, "wb") as file:
                file.write(b"user\0:x:1000:1000::/nul:\n")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["init", "exec"])
async def test_nobody_waits_and_nobody_is_anybody(runtime: Runtime, rootfs: str, kind: str, by: str) -> None:
    put(f"{rootfs}/etc/passwd", kind)
    begun = time.monotonic()
    spec = with_process(Spec.default(["env"], rootfs=rootfs), env=("PATH=/bin",)).with_user(1000, 1000)
    if by == "init":
        done = await runtime.run(spec, timeout_s=20)
        assert done.exit.clean
        assert b"HOME=/\n" in (done.stdout or b"")
    else:
        async with runtime.container(spec.with_args(["sleep", "60"])) as container:
            process = await container.exec(["true"], user="1000:1000")
            assert (await process.wait()).clean
    assert time.monotonic() - begun < 15
