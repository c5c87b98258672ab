"""What a CRIU that was killed has left: rules that keep a network namespace quiet.

Only in namespaces that are not ours: in ours it locks single connections, and nobody knows which.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
from typing import Final

from .. import native
from .._aio import OwnedFd

__all__ = ["unlock_network"]

_CHAIN: Final = "*filter\n:CRIU - [0:0]\n-D INPUT -j CRIU\n-D OUTPUT -j CRIU\n-X CRIU\nCOMMIT\n"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_END_S: Final = 10.0


def unlock_network(pid: int) -> None:
    """Take the rules away again in the network namespace of process *pid*.  Blocks for some milliseconds.

    What has not been there is no error, and what programs there are is found out.
    """
    try:
        namespace = OwnedFd(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return  # it has ended, and its network with it
    with namespace:
        if os.path.samestat(os.fstat(namespace.fileno()), os.stat("/proc/self/ns/net")):
            return
        for program, words, script in (
            ("iptables-restore", ("-w", "--noflush"), _CHAIN),
            ("ip6tables-restore", ("-w", "--noflush"), _CHAIN),
            ("nft", ("-f", "-"), f"delete table inet CRIU-{pid}\n"),
        ):
            path = shutil.which(program, path=_PATH)
            if path is not None:
                _run(path, words, script, namespace.fileno())


def _run(path: str, words: tuple[str, ...], script: str, namespace: int) -> None:
    with (
        OwnedFd(native.sealed_plan(script.encode(), name="rules")) as rules,
        OwnedFd(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)) as nowhere,
        contextlib.suppress(OSError),
    ):
        os.lseek(rules.fileno(), 0, os.SEEK_SET)
        streams = [rules.fileno(), nowhere.fileno(), nowhere.fileno()]
        _, pidfd = native.start_worker(path, [path, *words], [f"PATH={_PATH}"], streams, namespace=namespace)
        with OwnedFd(pidfd), contextlib.suppress(ChildProcessError):
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll(int(_END_S * 1000))
            native.wait_pidfd(pidfd)
