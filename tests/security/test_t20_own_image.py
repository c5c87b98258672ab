"""T20 (CVE-2019-5736): a container writes to the program that made it, through ``/proc/PID/exe``."""

from __future__ import annotations

import asyncio
import glob
import os
import secrets
import subprocess
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest
from hostile import digest
from support.guest import compile_program
from support.specs import shell, with_process

from aiocontainer import BootstrapError, Container, Runtime, Spec, Status
from aiocontainer.native import spawner
from aiocontainer.spec import CAPABILITIES, Capabilities

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

HERE = os.path.dirname(__file__)
ID = f"aioc-test-{secrets.token_hex(4)}"
REFUSED = 125
"""Status of a helper that finds itself somewhere else than where we started it."""


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    """What we run from is what it was."""
    directory = os.path.dirname(spawner.__file__)
    files = [spawner._HELPER, *glob.glob(f"{directory}/*.so"), os.path.realpath(sys.executable)]
    before = [digest(file) for file in files]
    yield
    assert [digest(file) for file in files] == before


@pytest.fixture
def hostile(rootfs: str) -> str:
    """Programs that are, by one way or another, the process that runs them."""
    with open(f"{rootfs}/bin/magic-script", "w") as file:
        file.write("#!/proc/self/exe\n")
    os.chmod(f"{rootfs}/bin/magic-script", 0o755)
    os.symlink("/proc/self/exe", f"{rootfs}/bin/magic-link")
    source, program = f"{rootfs}/tmp/main.c", f"{rootfs}/bin/magic-program"
    with open(source, "w") as file:
        file.write("int main (void) { return 0; }\n")
    subprocess.run(["gcc", "-Wl,--dynamic-linker=/proc/self/exe", "-o", program, source], check=True)
    return rootfs


MAGIC = ["/proc/self/exe", "/proc/1/exe", "/proc/thread-self/exe", "/bin/magic-link"]


@pytest.mark.parametrize("program", MAGIC)
async def test_magic_link_is_no_program(runtime: Runtime, hostile: str, program: str) -> None:
    with pytest.raises(BootstrapError):
        await runtime.run(Spec.default([program], rootfs=hostile))
    async with runtime.container(shell("sleep 60", hostile)) as container:
        with pytest.raises(BootstrapError):
            await container.exec([program])


async def test_magic_link_as_interpreter_of_a_script(runtime: Runtime, hostile: str) -> None:
    """The kernel itself follows it, to the helper's sealed image, which refuses to run there."""
    done = await runtime.run(Spec.default(["/bin/magic-script"], rootfs=hostile))
    assert done.exit.code == REFUSED
    async with runtime.container(shell("sleep 60", hostile)) as container:
        process = await container.exec(["/bin/magic-script"])
        assert (await process.wait()).code == REFUSED


async def test_magic_link_as_interpreter_of_a_program(runtime: Runtime, hostile: str) -> None:
    """What the helper does in the place of a dynamic linker is anybody's guess; it ends, unchanged."""
    done = await runtime.run(Spec.default(["/bin/magic-program"], rootfs=hostile), timeout_s=10)
    assert done.exit.known
    async with runtime.container(shell("sleep 60", hostile)) as container, asyncio.timeout(10):
        await (await container.exec(["/bin/magic-program"])).wait()


async def test_no_image_can_be_written_afterwards(rootfs: str, tmp_path: Path, snap: Leaks) -> None:
    """With every capability, and a handle on each image from the time when it ran."""
    compile_program(os.path.join(HERE, "thief.c"), f"{rootfs}/bin/thief")
    sets = Capabilities(bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES)
    spec = with_process(Spec.default(["thief"], rootfs=rootfs), capabilities=sets, no_new_privileges=False)
    state, output = str(tmp_path / "state"), tmp_path / "output"
    snap.watch(state)
    with output.open("wb") as file:
        async with Runtime(state, lifetime="detached") as runtime:
            container = await runtime.create(ID, spec, stdin=PIPE, stdout=file)
            await container.start()
            await caught(container, output)
    # The runtime, and with it the helper, is gone; standard input has ended.
    async with Runtime(state, lifetime="detached") as runtime:
        container = await runtime.load(ID)
        async with asyncio.timeout(20):
            await container.wait()
        assert await container.status() is Status.STOPPED
        await container.delete()
    handles, _, written, _ = output.read_text().splitlines()[-1].split()
    assert int(handles) > 0
    assert int(written) == 0


async def caught(container: Container, output: Path) -> None:
    """Send one process after the other into the container, until the thief has seen one before its exec."""
    for _ in range(300):
        process = await container.exec(["true"])
        await process.wait()
        process.close()
        if output.stat().st_size > 0:
            return
    pytest.fail("nothing was seen, so nothing is proven")
