"""The application's side of the helper's dialogue, blocking and small: plans of raw records."""

from __future__ import annotations

import os
import select
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from aiocontainer import native
from aiocontainer.native._lib import lib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TIMEOUT_S = 20


class Fields(NamedTuple):
    fd: int = -1
    a: int = 0
    b: int = 0
    c: int = 0
    strings: tuple[str, ...] = ()
    data: bytes = b""


class Raw(NamedTuple):
    """A step by its opcode, with whatever fields a test wants to try."""

    op: int
    fields: Fields = Fields()
    origin: str = "$.test"

    def record(self) -> Fields:
        return self.fields


def step(name: str, **fields: object) -> Raw:
    """`step("UMASK", a=0o22)` is STEP_UMASK."""
    return Raw(getattr(lib, f"STEP_{name}"), Fields(**fields))  # type: ignore[arg-type]


def program(*args: str, env: Sequence[str] = (), path: str | None = None) -> list[Raw]:
    """The two steps that run a program."""
    return [
        step("PROGRAM", strings=(path or args[0],)),
        step("EXEC", a=len(args), strings=(*args, *env)),
    ]


def shell(script: str) -> list[Raw]:
    return program("/bin/sh", "-c", script)


def stdio() -> list[Raw]:
    """Give descriptors 0 to 2 of the plan to the payload as such."""
    return [step("FD", fd=number, a=number) for number in range(3)]


class Talk:
    """One plan under way: `replies` so far, one process per SPAWNED among them."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.replies: list[native.Reply] = []

    def next(self) -> native.Reply | None:
        """The next reply, or None at end of file."""
        assert select.select([self.control], [], [], TIMEOUT_S)[0], f"no answer after {self.replies}"
        try:
            data, ancillary, flags, _ = self.control.recvmsg(native.REPLY_SPACE, 64, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None
        if not data:
            return None
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        fds = [fd for _, _, raw in ancillary for fd in memoryview(raw).cast("i").tolist()]
        reply = native.decode_reply(data, fds)
        self.replies.append(reply)
        return reply

    def proceed(self) -> None:
        self.control.send(native.PROCEED)

    def until(self, kind: int) -> native.Reply:
        while (reply := self.next()) is not None:
            if reply.kind == kind:
                return reply
        raise AssertionError(f"end of file, after {self.replies}")

    def to_end(self) -> list[native.Reply]:
        """All replies that are left; each pause is answered."""
        first = len(self.replies)
        while (reply := self.next()) is not None:
            if reply.kind == native.REPLY_PAUSED:
                self.proceed()
        return self.replies[first:]

    @property
    def failure(self) -> native.Reply | None:
        return next((reply for reply in self.replies if reply.kind == native.REPLY_FAILED), None)

    @property
    def processes(self) -> list[native.Reply]:
        return [r for r in self.replies if r.kind == native.REPLY_SPAWNED and r.fds]

    def exits(self) -> list[native.Exit]:
        """Wait for every process; their pidfds are closed."""
        return [wait(process.fds[0]) for process in self.processes]

    def close(self) -> None:
        self.control.close()


def wait(pidfd: int) -> native.Exit:
    """Wait for one process, and close the pidfd."""
    try:
        assert select.select([pidfd], [], [], TIMEOUT_S)[0], "it does not end"
        ended = native.wait_pidfd(pidfd)
        assert ended is not None
        return ended
    finally:
        os.close(pidfd)


def send(
    spawner: native.Spawner,
    plan: bytes | Sequence[Raw],
    fds: Sequence[int] = (),
    *,
    clone_flags: int = 0,
    cgroup_fd: int = -1,
    owned: bool = True,
    own_network: bool = False,
) -> Talk:
    """Ask for a container."""
    data = plan if isinstance(plan, bytes) else native.encode_plan(plan, len(fds))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    plan_fd = native.sealed_plan(data)
    try:
        with theirs:
            spawner.request(
                plan_fd=plan_fd,
                control=theirs.fileno(),
                fds=fds,
                clone_flags=clone_flags,
                cgroup_fd=cgroup_fd,
                owned=owned,
                own_network=own_network,
            )
    except BaseException:
        ours.close()
        raise
    finally:
        os.close(plan_fd)
    return Talk(ours)


def run(spawner: native.Spawner, plan: bytes | Sequence[Raw], fds: Sequence[int] = (), **how: int) -> Talk:
    """Send a plan and talk it to its end."""
    talk = send(spawner, plan, fds, **how)  # type: ignore[arg-type]
    talk.to_end()
    talk.close()
    return talk


@contextmanager
def null() -> Iterator[list[int]]:
    """Three descriptors for stdio."""
    fd = os.open(os.devnull, os.O_RDWR)
    try:
        yield [fd, fd, fd]
    finally:
        os.close(fd)


def output(spawner: native.Spawner, steps: Sequence[Raw], fds: Sequence[int] = (), **how: int) -> str:
    """What a plan writes on descriptor 1; it must work.  Descriptors 0 to 2 are the plan's last."""
    ours, theirs = os.pipe()
    with null() as nulls, open(ours, "rb") as reader:
        talk = send(spawner, [*placed(len(fds)), *steps], [*fds, nulls[0], theirs, theirs], **how)  # type: ignore[arg-type]
        os.close(theirs)
        talk.to_end()
        talk.close()
        text = reader.read().decode()
    exits = talk.exits()
    assert talk.failure is None, talk.failure
    assert exits[-1].code == 0, (exits, text)
    return text


def placed(first: int) -> list[Raw]:
    """Stdio from the plan's descriptors `first` to `first` + 2."""
    return [step("FD", fd=first + number, a=number) for number in range(3)]
