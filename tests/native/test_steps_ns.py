"""Placement, namespaces, and what is set once per namespace."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
import talk
from support.user import become, expose
from talk import output, program, run, send, shell, step

from aiocontainer import native
from aiocontainer.native import spawner as spawner_module
from aiocontainer.native._lib import lib

if TYPE_CHECKING:
    from collections.abc import Iterator

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NEWTIME, NEWNS, NEWCGROUP, NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
NEWIPC, NEWUSER, NEWPID, NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
CAP_SYS_RESOURCE = 24
NAMES = {NEWNS: "mnt", NEWCGROUP: "cgroup", NEWUTS: "uts", NEWIPC: "ipc", NEWNET: "net"}


def inode(path: str) -> int:
    return os.stat(path).st_ino


@root
def test_unshare_gives_new_namespaces(spawner: native.Spawner) -> None:
    text = output(spawner, [step("UNSHARE", a=sum(NAMES)), *shell("readlink /proc/self/ns/*")])
    for name in NAMES.values():
        found = re.search(rf"{name}:\[(\d+)\]", text)
        assert found is not None
        assert int(found[1]) != inode(f"/proc/self/ns/{name}")


@root
def test_hostname_and_domainname(spawner: native.Spawner) -> None:
    names = [step("HOSTNAME", strings=("box",)), step("DOMAINNAME", strings=("example",))]
    text = output(
        spawner,
        [
            step("UNSHARE", a=NEWUTS),
            *names,
            *shell("cd /proc/sys/kernel; cat hostname domainname"),
        ],
    )
    assert text.split() == ["box", "example"]


@root
def test_loopback_is_brought_up(spawner: native.Spawner) -> None:
    flags = shell("cat /sys/class/net/lo/flags 2>/dev/null; cat /proc/net/dev; cat /proc/net/fib_trie")
    down = output(spawner, [step("UNSHARE", a=NEWNET), *flags])
    up = output(spawner, [step("UNSHARE", a=NEWNET), step("LOOPBACK"), *flags])
    assert "127.0.0.1" not in down
    assert "127.0.0.1" in up


@root
def test_sysctl_of_our_own_namespaces(spawner: native.Spawner) -> None:
    steps = [
        step("UNSHARE", a=NEWNET | NEWIPC),
        step("SYSCTL", strings=("net/ipv4/ip_forward", "1")),
        step("SYSCTL", strings=("kernel/shmmni", "77")),
    ]
    with open("/proc/sys/kernel/shmmni") as file:
        before = file.read()
    assert (
        output(spawner, [*steps, *shell("cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmni")]) == "1\n77\n"
    )
    with open("/proc/sys/kernel/shmmni") as file:
        assert file.read() == before


@root
def test_an_unknown_sysctl_fails(spawner: native.Spawner) -> None:
    done = run(spawner, [step("SYSCTL", strings=("net/none", "1")), *program("/bin/true")])
    done.exits()
    assert done.failure is not None
    assert (done.failure.error, done.failure.call) == (errno.ENOENT, "openat2")


@root
def test_time_namespace(spawner: native.Spawner) -> None:
    steps = [step("TIME_NS", strings=("monotonic 1000000 0\nboottime 1000000 0\n",))]
    text = output(spawner, [*steps, *shell("cat /proc/uptime; readlink /proc/self/ns/time")])
    uptime, name = text.splitlines()
    assert float(uptime.split()[0]) > 1000000
    assert name != os.readlink("/proc/self/ns/time")


OWN_SCORE = program("/bin/cat", "/proc/self/oom_score_adj")


def test_oom_score(spawner: native.Spawner) -> None:
    with open("/proc/self/oom_score_adj") as file:
        own = int(file.read())
    for score in (own, min(own + 1, 1000), 1000):
        text = output(spawner, [step("OOM_SCORE", a=score), *OWN_SCORE])
        assert int(text) == score


def may(capability: int) -> bool:
    with open("/proc/self/status") as file:
        (line,) = [line for line in file if line.startswith("CapEff")]
    return bool(int(line.split()[1], 16) >> capability & 1)


@pytest.mark.skipif(not may(CAP_SYS_RESOURCE), reason="needs CAP_SYS_RESOURCE")
def test_negative_oom_score(spawner: native.Spawner) -> None:
    for score in (-1, -17, -1000):
        text = output(spawner, [step("OOM_SCORE", a=score), *OWN_SCORE])
        assert int(text) == score


def test_setsid(spawner: native.Spawner) -> None:
    text = output(spawner, [step("SETSID"), *program("/bin/cat", "/proc/self/stat")])
    pid, fields = text.split()[0], text.rpartition(")")[2].split()
    assert (fields[2], fields[3]) == (pid, pid)


def test_keyring(spawner: native.Spawner) -> None:
    name = f"_ses.aioc-test-{os.getpid()}"
    text = output(spawner, [step("KEYRING", strings=(name,)), *program("/bin/cat", "/proc/keys")])
    (line,) = [line for line in text.splitlines() if name in line]
    permissions = int(line.split()[4], 16)
    assert permissions & 0x00080000  # the owner may search


def test_join_cgroup_writes_to_the_file_that_it_got(spawner: native.Spawner) -> None:
    fd = os.memfd_create("tasks")
    run(spawner, [step("JOIN_CGROUP", fd=0), *program("/bin/true")], [fd]).exits()
    assert os.pread(fd, 10, 0) == b"0"
    os.close(fd)


# Joining.


@pytest.fixture
def target(spawner: native.Spawner) -> Iterator[talk.Talk]:
    """A payload in namespaces of its own, as init of a pid namespace."""
    with talk.null() as fds:
        own = step("UNSHARE", a=sum(NAMES))
        name = step("HOSTNAME", strings=("there",))
        steps = [*talk.stdio(), own, name, *shell("exec sleep 60")]
        conversation = send(spawner, steps, fds, clone_flags=NEWPID)
    conversation.to_end()
    assert conversation.failure is None
    yield conversation
    signal.pidfd_send_signal(conversation.processes[0].fds[0], signal.SIGKILL)
    conversation.exits()
    conversation.close()


def ns_path(conversation: talk.Talk, name: str) -> str:
    return f"/proc/{conversation.replies[0].value}/ns/{name}"


JOINED = {**NAMES, NEWPID: "pid"}


@root
def test_a_process_joins_and_forks(spawner: native.Spawner, target: talk.Talk) -> None:
    pid = target.processes[0].value
    verify = [step("VERIFY_NS", a=flag, b=inode(f"/proc/{pid}/ns/{name}")) for flag, name in JOINED.items()]
    steps = [step("JOIN_NS", fd=0, a=sum(JOINED)), *verify, step("FORK"), step("SETSID")]
    text = output(
        spawner,
        [*steps, *program("/bin/hostname")],
        [target.processes[0].fds[0]],
    )
    assert text == "there\n"


@root
def test_fork_announces_a_second_process(spawner: native.Spawner, target: talk.Talk) -> None:
    steps = [step("JOIN_NS", fd=0, a=NEWPID), step("FORK"), *program("/bin/sh", "-c", "exit 9")]
    done = run(spawner, steps, [target.processes[0].fds[0]])
    first, second = done.processes
    assert first.value != second.value
    assert [ended.code for ended in done.exits()] == [0, 9]


@root
@pytest.mark.parametrize("flag", JOINED, ids=JOINED.values())
def test_another_namespace_is_noticed(spawner: native.Spawner, target: talk.Talk, flag: int) -> None:
    """T12, invariant 28."""
    others = step("VERIFY_NS", a=flag, b=inode(ns_path(target, JOINED[flag])))
    done = run(spawner, [others, *program("/bin/true")])
    done.exits()
    assert done.failure is not None
    assert (done.failure.error, done.failure.call) == (errno.EXDEV, "verify")


@root
def test_host_descriptors_are_gone_after_the_fork(spawner: native.Spawner, target: talk.Talk) -> None:
    """What the container's processes could see of us is ours to close before."""
    host = os.open("/", os.O_RDONLY)
    steps = [
        step("JOIN_NS", fd=0, a=NEWPID),
        step("FORK"),
        step("PAUSE", a=lib.PAUSE_MAPS),
        *program("/bin/true"),
    ]
    conversation = send(spawner, steps, [target.processes[0].fds[0], host])
    conversation.until(native.REPLY_PAUSED)
    while len(conversation.processes) < 2:
        conversation.until(native.REPLY_SPAWNED)
    pid = max(conversation.processes, key=lambda reply: reply.step).value  # they may come in any order
    held = {os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")}
    os.close(host)
    conversation.proceed()
    conversation.to_end()
    conversation.close()
    conversation.exits()
    assert {re.sub(r"[\d\[\]]", "", name) for name in held} == {"/memfd:aiocontainer (deleted)", "socket:"}


# User namespaces.


def write_maps(pid: int) -> None:
    for name, text in {
        "setgroups": "deny",
        "uid_map": f"0 {os.geteuid()} 1",
        "gid_map": f"0 {os.getegid()} 1",
    }.items():
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)


def in_user_namespace(spawner: native.Spawner, *steps: talk.Raw, flags: int = 0) -> str:
    """Output of a plan in a user namespace whose root is us."""
    ours, theirs = os.pipe()
    plan = [step("PAUSE", a=lib.PAUSE_MAPS, b=1), step("NS_ROOT"), *steps]
    with talk.null() as fds, open(ours) as reader:
        conversation = send(
            spawner, [*talk.stdio(), *plan], [fds[0], theirs, theirs], clone_flags=NEWUSER | flags
        )
        os.close(theirs)
        conversation.until(native.REPLY_PAUSED)
        if not conversation.processes:
            conversation.until(native.REPLY_SPAWNED)
        write_maps(conversation.processes[0].value)
        conversation.proceed()
        conversation.to_end()
        conversation.close()
        assert conversation.failure is None, conversation.failure
        text = reader.read()
    assert conversation.exits()[-1].code == 0, text
    return text


def test_user_namespace_with_maps(spawner: native.Spawner) -> None:
    text = in_user_namespace(spawner, *shell("id -u; cat /proc/self/uid_map; cat /proc/self/setgroups"))
    own, mapped, groups = text.splitlines()
    assert own == "0"
    assert mapped.split() == ["0", str(os.geteuid()), "1"]
    assert groups == "deny"


def test_user_namespace_with_everything(spawner: native.Spawner) -> None:
    steps = [
        step("UNSHARE", a=sum(NAMES)),
        step("TIME_NS", strings=("boottime 1000000 0\n",)),
        step("HOSTNAME", strings=("inner",)),
        step("LOOPBACK"),
        step("SYSCTL", strings=("net/ipv4/ip_unprivileged_port_start", "80")),
    ]
    text = in_user_namespace(
        spawner,
        *steps,
        *shell("hostname; cat /proc/uptime /proc/sys/net/ipv4/ip_unprivileged_port_start; echo $$"),
        flags=NEWPID,
    )
    host, uptime, port, pid = text.splitlines()
    assert (host, port, pid) == ("inner", "80", "1")
    assert float(uptime.split()[0]) > 1000000


@pytest.fixture
def exposed(public_tmp: str) -> Iterator[None]:
    """Let an ordinary user start the helper."""
    original = expose(public_tmp)
    yield
    spawner_module._HELPER = original  # type: ignore[misc]


@root
@pytest.mark.usefixtures("exposed")
def test_an_ordinary_user_gets_all_of_it() -> None:
    """The helper's own procfs files belong to the host's root while it is not dumpable."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            become(65534)
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable again, as an ordinary process is
            with native.Spawner.start() as spawner:
                output(spawner, [step("OOM_SCORE", a=500), *OWN_SCORE])
                test_user_namespace_with_everything(spawner)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@root
@pytest.mark.usefixtures("exposed")
def test_the_helper_is_dumpable_only_while_its_maps_are_written(spawner: native.Spawner) -> None:
    """T12: who owns the files in /proc/PID tells; the spawner's are root's all the time."""
    steps = [step("PAUSE", a=lib.PAUSE_MAPS, b=1), step("PAUSE", a=lib.PAUSE_CGROUP), *program("/bin/true")]
    child = os.fork()
    if child == 0:
        owners = []
        try:
            become(65534)
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
            with native.Spawner.start() as own:
                conversation = send(own, steps, clone_flags=NEWUSER)
                for _ in range(2):
                    conversation.until(native.REPLY_PAUSED)
                    if not conversation.processes:
                        conversation.until(native.REPLY_SPAWNED)
                    owners.append(os.stat(f"/proc/{conversation.processes[0].value}/status").st_uid)
                    conversation.proceed()
                    owners.append(os.stat(f"/proc/{own.pid}/status").st_uid)
        finally:
            os._exit(0 if owners == [65534, 0, 0, 0] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
