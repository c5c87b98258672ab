"""T46 (CVE-2020-15257): a container in the host's network talks to the runtime's sockets."""

from __future__ import annotations

import contextlib
import os
import socket
from asyncio.subprocess import DEVNULL

import pytest
from hostile import fork
from support.specs import with_namespaces

from aiocontainer import Runtime, Spec, native

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

OTHER = 65534


def abstract() -> set[str]:
    """Names that anybody in this network namespace can connect to.  unix(7)"""
    with open("/proc/net/unix") as file:
        return {name for name in (line.split()[-1] for line in file) if name.startswith("@aioc")}


def in_hosts_network(rootfs: str) -> Spec:
    spec = Spec.default(["cat", "/proc/net/unix"], rootfs=rootfs)
    return with_namespaces(spec, "pid", "mount", "ipc", "uts")


async def test_no_abstract_names(runtime: Runtime, rootfs: str) -> None:
    before = abstract()
    container = await runtime.create(None, in_hosts_network(rootfs), stdin=DEVNULL, stdout=DEVNULL)
    assert abstract() - before == set()
    await container.start()
    await container.wait()
    assert abstract() - before == set()
    await container.delete()


async def test_gate_has_a_peer_that_is_checked(runtime: Runtime, rootfs: str) -> None:
    """Even who gets to the gate, past its directory and its mode, is not let in as somebody else."""
    container = await runtime.create(None, in_hosts_network(rootfs), stdin=DEVNULL, stdout=DEVNULL)
    gate = f"{runtime.root}/{container.id}/gate"
    assert os.stat(gate).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(gate)).st_mode & 0o777 == 0o700
    knock_as_other(gate)
    assert (await container.status()).value == "created"
    await container.start()
    assert (await container.wait()).clean
    await container.delete()


def knock_as_other(gate: str) -> None:
    """With nothing but the socket itself in the way."""
    directory = os.open(os.path.dirname(gate), os.O_PATH)
    os.chmod(gate, 0o777)
    os.chmod(os.path.dirname(gate), 0o755)
    pid = fork()
    if pid == 0:
        os.fchdir(directory)
        os.setresgid(OTHER, OTHER, OTHER)
        os.setresuid(OTHER, OTHER, OTHER)
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.settimeout(5)
        with contextlib.suppress(OSError):
            peer.connect("gate")
            peer.send(native.PROCEED)
            peer.recv(64)
        os._exit(0)
    os.close(directory)
    os.waitpid(pid, 0)
    os.chmod(os.path.dirname(gate), 0o700)
