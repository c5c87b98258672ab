"""Filters of system calls on the real kernel: both times of loading, listeners, agents."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import threading
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from msgspec.structs import replace

from aiocontainer import BootstrapError, Runtime, Spec, SpecError, StateError
from aiocontainer.container import listener
from aiocontainer.plan import steps as steps_of
from aiocontainer.plan.last_calls import last_calls
from aiocontainer.spec import Hook, Hooks, Linux, Seccomp, Syscall, SyscallArg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiocontainer import Container, SeccompNotifications
    from aiocontainer.plan.last_calls import Call

pytestmark = pytest.mark.needs("root")

ALLOW = "SCMP_ACT_ALLOW"
NOTIFY = "SCMP_ACT_NOTIFY"

both_times = pytest.mark.parametrize("no_new_privs", [True, False], ids=["late", "early"])


def rule(action: str, *names: str, errno_ret: int | None = None) -> Syscall:
    return Syscall(names=names, action=action, errno_ret=errno_ret)  # type: ignore[arg-type]


NO_DIRECTORIES = rule("SCMP_ACT_ERRNO", "mkdir", "mkdirat", errno_ret=errno.EDQUOT)


def filtered(script: str, rootfs: str, *rules: Syscall, no_new_privs: bool = True, **members: Any) -> Spec:
    """A shell under a filter that allows all but what *rules* say."""
    spec = Spec.default(["sh", "-c", script], rootfs=rootfs)
    assert spec.process is not None
    profile = Seccomp(**{"default_action": ALLOW, "syscalls": rules, **members})
    return replace(
        spec,
        process=replace(spec.process, no_new_privileges=no_new_privs),
        linux=replace(spec.linux or Linux(), seccomp=profile),
    )


def write_script(path: str, text: str) -> None:
    Path(path).write_text(text)
    os.chmod(path, 0o755)


async def output(runtime: Runtime, spec: Spec) -> str:
    done = await runtime.run(spec)
    assert done.stdout is not None
    assert done.stderr is not None
    return (done.stdout + done.stderr).decode()


@pytest.mark.proves("$.linux.seccomp.syscalls[].names[]", "$.linux.seccomp.syscalls[].errnoRet")
@both_times
async def test_a_call_fails_as_told(runtime: Runtime, rootfs: str, no_new_privs: bool) -> None:
    script = "mkdir /tmp/a; grep -E 'Seccomp:|NoNew' /proc/self/status"
    spec = filtered(script, rootfs, NO_DIRECTORIES, no_new_privs=no_new_privs)

    text = await output(runtime, spec)

    assert "Disk quota exceeded" in text or "Quota exceeded" in text, text
    assert "Seccomp:\t2" in text
    assert f"NoNewPrivs:\t{int(no_new_privs)}" in text


@pytest.mark.proves("$.linux.seccomp.syscalls[].action")
@both_times
async def test_a_call_kills(runtime: Runtime, rootfs: str, no_new_privs: bool) -> None:
    killed = rule("SCMP_ACT_KILL_PROCESS", "mkdir")
    spec = filtered("", rootfs, killed, no_new_privs=no_new_privs).with_args(["mkdir", "/tmp/a"])

    done = await runtime.run(spec)

    assert done.exit.signal is signal.SIGSYS


@both_times
async def test_exec_is_filtered_too(runtime: Runtime, rootfs: str, no_new_privs: bool) -> None:
    spec = filtered("sleep 100", rootfs, NO_DIRECTORIES, no_new_privs=no_new_privs)
    async with runtime.container(spec) as c:
        script = "mkdir /tmp/a; grep Seccomp: /proc/self/status"
        p = await c.exec(["sh", "-c", script], stdout=PIPE, stderr=PIPE)
        out, err = await p.communicate()
    assert out == b"Seccomp:\t2\n"
    assert err is not None
    assert b"uota exceeded" in err


class TestOrder:
    """S187: what forbids the helper's own last steps works late, and is refused early."""

    @pytest.mark.parametrize("name", ["setresuid", "setgroups", "capset", "umask", "openat2"])
    async def test_late(self, runtime: Runtime, rootfs: str, name: str) -> None:
        spec = filtered("id -u", rootfs, rule("SCMP_ACT_KILL_PROCESS", name)).with_user(1000, 1000)
        assert (await runtime.run(spec)).stdout == b"1000\n"

    @pytest.mark.parametrize("name", ["setresuid", "setgroups", "capset", "umask", "openat2"])
    async def test_early(self, runtime: Runtime, rootfs: str, name: str) -> None:
        spec = filtered("id -u", rootfs, rule("SCMP_ACT_ERRNO", name), no_new_privs=False)
        with pytest.raises(SpecError, match=name) as caught:
            await runtime.run(spec)
        assert caught.value.origin == "$.linux.seccomp"

    @both_times
    async def test_execve(self, runtime: Runtime, rootfs: str, no_new_privs: bool) -> None:
        spec = filtered("true", rootfs, rule("SCMP_ACT_ERRNO", "execve"), no_new_privs=no_new_privs)
        with pytest.raises(SpecError, match="execve"):
            await runtime.run(spec)

    async def test_setuid_is_for_the_payload(self, runtime: Runtime, rootfs: str) -> None:
        for no_new_privs in (True, False):
            spec = filtered("id -u", rootfs, rule("SCMP_ACT_ERRNO", "setuid"), no_new_privs=no_new_privs)
            assert (await runtime.run(spec.with_user(1000, 1000))).stdout == b"1000\n"


async def test_a_failing_program_is_told_without_sendmsg(runtime: Runtime, rootfs: str) -> None:
    await asyncio.to_thread(write_script, f"{rootfs}/bin/broken", "#!/no/such/interpreter\n")
    spec = filtered("", rootfs, rule("SCMP_ACT_ERRNO", "sendmsg")).with_args(["/bin/broken"])
    with pytest.raises(BootstrapError) as caught:
        await runtime.run(spec)
    assert (caught.value.errno, caught.value.call) == (errno.ENOENT, "execve")


# Listeners ------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    name: str | None
    pid: int
    """Of the process; what asks is a thread."""


def process_of(thread: int) -> int:
    with open(f"/proc/{thread}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Tgid:"))


async def answer(notifications: SeccompNotifications, seen: list[Seen]) -> None:
    async for request in notifications:
        seen.append(Seen(request.name, process_of(request.pid)))
        if request.name in ("mkdir", "mkdirat"):
            await request.errno(errno.EXDEV)
        else:
            await request.continue_()


async def supervised(container: Container) -> tuple[list[Seen], str]:
    """Start a container while its calls are answered."""
    seen: list[Seen] = []
    task = asyncio.create_task(answer(container.seccomp_notifications(), seen))
    await container.start()
    assert container.process is not None
    out, err = await container.process.communicate()
    await task
    return seen, ((out or b"") + (err or b"")).decode()


@both_times
async def test_the_application_answers(runtime: Runtime, rootfs: str, no_new_privs: bool) -> None:
    asked = rule(NOTIFY, "mkdir", "mkdirat", "execve")
    spec = filtered("mkdir /tmp/a; echo $$", rootfs, asked, no_new_privs=no_new_privs)
    c = await runtime.create("aioc-test-n", spec, stdout=PIPE, stderr=PIPE, seccomp_listener=True)
    pid = c.pid
    seen, text = await supervised(c)
    assert "nvalid cross-device link" in text, text
    assert text.startswith("1\n")
    assert seen[0] == ("execve", pid)
    assert "mkdir" in [each.name for each in seen]
    assert (await c.wait()).clean
    await c.delete()


async def test_even_what_hands_over_can_be_asked_about(runtime: Runtime, rootfs: str) -> None:
    """The helper makes no call between loading a late filter and the program."""
    names = ("sendmsg", "read", "close", "exit_group", "futex", "prctl", "execve", "nanosleep", "mmap", "brk")
    spec = filtered("echo hello", rootfs, rule(NOTIFY, *names))
    c = await runtime.create("aioc-test-n", spec, stdout=PIPE, stderr=PIPE, seccomp_listener=True)
    seen, text = await supervised(c)
    assert text == "hello\n"
    assert seen[0].name == "execve"
    assert seen[-1].name == "exit_group"
    assert (await c.wait()).clean
    await c.delete()


@both_times
async def test_exec_is_asked_about_too(runtime: Runtime, rootfs: str, no_new_privs: bool) -> None:
    spec = filtered("sleep 100", rootfs, rule(NOTIFY, "execve", "mkdir"), no_new_privs=no_new_privs)
    c = await runtime.create("aioc-test-n", spec, seccomp_listener=True)
    seen: list[Seen] = []
    task = asyncio.create_task(answer(c.seccomp_notifications(), seen))
    await c.start()
    p = await c.exec(["mkdir", "/tmp/a"], stderr=PIPE)
    _, err = await p.communicate()
    assert err is not None
    assert b"cross-device" in err
    assert [each.name for each in seen if each.pid == p.pid] == ["execve", "mkdir"]
    await c.delete(force=True)
    await task


async def test_answers(runtime: Runtime, rootfs: str) -> None:
    """Values, descriptors, and a process that no longer waits."""
    spec = filtered("cat /etc/passwd; sleep 50", rootfs, rule(NOTIFY, "open", "openat"))
    c = await runtime.create("aioc-test-n", spec, stdout=PIPE, seccomp_listener=True)
    requests = c.seccomp_notifications()
    start = asyncio.create_task(c.start())
    reading, writing = os.pipe()
    os.write(writing, b"from outside\n")
    os.close(writing)
    async for request in requests:
        path = os.pread(mem := os.open(f"/proc/{request.pid}/mem", os.O_RDONLY), 11, request.args[1])
        os.close(mem)
        assert request.is_valid
        if path == b"/etc/passwd":
            number = await request.add_fd(reading, answer=True)
            assert number >= 3
            break
        await request.continue_()
    await start
    os.close(reading)
    assert c.stdout is not None
    assert await c.stdout.readline() == b"from outside\n"
    with pytest.raises(Exception, match="no longer waits"):
        await request.continue_()
    assert not request.is_valid
    await c.delete(force=True)
    assert [each async for each in requests] == []


async def test_nobody_asked(runtime: Runtime, rootfs: str) -> None:
    asked = filtered("true", rootfs, rule(NOTIFY, "mkdir"))
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, asked)
    assert caught.value.origin == "$.linux.seccomp.listenerPath"
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, filtered("true", rootfs), seccomp_listener=True)
    assert caught.value.origin == "seccomp_listener"
    async with runtime.container(filtered("true", rootfs)) as c:
        with pytest.raises(StateError, match="seccomp_listener"):
            c.seccomp_notifications()


class Agent:
    """What containers' listeners are sent to: takes messages, and lets everything continue."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._messages: list[dict[str, Any]] = []
        self._came = threading.Condition()
        self.fds: list[int] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            peer, _ = self._socket.accept()
            with peer:
                data, fds, _, _ = socket.recv_fds(peer, 1 << 16, 4)
                while more := peer.recv(1 << 16):
                    data += more
            self.fds += fds
            if not data:
                return
            with self._came:
                self._messages.append(json.loads(data))
                self._came.notify()

    def received(self, count: int) -> list[dict[str, Any]]:
        with self._came:
            assert self._came.wait_for(lambda: len(self._messages) >= count, 20)
            assert len(self._messages) == count
            return self._messages

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.path)
        self._thread.join()
        self._socket.close()
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def agent(public_tmp: str) -> Iterator[Agent]:
    agent = Agent(os.path.join(public_tmp, "agent"))
    yield agent
    agent.close()


@pytest.mark.proves("$.linux.seccomp.listenerPath", "$.linux.seccomp.listenerMetadata")
@both_times
async def test_an_agent_gets_the_listener(
    runtime: Runtime, rootfs: str, agent: Agent, no_new_privs: bool
) -> None:
    spec = filtered(
        "sleep 100",
        rootfs,
        rule(NOTIFY, "mkdir"),
        no_new_privs=no_new_privs,
        listener_path=agent.path,
        listener_metadata="meta data",
    )
    c = await runtime.create("aioc-test-n", spec.with_annotation("a", "b"))
    if not no_new_privs:
        await asyncio.to_thread(agent.received, 1)
    await c.start()
    p = await c.exec(["sleep", "100"])
    init, added = await asyncio.to_thread(agent.received, 2)
    assert init == {
        "ociVersion": spec.oci_version,
        "fds": ["seccompFd"],
        "pid": c.pid,
        "metadata": "meta data",
        "state": {
            "ociVersion": spec.oci_version,
            "id": "aioc-test-n",
            "status": "created" if no_new_privs else "creating",
            "pid": c.pid,
            "bundle": c.bundle,
            "annotations": {"a": "b"},
        },
    }
    assert (added["pid"], added["state"]["pid"], added["state"]["status"]) == (p.pid, c.pid, "running")
    assert len(agent.fds) == 2
    await c.delete(force=True)


@both_times
async def test_no_agent(runtime: Runtime, rootfs: str, public_tmp: str, no_new_privs: bool) -> None:
    path = os.path.join(public_tmp, "nobody")
    spec = filtered("true", rootfs, rule(NOTIFY, "mkdir"), no_new_privs=no_new_privs, listener_path=path)
    with pytest.raises(SpecError, match=path) as caught:
        await runtime.run(spec)
    assert caught.value.origin == "$.linux.seccomp.listenerPath"


async def test_an_agent_that_hangs_up(runtime: Runtime, rootfs: str, public_tmp: str) -> None:
    path = os.path.join(public_tmp, "rude")
    spec = filtered("true", rootfs, rule(NOTIFY, "mkdir"), listener_path=path)
    with socket.socket(socket.AF_UNIX) as rude:
        rude.bind(path)
        rude.listen()
        task = asyncio.create_task(runtime.run(spec))
        peer, _ = await asyncio.to_thread(rude.accept)
        peer.close()
        try:
            assert (await task).exit.clean  # the message was faster
        except SpecError as exc:
            assert path in str(exc)  # noqa: PT017 - one of two right ways


async def test_an_agent_that_is_too_busy(
    runtime: Runtime, rootfs: str, public_tmp: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_PATIENCE_S", 0.1)
    path = os.path.join(public_tmp, "busy")
    spec = filtered("true", rootfs, rule(NOTIFY, "mkdir"), listener_path=path)
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as other:
        busy.bind(path)
        busy.listen(0)
        other.connect(path)  # and nobody accepts
        with pytest.raises(SpecError, match="temporarily unavailable"):
            await runtime.run(spec)


# What the helper itself calls ---------------------------------------------------------------------------

QUIET = """
void _start (void)
{
  __asm__ volatile ("syscall" : : "a" (231), "D" (%d)); /* exit_group(2), and no other call */
  __builtin_unreachable ();
}
"""


ONE_HOOK = Hooks(start_container=(Hook(path="/bin/zero"),))


def compile_quiet(path: str, code: int) -> None:
    command = ["gcc", "-static", "-nostdlib", "-ffreestanding", "-x", "c", "-o", path, "-"]
    subprocess.run(command, input=(QUIET % code).encode(), check=True)


def allowing(calls: Iterable[Call], *more: str) -> Seccomp:
    """Just these calls; anything else kills."""
    rules = [rule(ALLOW, *more)]
    for name, known in calls:
        pairs = [(i, value) for i, value in enumerate(known) if value is not None]
        args = tuple(SyscallArg(index=i, value=value, op="SCMP_CMP_EQ") for i, value in pairs)
        rules.append(Syscall(names=(name,), action=ALLOW, args=args))  # type: ignore[arg-type]
    return Seccomp(default_action="SCMP_ACT_KILL_PROCESS", syscalls=tuple(rules))


@pytest.mark.needs("gcc")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs x86-64")
@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("hooks", [None, ONE_HOOK], ids=["plain", "hook"])
async def test_the_helper_calls_what_it_says(
    runtime: Runtime, rootfs: str, uid: int, hooks: Hooks | None
) -> None:
    """Invariant 22: under a filter that allows `last_calls` alone, init and hook come to their end."""
    await asyncio.to_thread(compile_quiet, f"{rootfs}/bin/seven", 7)
    await asyncio.to_thread(compile_quiet, f"{rootfs}/bin/zero", 0)
    spec = filtered("", rootfs, no_new_privs=False).with_user(uid, uid).with_args(["/bin/seven"])
    spec = replace(spec, hooks=hooks)
    steps = runtime.plan(spec).steps
    first = next(i for i, step in enumerate(steps) if isinstance(step, steps_of.Seccomp))
    assert spec.linux is not None
    filter = allowing(last_calls(steps[first:]), "execve")
    c = await runtime.create(None, replace(spec, linux=replace(spec.linux, seccomp=filter)))
    await c.start()
    assert (await c.wait()).code == 7
    await c.delete()
