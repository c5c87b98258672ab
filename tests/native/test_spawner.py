"""The resident spawner: requests good and bad, its end, and what surrounds it."""

from __future__ import annotations

import array
import errno
import itertools
import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import talk
from support.processes import is_alive
from talk import program, shell, stdio, step

from aiocontainer import native
from aiocontainer._aio import OwnedFd
from aiocontainer.errors import HelperError
from aiocontainer.native import spawner as spawner_module
from aiocontainer.native import wire
from aiocontainer.native._lib import lib

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


MAPS = step("PAUSE", a=lib.PAUSE_MAPS)


def test_a_program_runs_and_ends(spawner: native.Spawner) -> None:
    with talk.null() as fds:
        done = talk.run(spawner, [*stdio(), *shell("exit 7")], fds)
    (ended,) = done.exits()
    assert (ended.code, ended.signal) == (7, None)
    assert ended.rusage is not None
    assert ended.rusage.ru_maxrss > 0


def test_a_signal_is_told_from_a_status(spawner: native.Spawner) -> None:
    with talk.null() as fds:
        (ended,) = talk.run(spawner, [*stdio(), *shell("kill -9 $$")], fds).exits()
    assert (ended.code, ended.signal) == (None, signal.SIGKILL)


def test_the_process_is_a_child_of_ours(spawner: native.Spawner) -> None:
    conversation = talk.send(spawner, [MAPS, *program("/bin/true")])
    pid = conversation.until(native.REPLY_SPAWNED).value
    with open(f"/proc/{pid}/status") as file:
        assert f"PPid:\t{os.getpid()}\n" in file.read()
    conversation.to_end()
    conversation.close()
    conversation.exits()


def test_pause_waits_for_proceed(spawner: native.Spawner) -> None:
    conversation = talk.send(spawner, [MAPS, *program("/bin/true")])
    assert conversation.until(native.REPLY_PAUSED).step == 0
    assert not select.select([conversation.control], [], [], 0.05)[0]
    conversation.proceed()
    conversation.to_end()
    assert conversation.exits()[0].code == 0
    conversation.close()


def test_end_of_file_in_a_pause_ends_the_process(spawner: native.Spawner) -> None:
    conversation = talk.send(spawner, [MAPS, *program("/bin/true")], owned=False)
    conversation.until(native.REPLY_PAUSED)
    if not conversation.processes:
        conversation.until(native.REPLY_SPAWNED)
    conversation.close()
    assert conversation.exits()[0].code == 1


def test_another_order_than_proceed_ends_the_process(spawner: native.Spawner) -> None:
    conversation = talk.send(spawner, [MAPS, *program("/bin/true")])
    conversation.until(native.REPLY_PAUSED)
    conversation.control.send(b"go on")
    conversation.to_end()
    conversation.close()
    assert conversation.failure is not None
    assert conversation.failure.error == errno.EPROTO
    assert conversation.exits()[0].code == 1


def test_a_failure_has_step_errno_and_call(spawner: native.Spawner) -> None:
    done = talk.run(spawner, [step("SETSID"), *program("/no/such/program")])
    assert done.failure == (native.REPLY_FAILED, 1, errno.ENOENT, "execve", 0, (), b"")
    assert done.exits()[0].code == 1


def test_a_bad_plan_is_refused_before_its_first_step(spawner: native.Spawner, tmp_path: Path) -> None:
    done = talk.run(spawner, [MAPS, step("SETSID", a=1), *program("/bin/true")])
    assert done.failure == (native.REPLY_FAILED, 1, errno.EBADMSG, "decode", 0, (), b"")
    assert not any(reply.kind == native.REPLY_PAUSED for reply in done.replies)
    done.exits()


def test_a_plan_for_other_descriptors_is_refused(spawner: native.Spawner) -> None:
    with talk.null() as fds:
        done = talk.run(spawner, native.encode_plan(program("/bin/true"), 2), fds)
    assert done.failure == (native.REPLY_FAILED, 2**32 - 1, errno.EBADMSG, "decode", 0, (), b"")
    done.exits()


def test_clone_failure_is_reported(spawner: native.Spawner) -> None:
    directory = os.open("/", os.O_RDONLY)
    done = talk.run(spawner, program("/bin/true"), cgroup_fd=directory)
    os.close(directory)
    (reply,) = done.replies
    assert (reply.kind, reply.value, reply.fds) == (native.REPLY_SPAWNED, -errno.EBADF, ())


def unsealed(plan: bytes) -> int:
    fd = os.memfd_create("plan", os.MFD_ALLOW_SEALING)
    os.write(fd, plan)
    return fd


def file_of(plan: bytes, directory: Path) -> int:
    (directory / "plan").write_bytes(plan)
    return os.open(directory / "plan", os.O_RDONLY)


@pytest.mark.parametrize("kind", ["unsealed", "file", "empty", "pipe"])
def test_only_a_sealed_memfd_is_a_plan(spawner: native.Spawner, kind: str, tmp_path: Path) -> None:
    plan = native.encode_plan(program("/bin/true"), 0)
    unused: list[int] = []
    match kind:
        case "unsealed":
            fd = unsealed(plan)
        case "file":
            fd = file_of(plan, tmp_path)
        case "empty":
            fd = native.sealed_plan(b"")
        case _:
            fd, *unused = os.pipe()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        spawner.request(plan_fd=fd, control=theirs.fileno(), fds=[], clone_flags=0, owned=True)
    conversation = talk.Talk(ours)
    conversation.to_end()
    assert conversation.failure is not None
    assert conversation.failure.call == "decode"
    conversation.exits()
    conversation.close()
    for number in [fd, *unused]:
        os.close(number)


def message(flags: int = 0, fds: int = 2, clone_flags: int = 0, magic: int = lib.WIRE_MAGIC) -> bytes:
    return wire.SPAWN.pack(magic, lib.WIRE_VERSION, flags, fds, clone_flags)


BAD_REQUESTS: dict[str, tuple[bytes, int]] = {
    "garbage": (b"garbage", 2),
    "short": (message()[:-1], 2),
    "long": (message() + b"\0", 2),
    "magic": (message(magic=1), 2),
    "count": (message(fds=3), 2),
    "no descriptors": (message(fds=0), 0),
    "one descriptor": (message(fds=1), 1),
    "cgroup missing": (message(flags=lib.SPAWN_INTO_CGROUP), 2),
    "flags": (message(flags=16), 2),
    "adopting no process": (message(flags=lib.SPAWN_ADOPT), 2),
    "adopting with a plan": (message(flags=lib.SPAWN_ADOPT, fds=3), 3),
    "clone flags": (message(clone_flags=0x20000), 2),
    "too many": (message(fds=250), 250),
}


@pytest.mark.parametrize(("request_bytes", "fds"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_is_answered_and_forgotten(
    spawner: native.Spawner, request_bytes: bytes, fds: int
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    raw = socket.socket(fileno=os.dup(spawner.fileno()))
    with raw, theirs:
        passed = array.array("i", [theirs.fileno()] * fds)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)] if fds else []
        raw.sendmsg([request_bytes], ancillary)
    conversation = talk.Talk(ours)
    replies = conversation.to_end()
    assert [reply.value < 0 for reply in replies] == ([True] if fds else [])
    conversation.close()
    assert talk.run(spawner, program("/bin/true")).exits()[0].code == 0


def test_what_was_adopted_ends_with_the_spawner(spawner: native.Spawner) -> None:
    child = subprocess.Popen(["/bin/sleep", "60"])
    try:
        with OwnedFd(os.pidfd_open(child.pid)) as pidfd:
            spawner.adopt(pidfd.fileno())
        assert is_alive(child.pid)
        spawner.close()
        assert child.wait(10) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()


def test_only_processes_are_adopted(spawner: native.Spawner) -> None:
    with open(os.devnull) as file, pytest.raises(HelperError, match="cannot own"):
        spawner.adopt(file.fileno())


IDLE = ["0", "1", "2", "3", "4"]  # the image three times, the control socket, its epoll


def test_descriptors_do_not_pile_up_in_the_spawner(spawner: native.Spawner) -> None:
    if os.geteuid() != 0:
        pytest.skip("the spawner is not dumpable: only root sees its descriptors")
    with talk.null() as fds:
        for owned in [True, False] * 20:
            talk.run(spawner, [*stdio(), *program("/bin/true")], fds, owned=owned).exits()
    deadline = time.monotonic() + 5
    while (held := sorted(os.listdir(f"/proc/{spawner.pid}/fd"))) != IDLE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held == IDLE


def settle(spawner: native.Spawner) -> None:
    """Once it has served a request it has long done with starting."""
    talk.run(spawner, program("/bin/true")).exits()


def test_many_at_once(spawner: native.Spawner) -> None:
    with talk.null() as fds:
        talks = [talk.send(spawner, [*stdio(), *shell(f"exit {n}")], fds) for n in range(64)]
    for conversation in talks:
        conversation.to_end()
        conversation.close()
    assert [conversation.exits()[0].code for conversation in talks] == list(range(64))


def paused_child(spawner: native.Spawner, *, owned: bool) -> tuple[talk.Talk, int]:
    """A payload that runs until it is killed, and its pidfd."""
    with talk.null() as fds:
        conversation = talk.send(spawner, [*stdio(), *shell("exec sleep 60")], fds, owned=owned)
    conversation.to_end()
    return conversation, conversation.processes[0].fds[0]


def test_close_kills_what_is_owned_and_nothing_else() -> None:
    with native.Spawner.start() as spawner:
        ours, owned = paused_child(spawner, owned=True)
        theirs, free = paused_child(spawner, owned=False)
    assert talk.wait(owned).signal == signal.SIGKILL
    assert native.wait_pidfd(free) is None
    signal.pidfd_send_signal(free, signal.SIGKILL)
    talk.wait(free)
    ours.close()
    theirs.close()


OWNER = """
import os, sys
sys.path[:0] = {path!r}
import talk
from aiocontainer import native
spawner = native.Spawner.start()
with talk.null() as fds:
    conversation = talk.send(spawner, [*talk.stdio(), *talk.shell("exec sleep 60")], fds, owned={owned})
    conversation.to_end()
print(conversation.replies[0].value, spawner.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def python(script: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own that finds what we find."""
    return subprocess.run(
        [sys.executable, "-c", script.replace("{path!r}", repr(sys.path))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,  # type: ignore[call-overload]
    )


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


def test_death_of_the_application_ends_spawner_and_owned_containers() -> None:
    owner = python(OWNER.replace("{owned}", "True"))
    container, helper = map(int, owner.stdout.split())
    assert owner.returncode == -signal.SIGKILL
    assert ends(helper)
    assert ends(container)


def test_a_container_that_is_not_owned_survives_the_application() -> None:
    owner = python(OWNER.replace("{owned}", "False"))
    container, helper = map(int, owner.stdout.split())
    assert ends(helper)
    assert is_alive(container)
    os.kill(container, signal.SIGKILL)
    assert ends(container)


ANYWHERE = """
import os, sys
sys.path[:0] = {path!r}
report = os.dup(1)
os.set_inheritable(report, True)
for fd in {closed}:
    os.close(fd)
import talk
from aiocontainer import native
assert {closed} == [] or os.open("/dev/null", os.O_RDONLY) == {closed}[0] or True
with native.Spawner.start() as spawner:
    steps = [talk.step("FD", fd=0, a=1), *talk.shell("readlink /proc/self/fd/1; ls /proc/self/fd")]
    conversation = talk.run(spawner, steps, [report])
    assert conversation.failure is None, conversation.failure
    assert conversation.exits()[0].code == 0
"""

CLOSED = [list(c) for n in range(4) for c in itertools.combinations(range(3), n)]


@pytest.mark.parametrize("closed", CLOSED, ids=str)
def test_works_with_any_of_stdio_closed(closed: list[int]) -> None:
    """T80: 0 is a descriptor like any other, in us and in the helper."""
    done = python(ANYWHERE.replace("{closed}", repr(closed)))
    target, *numbers = done.stdout.split()
    assert target.startswith("pipe:"), done
    assert set(numbers) - {"3"} == {"0", "1"} or numbers == ["0", "1"], done  # ls's own, lowest first


WAITING = """
import os, signal, sys, select
sys.path[:0] = {path!r}
import talk
from aiocontainer import native
{before}
with native.Spawner.start() as spawner:
    with talk.null() as fds:
        conversation = talk.run(spawner, [*talk.stdio(), *talk.shell("exit 7")], fds)
    pidfd = conversation.processes[0].fds[0]
    select.select([pidfd], [], [])
    {after}
    try:
        print(native.wait_pidfd(pidfd).code)
    except ChildProcessError:
        print("lost")
"""


def kernel() -> tuple[int, ...]:
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("signal.signal(signal.SIGCHLD, signal.SIG_IGN)", ""),
        ("", "os.waitpid(-1, 0)"),
    ],
    ids=["plain", "SIGCHLD ignored", "foreign waitpid"],
)
def test_exit_status_beside_others_who_wait(before: str, after: str) -> None:
    """T80, S14: execve(2) makes SIGCHLD children; Linux 6.15 keeps the status for us even so."""
    done = python(WAITING.replace("{before}", before).replace("{after}", after))
    is_lost = (before or after) and kernel() < (6, 15)
    assert done.stdout.strip() == ("lost" if is_lost else "7"), done


def test_a_helper_that_died_is_noticed() -> None:
    spawner = native.Spawner.start()
    assert not spawner.ended
    os.kill(spawner.pid, signal.SIGKILL)
    assert select.select([spawner.pidfd], [], [], talk.TIMEOUT_S)[0]
    assert spawner.ended
    with pytest.raises(HelperError, match="has ended"):
        talk.send(spawner, program("/bin/true"))
    spawner.close()
    spawner.close()
    assert spawner.ended


def test_no_signal_reaches_the_helper_by_its_terminal_or_group(spawner: native.Spawner) -> None:
    settle(spawner)
    assert os.getpgid(spawner.pid) == spawner.pid
    assert os.getsid(spawner.pid) == spawner.pid


# The helper's image.


def test_another_helper_than_ours_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with open(spawner_module._HELPER, "rb") as file:
        changed = file.read() + b"\0"
    (tmp_path / "helper").write_bytes(changed)
    monkeypatch.setattr(spawner_module, "_HELPER", str(tmp_path / "helper"))
    with pytest.raises(HelperError, match="built with"):
        native.Spawner.start()
    monkeypatch.setattr(spawner_module, "_HELPER", str(tmp_path / "none"))
    with pytest.raises(HelperError, match="No such file"):
        native.Spawner.start()


def start_image(image: int, fds: Sequence[int] = (), **options: object) -> int | None:
    """Execute an image with a control socket as descriptor 3; its status, None while it serves."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.set_inheritable(image, True)
    code = f"import os; os.dup2({theirs.fileno()}, 3); os.execve('/proc/self/fd/{image}', ['helper'], {{}})"
    code = options.pop("before", "") + code  # type: ignore[operator]
    process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno(), image])
    theirs.close()
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        ours.close()
        assert process.wait(10) == 0  # end of file
        return None
    ours.close()
    return process.returncode


def image_with(seals: int) -> int:
    """A memfd with the helper and these seals, open for reading."""
    import fcntl

    with open(spawner_module._HELPER, "rb") as file:
        content = file.read()
    writer = os.memfd_create("helper", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(writer, content)
    fcntl.fcntl(writer, fcntl.F_ADD_SEALS, seals)
    reader = os.open(f"/proc/self/fd/{writer}", os.O_RDONLY)
    os.close(writer)
    return reader


def test_runs_from_a_sealed_memfd() -> None:
    image = image_with(15)
    assert start_image(image) is None
    os.close(image)


@pytest.mark.parametrize("missing", [1, 2, 4, 8])
def test_runs_from_nothing_less_than_a_sealed_memfd(missing: int) -> None:
    """T20: each of the four seals counts."""
    image = image_with(15 & ~missing)
    assert start_image(image) == 125
    os.close(image)


def test_does_not_run_from_its_file() -> None:
    image = os.open(spawner_module._HELPER, os.O_RDONLY)
    assert start_image(image) == 125
    os.close(image)


def test_does_not_run_without_a_control_socket() -> None:
    image = image_with(15)
    done = subprocess.run([f"/proc/self/fd/{image}"], pass_fds=[image], check=False)
    os.close(image)
    assert done.returncode == 125


def test_does_not_run_with_borrowed_privileges() -> None:
    """T49: the real user is another than the effective one."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users at once")
    image = image_with(15)
    assert start_image(image, before="import os; os.setresuid(65534, 0, 0);") == 125
    os.close(image)


def test_the_running_image_cannot_be_written(spawner: native.Spawner) -> None:
    """T20: ETXTBSY would hide it while it runs; the seals still hold afterwards."""
    if os.geteuid() != 0:
        pytest.skip("the spawner is not dumpable: only root opens its image")
    image = os.open(f"/proc/{spawner.pid}/exe", os.O_RDONLY)
    spawner.close()
    again = os.open(f"/proc/self/fd/{image}", os.O_RDWR)
    with pytest.raises(PermissionError):
        os.pwrite(again, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(again, 0)
    os.close(again)
    os.close(image)


def test_the_spawner_leaves_no_core(spawner: native.Spawner) -> None:
    settle(spawner)
    with open(f"/proc/{spawner.pid}/limits") as file:
        core = next(line for line in file if line.startswith("Max core"))
    assert core.split()[4] in "01"
