"""T49 (CVE-2020-5291): a helper with borrowed privileges, made to work for somebody else."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aiocontainer.native import spawner

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "compiled")

REFUSED = 125
SERVED = 0
"""It ended because nobody wants it any more."""


def test_installed_helper_is_a_plain_file() -> None:
    found = os.stat(spawner._HELPER)
    assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID | 0o022)
    with pytest.raises(OSError, match=re.escape(spawner._HELPER)) as caught:
        os.getxattr(spawner._HELPER, "security.capability")
    assert caught.value.errno in (errno.ENODATA, errno.ENOTSUP)


@pytest.fixture
def image() -> Iterator[int]:
    """A helper as it has to be: sealed."""
    with open(spawner._HELPER, "rb") as file:
        content = file.read()
    writer = os.memfd_create("helper", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(writer, content)
    fcntl.fcntl(writer, fcntl.F_ADD_SEALS, 15)
    reader = os.open(f"/proc/self/fd/{writer}", os.O_RDONLY)
    os.close(writer)
    yield reader
    os.close(reader)


def status(image: int, before: str) -> int:
    """Start the helper with a control socket that is closed again at once; its exit status."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = f"import os; {before}; os.dup2({theirs.fileno()}, 3); os.execve({image}, ['helper'], {{}})"
    with ours, theirs:
        process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno(), image])
        theirs.close()
        ours.shutdown(socket.SHUT_RDWR)
        ours.close()
        return process.wait(20)


def test_control(image: int) -> None:
    assert status(image, "pass") == SERVED


@pytest.mark.parametrize(
    "borrow", ["os.setresuid(65534, 0, 0)", "os.setresuid(0, 65534, 0)", "os.setresgid(65534, 0, 0)"]
)
def test_borrowed_privileges(image: int, borrow: str) -> None:
    assert status(image, borrow) == REFUSED
