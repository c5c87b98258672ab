"""T05 (CVE-2014-9358): an id is used as part of paths, and leads out of the store."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.specs import shell

from aiocontainer import ContainerError, NotFoundError, Runtime, SpecError

if TYPE_CHECKING:
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root", "busybox")

BAD = (
    *("", ".", "..", ".x", "a/b", "/a", "../x", "../../x", "a/../../x", "a\0b", "a\n", " a", "a\\b"),
    *("x" * 256, "x" * 5000, "\u00e9", "\u0661", "\ud800", "a:b", "a@b", "*"),
)


def everything(directory: Path) -> set[str]:
    return {os.path.join(parent, name) for parent, one, other in os.walk(directory) for name in one + other}


@pytest.mark.parametrize("id", BAD, ids=ascii)
async def test_bad_id_is_refused_before_anything_is_made(
    tmp_path: Path, rootfs: str, snap: Leaks, id: str
) -> None:
    outside = tmp_path / "outer"
    (outside / "x").mkdir(parents=True)
    async with (
        Runtime(str(outside / "state")) as runtime,
        runtime.container(shell("sleep 60", rootfs), id=f"aioc-test-{secrets.token_hex(4)}") as good,
    ):
        before = everything(outside)
        with pytest.raises(SpecError) as caught:
            await runtime.create(id, shell("true", rootfs))
        assert caught.value.origin == "id"
        with pytest.raises((SpecError, NotFoundError)):
            await runtime.load(id)
        with pytest.raises((SpecError, NotFoundError)):
            await runtime.delete(id)
        with pytest.raises(ContainerError):
            await runtime.delete(id, force=True)
        assert everything(outside) == before
        assert [c.id async for c in runtime.list()] == [good.id]


@pytest.mark.parametrize("id", ["a", "0", "-rf", "_", "+x", "a..b", "web-1.2_3", "x" * 255])
async def test_good_id(runtime: Runtime, rootfs: str, id: str) -> None:
    container = await runtime.create(id, shell("true", rootfs))
    assert os.listdir(runtime.root) == [id]
    await container.delete()
    assert os.listdir(runtime.root) == []


@pytest.mark.parametrize("id", ["..", "../x", "a/b", ".x", ""])
@pytest.mark.parametrize(
    "command", [["create"], ["state"], ["start"], ["delete", "--force"], ["exec"], ["kill"]]
)
def test_command_line(tmp_path: Path, rootfs: str, snap: Leaks, id: str, command: list[str]) -> None:
    """Refused with a word about it, and nothing is made or removed."""
    outside = tmp_path / "outer"
    (outside / "x").mkdir(parents=True)
    (outside / "state").mkdir(mode=0o700)
    (tmp_path / "config.json").write_bytes(shell("true", rootfs).encode())
    before = everything(outside)
    name, *options = command
    rest = ["true"] if name == "exec" else []
    done = subprocess.run(
        [sys.executable, "-m", "aiocontainer", "--root", str(outside / "state"), name, *options, id, *rest],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr, done.stderr
    assert everything(outside) == before
