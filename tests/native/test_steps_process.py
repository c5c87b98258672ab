"""What the payload is: descriptors, limits, credentials, directory, program."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import struct
from typing import TYPE_CHECKING

import pytest
import talk
from talk import Raw, output, program, run, shell, step

from aiocontainer import native
from aiocontainer.native._lib import lib

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

CAP_NET_RAW, CAP_SETPCAP, CAP_CHOWN = 13, 8, 0


def failure(spawner: native.Spawner, steps: Sequence[Raw], fds: Sequence[int] = ()) -> tuple[int, str]:
    """Errno and call of a plan that must fail."""
    done = run(spawner, [*steps, *program("/bin/true")], fds)
    done.exits()
    assert done.failure is not None, done.replies
    return done.failure.error, done.failure.call


def status(text: str, field: str) -> str:
    found = re.search(rf"^{field}:[ \t]*(.*)$", text, re.MULTILINE)
    assert found is not None
    return found[1]


STATUS = program("/bin/cat", "/proc/self/status")


# Descriptors.


def test_numbers_may_cross(spawner: native.Spawner) -> None:
    """Every number stays what it was told to be, whatever numbers the sources have."""
    files = [os.memfd_create(f"m{n}") for n in range(8)]
    targets = [10, 3, 9, 4, 8, 5, 7, 6]
    steps = [step("FD", fd=n, a=target) for n, target in enumerate(targets)]
    listing = output(
        spawner, [*steps, *shell("for n in 3 4 5 6 7 8 9 10; do readlink /proc/$$/fd/$n; done")], files
    )
    for fd in files:
        os.close(fd)
    names = [f"/memfd:m{targets.index(number)} (deleted)" for number in range(3, 11)]
    assert listing.splitlines() == names


def test_one_descriptor_under_two_numbers(spawner: native.Spawner) -> None:
    fd = os.memfd_create("twice")
    steps = [step("FD", fd=0, a=4), step("FD", fd=0, a=3)]
    listing = output(spawner, [*steps, *shell("readlink /proc/$$/fd/3 /proc/$$/fd/4")], [fd])
    os.close(fd)
    assert listing == "/memfd:twice (deleted)\n" * 2


def test_payload_sees_its_numbers_and_nothing_else(spawner: native.Spawner) -> None:
    fd = os.memfd_create("far")
    steps = [step("FD", fd=0, a=100)]
    assert output(spawner, [*steps, *program("/bin/ls", "/proc/self/fd")], [fd]).split() == [
        "0",
        "1",
        "100",
        "2",
        "3",
    ]
    os.close(fd)


def test_a_number_is_given_once(spawner: native.Spawner) -> None:
    with talk.null() as fds:
        assert failure(spawner, [step("FD", fd=0, a=3), step("FD", fd=1, a=3)], fds)[0] == errno.EEXIST


@root
def test_pipes_change_hands_and_devices_do_not(spawner: native.Spawner) -> None:
    """T70."""
    ours, theirs = os.pipe()
    owner = 1234 << 32 | 2345
    with talk.null() as fds:
        steps = [step("FD", fd=0, a=3, b=1, c=owner), step("FD", fd=1, a=4, b=1, c=owner)]
        run(spawner, [*steps, *program("/bin/true")], [theirs, fds[0]]).exits()
        null = os.fstat(fds[0])
    given = os.fstat(theirs)
    os.close(ours)
    os.close(theirs)
    assert (given.st_uid, given.st_gid) == (1234, 2345)
    assert (null.st_uid, null.st_gid) == (0, 0)


# Limits.


@root
def test_limits_are_exact(spawner: native.Spawner) -> None:
    wanted = {resource.RLIMIT_CORE: (5, 6), resource.RLIMIT_NOFILE: (8, 9), resource.RLIMIT_CPU: (30, 40)}
    steps = [step("RLIMIT", a=number, b=soft, c=hard) for number, (soft, hard) in wanted.items()]
    text = output(spawner, [*steps, *program("/bin/cat", "/proc/self/limits")])
    assert re.search(r"Max core file size\s+5\s+6", text)
    assert re.search(r"Max open files\s+8\s+9", text)
    assert re.search(r"Max cpu time\s+30\s+40", text)


def test_limits_of_the_caller_come_through(spawner: native.Spawner) -> None:
    text = output(spawner, program("/bin/cat", "/proc/self/limits"))
    with open("/proc/self/limits") as file:
        assert text == file.read()


# T81: what is inherited without being asked.


def test_inherited_attributes_do_not_reach_the_payload() -> None:
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    affinity = os.sched_getaffinity(0)
    umask = os.umask(0o077)
    old = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
    os.sched_setaffinity(0, {min(affinity)})
    try:
        with native.Spawner.start() as spawner:
            text = output(spawner, [step("RESET", a=31), *shell("cat /proc/self/status; umask")])
    finally:
        os.sched_setaffinity(0, affinity)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2, signal.SIGTERM})
        signal.signal(signal.SIGUSR1, old)
        os.umask(umask)
    assert os.getpriority(os.PRIO_PROCESS, 0) == nice
    for mask in ("SigBlk", "SigIgn"):
        assert int(status(text, mask), 16) == 0
    assert len(affinity) == 1 or status(text, "Cpus_allowed_list") != str(min(affinity))
    assert text.splitlines()[-1] == "0022"


@root
def test_nice_and_policy_are_reset() -> None:
    """Run where raising them back is allowed."""
    child = os.fork()
    if child == 0:
        os.nice(5)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        with native.Spawner.start() as spawner:
            text = output(
                spawner, [step("RESET", a=lib.RESET_SCHEDULER), *program("/bin/cat", "/proc/self/stat")]
            )
        fields = text.rpartition(")")[2].split()
        os._exit(0 if (fields[16], fields[38]) == ("0", "0") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_umask_is_that_of_the_plan(spawner: native.Spawner) -> None:
    assert output(spawner, [step("UMASK", a=0o123), *shell("umask")]) == "0123\n"


# Credentials and capabilities.


def credentials(uid: int, gid: int, groups: Sequence[int] = ()) -> Raw:
    return step("CREDENTIALS", a=uid, b=gid, data=struct.pack(f"={len(groups)}I", *groups))


def capabilities(effective: int, permitted: int, inheritable: int, ambient: int) -> Raw:
    return step("CAPABILITIES", data=struct.pack("=4Q", effective, permitted, inheritable, ambient))


@root
def test_groups_are_exact(spawner: native.Spawner) -> None:
    """T45: none is inherited."""
    before = os.getgroups()
    os.setgroups([4, 5, 6])
    try:
        with native.Spawner.start() as fresh:
            text = output(fresh, [credentials(1000, 1001, [7, 8]), *STATUS])
            none = output(fresh, [credentials(1000, 1001), *STATUS])
    finally:
        os.setgroups(before)
    assert status(text, "Groups").split() == ["7", "8"]
    assert status(text, "Uid").split() == ["1000"] * 4
    assert status(text, "Gid").split() == ["1001"] * 4
    assert status(none, "Groups") == ""


@root
def test_capabilities_of_another_user_end_at_execve(spawner: native.Spawner) -> None:
    """T11: without ambient ones nothing is left in the payload."""
    mask = 1 << CAP_NET_RAW | 1 << CAP_CHOWN
    steps = [step("BOUNDING", a=mask), credentials(1000, 1000), capabilities(mask, mask, 0, 0)]
    text = output(spawner, [*steps, *STATUS])
    sets = {name: int(status(text, name), 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert sets == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": mask, "CapAmb": 0}


@root
def test_ambient_capabilities_last(spawner: native.Spawner) -> None:
    raw = 1 << CAP_NET_RAW
    both = raw | 1 << CAP_CHOWN
    steps = [step("BOUNDING", a=both), credentials(1000, 1000), capabilities(both, both, raw, raw)]
    text = output(spawner, [*steps, *STATUS])
    assert {int(status(text, name), 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {raw}


@root
def test_inheritable_is_what_was_asked(spawner: native.Spawner) -> None:
    """T24."""
    mask = 1 << CAP_NET_RAW
    steps = [step("BOUNDING", a=mask), credentials(0, 0), capabilities(mask, mask, 0, 0)]
    text = output(spawner, [*steps, *STATUS])
    assert int(status(text, "CapInh"), 16) == 0
    assert int(status(text, "CapPrm"), 16) == mask


@root
def test_an_empty_bounding_set_drops_all(spawner: native.Spawner) -> None:
    """T79."""
    text = output(spawner, [step("BOUNDING", a=0), *STATUS])
    assert int(status(text, "CapBnd"), 16) == 0


@root
def test_ambient_without_inheritable_fails(spawner: native.Spawner) -> None:
    mask = 1 << CAP_NET_RAW
    assert failure(spawner, [capabilities(mask, mask, 0, mask)]) == (errno.EPERM, "prctl")


@root
def test_more_than_we_have_fails(spawner: native.Spawner) -> None:
    none = capabilities(0, 0, 0, 0)
    all_of_them = capabilities(1, 1, 0, 0)
    assert failure(spawner, [none, all_of_them]) == (errno.EPERM, "capset")


def test_no_new_privs(spawner: native.Spawner) -> None:
    assert status(output(spawner, [step("NO_NEW_PRIVS"), *STATUS]), "NoNewPrivs") == "1"


# Directory and program.


def test_cwd(spawner: native.Spawner, tmp_path: Path) -> None:
    where = str(tmp_path)
    assert output(spawner, [step("CWD", strings=(where,)), *program("/bin/pwd")]) == where + "\n"


def test_cwd_slash(spawner: native.Spawner) -> None:
    for make in (0, 1):
        assert output(spawner, [step("CWD", a=make, strings=("/",)), *program("/bin/pwd")]) == "/\n"


def test_cwd_is_made_when_asked(spawner: native.Spawner, tmp_path: Path) -> None:
    where = str(tmp_path / "a" / "b")
    assert failure(spawner, [step("CWD", strings=(where,))]) == (errno.ENOENT, "openat2")
    assert output(spawner, [step("CWD", a=1, strings=(where,)), *program("/bin/pwd")]) == where + "\n"
    assert os.stat(where).st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "path",
    [f"/proc/self/fd/{n}" for n in (*range(12), 500)]
    + ["/proc/self/cwd", "/proc/self/root", "/proc/thread-self/fd/3", "/proc/1/cwd"],
)
@pytest.mark.parametrize("make", [0, 1])
def test_cwd_through_a_magic_link_is_refused(spawner: native.Spawner, path: str, make: int) -> None:
    """T26."""
    directory = os.open("/etc", os.O_RDONLY)
    error, _ = failure(spawner, [step("CWD", a=make, strings=(path,))], [directory] * 6)
    os.close(directory)
    assert error in (errno.ELOOP, errno.ENOENT, errno.EXDEV, errno.EACCES, errno.ENOTDIR)


def test_cwd_through_a_link_to_a_magic_link_is_refused(spawner: native.Spawner, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self/fd/4")
    directory = os.open("/etc", os.O_RDONLY)
    error, _ = failure(spawner, [step("CWD", strings=(str(tmp_path / "link"),))], [directory] * 6)
    os.close(directory)
    assert error == errno.ELOOP


@root
def test_cwd_that_only_the_payload_may_enter(spawner: native.Spawner, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    become = [credentials(1000, 1000), capabilities(0, 0, 0, 0)]
    tolerant = step("CWD", b=1, strings=(str(closed),))
    strict = step("CWD", strings=(str(closed),))
    assert failure(spawner, [*become, strict])[0] == errno.EACCES
    assert failure(spawner, [*become, tolerant, strict])[0] == errno.EACCES
    done = run(spawner, [*become, tolerant, *program("/bin/true")])
    assert done.failure is None
    done.exits()


def executable(path: Path, mode: int = 0o755) -> str:
    path.write_text("#!/bin/sh\necho ran $0\n")
    path.chmod(mode)
    return str(path)


def candidates(*paths: str) -> list[Raw]:
    return [step("PROGRAM", strings=paths), step("EXEC", a=1, strings=("x",))]


def program_failure(spawner: native.Spawner, *paths: str, before: Sequence[Raw] = ()) -> int:
    done = run(spawner, [*before, *candidates(*paths)])
    done.exits()
    assert done.failure is not None
    assert done.failure.call == "execve"
    return done.failure.error


def test_the_first_that_can_be_executed(spawner: native.Spawner, tmp_path: Path) -> None:
    good = executable(tmp_path / "good")
    paths = (str(tmp_path / "none"), str(tmp_path), good, "/bin/false")
    assert output(spawner, candidates(*paths)) == f"ran {good}\n"


def test_what_is_there_says_more_than_what_is_not(spawner: native.Spawner, tmp_path: Path) -> None:
    none, plain = str(tmp_path / "none"), executable(tmp_path / "plain", 0o644)
    os.mkfifo(tmp_path / "fifo")
    assert program_failure(spawner, none) == errno.ENOENT
    assert program_failure(spawner, f"{plain}/x") == errno.ENOENT
    assert program_failure(spawner, none, plain, none) == errno.EACCES
    assert program_failure(spawner, none, str(tmp_path)) == errno.EISDIR
    assert program_failure(spawner, str(tmp_path), plain) == errno.EISDIR
    assert program_failure(spawner, str(tmp_path / "fifo")) == errno.EACCES


@root
def test_executable_by_whom_it_will_be(spawner: native.Spawner, tmp_path: Path) -> None:
    mine = executable(tmp_path / "mine", 0o700)
    become = [credentials(1000, 1000), capabilities(0, 0, 0, 0)]
    assert program_failure(spawner, mine, before=become) == errno.EACCES


@pytest.mark.parametrize(
    "path", ["/proc/self/exe", "/proc/thread-self/exe", *[f"/proc/self/fd/{n}" for n in range(9)]]
)
def test_a_program_behind_a_magic_link_is_refused(spawner: native.Spawner, path: str) -> None:
    """T20, T26."""
    shell_fd = os.open("/bin/sh", os.O_RDONLY)
    done = run(spawner, candidates(path), [shell_fd] * 6)
    os.close(shell_fd)
    done.exits()
    assert done.failure is not None
    assert done.failure.error in (errno.ELOOP, errno.ENOENT)


def test_a_script_whose_interpreter_is_the_helper(spawner: native.Spawner, tmp_path: Path) -> None:
    """T20: the kernel runs the payload's own image for it, which is the script's; nothing happens."""
    script = tmp_path / "script"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    done = run(spawner, candidates(str(script)))
    ended = done.exits()[0]
    assert done.failure is not None or ended.code == 125


def test_arguments_and_environment_arrive(spawner: native.Spawner) -> None:
    steps = program(
        "/bin/sh", "-c", 'printf "%s|" "$0" "$@"; env', "zero", "", "a b", env=["A=1", "B=", "C= x"]
    )
    text = output(spawner, steps)
    assert text.startswith("zero||a b|")
    assert {"A=1", "B=", "C= x"} <= set(text.partition("a b|")[2].splitlines())


def test_many_arguments(spawner: native.Spawner) -> None:
    count = 20000
    steps = program("/bin/sh", "-c", "echo $#", *["x"] * (count + 1), env=["A=1"] * 100)
    assert output(spawner, steps) == f"{count}\n"


def test_exec_needs_a_program(spawner: native.Spawner) -> None:
    done = run(spawner, [step("EXEC", a=1, strings=("x",))])
    done.exits()
    assert done.failure is not None
    assert done.failure.error == errno.EPROTO
