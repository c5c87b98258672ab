"""T13 (CVE-2017-5226): the program types into the terminal of whoever started it."""

from __future__ import annotations

import json
import os
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest
from support.guest import compile_program

from aiocontainer import Runtime, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

# Each way to put characters where others read them; 0 if it worked.
TYPIST = """
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>
int main (void)
{
  char tty[] = { 3, 0 }; /* TIOCL_PASTESEL */
  int sti = ioctl (0, TIOCSTI, "x"), linux_ = ioctl (0, TIOCLINUX, tty);
  printf ("%d %d %d %d\\n", sti, linux_, open ("/dev/tty", O_RDWR) >= 0, getsid (0) == getpid ());
  return 0;
}
"""


@pytest.fixture
def terminal() -> Iterator[int]:
    """One end of a terminal that somebody sits at."""
    master, slave = os.openpty()
    yield slave
    os.close(master)
    os.close(slave)


@pytest.fixture
def typefs(rootfs: str) -> str:
    with open(f"{rootfs}/tmp/typist.c", "w") as file:
        file.write(TYPIST)
    compile_program(f"{rootfs}/tmp/typist.c", f"{rootfs}/bin/typist")
    return rootfs


async def typed(runtime: Runtime, spec: Spec, terminal: int) -> bytes:
    """What a program says whose standard input is somebody's terminal."""
    container = await runtime.create(None, spec, stdin=terminal, stdout=PIPE)
    await container.start()
    assert container.process is not None
    output, _ = await container.process.communicate()
    assert (await container.wait()).clean
    await container.delete()
    return output or b""


@pytest.mark.parametrize("filtered", [False, True])
async def test_without_a_terminal_of_its_own(
    runtime: Runtime, typefs: str, terminal: int, filtered: bool
) -> None:
    spec = Spec.default(["typist"], rootfs=typefs)
    if filtered:
        spec = spec.with_default_seccomp()
    output = await typed(runtime, spec, terminal)
    sti, selection, tty, leads = map(int, output.split())
    assert (sti, selection) == (-1, -1)
    assert not tty, "it has a controlling terminal"
    assert leads, "it is in somebody else's session"


async def test_session(runtime: Runtime, guestfs: str, terminal: int) -> None:
    found = json.loads(await typed(runtime, Spec.default(["guest"], rootfs=guestfs), terminal))
    assert found["has_terminal"] == 0
    assert found["sid"] == found["pid"]
