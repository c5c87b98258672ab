"""The state directory between processes: killed ones, racing ones, foreign ones."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from typing import TYPE_CHECKING

import msgspec
import pytest

from aiocontainer.errors import StateCorruptError
from aiocontainer.store import Record, State, Store, boot_id, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATE = State(
    id="c",
    bundle="/bundle",
    oci_version="1.3.0",
    created=timestamp(0),
    owner=os.geteuid(),
    boot_id=boot_id(),
    pid=0,
    starttime=0,
)
RECORD = Record(id="c", bundle="/bundle", boot_id=boot_id()).encode()


def run(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A fresh Python process that has `store`, a Store of the root that is its first argument."""
    begin = f"""
import os, sys, signal, time
from aiocontainer.store import store as module
from aiocontainer.errors import *
from aiocontainer.store import *
RECORD = {RECORD!r}
STATE = module.decode_state({STATE.encode()!r}, "c", "")
store = Store(sys.argv[1])
"""
    return subprocess.Popen(
        [sys.executable, "-c", begin + textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@pytest.fixture
def root() -> Iterator[str]:
    """Where anybody could look, if the modes let them."""
    parent = tempfile.mkdtemp(prefix="aioc-test-")
    os.chmod(parent, 0o755)
    yield f"{parent}/root"
    shutil.rmtree(parent)


KILLED = """
calls = 0
def killing(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
for name in "mkdir chmod open fchmod write fsync rename listdir unlink rmdir close".split():
    setattr(module.os, name, killing(getattr(os, name)))
lock = store.create("c", RECORD, b"{}")
store.save("c", STATE)
store.save("c", STATE)
store.bind_gate("c")
store.remove("c")
print(calls)
"""


def test_killed_at_every_system_call(root: str) -> None:
    """Security test S4: a fresh process finds a container or none, and can always clean up."""
    seen, fatal = set(), 0
    while True:
        fatal += 1
        with run(KILLED, root, str(fatal)) as child:
            output, _ = child.communicate(timeout=60)
        seen.add(look(root))
        with Store(root) as store, store.create("c", RECORD):
            store.remove("c")
        assert os.listdir(root) == []
        if child.returncode == 0:
            assert int(output) < fatal
            break
        assert child.returncode == -signal.SIGKILL
    assert seen == {"nothing", "interrupted", "created"}
    assert fatal > 30


def look(root: str) -> str:
    with Store(root) as store:
        if store.ids() == []:
            assert os.listdir(root) == []
            return "nothing"
        assert store.ids() == ["c"]
        assert store.load_record("c").bundle == "/bundle"
        assert store.load_config("c") == b"{}"
        lock = store.lock("c")
        assert lock is not None
        with lock:
            try:
                assert store.load("c", lock=lock) == STATE
            except StateCorruptError as exc:
                assert "interrupted" in exc.problem  # noqa: PT017 - either is right
                result = "interrupted"
            else:
                result = "created"
            store.remove("c")
        return result


RACE = """
sys.stdin.readline()
for _ in range(200):
    try:
        lock = store.create("c", RECORD, b"{}")
    except ExistsError:
        continue
    with lock:
        store.save("c", STATE)
        other = store.lock("c")
        assert other is None, "two have the lock"
        store.load("c")
        store.remove("c")
    print("won", flush=True)
"""


def test_processes_that_race_for_one_id(root: str) -> None:
    """Security tests S15 and S16."""
    Store(root).close()
    children = [run(RACE, root) for _ in range(4)]
    try:
        for child in children:
            assert child.stdin is not None
            child.stdin.write(b"go\n")
            child.stdin.flush()
        outputs = [child.communicate(timeout=60)[0] for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert [child.returncode for child in children] == [0] * len(children)
    assert any(output.count(b"won") for output in outputs)
    assert os.listdir(root) == []


def test_deleting_against_looking(root: str) -> None:
    """Security test S16: who looks sees a container or NotFoundError, never half of one."""
    looking = """
    print("ready", flush=True)
    while store.ids() != ["end"]:
        try:
            state = store.load("c")
        except (NotFoundError, StateError):
            continue
        assert state == STATE
    """
    with Store(root) as store:
        child = run(looking, root)
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            for _ in range(300):
                with store.create("c", RECORD, b"{}"):
                    store.save("c", STATE)
                    store.remove("c")
            store.create("end", RECORD).release()
            assert child.wait(30) == 0
        finally:
            child.kill()
            child.communicate()


@pytest.mark.needs("root")
def test_nobody_else_gets_in(root: str) -> None:
    """Security test T01: whatever the umask of the caller."""
    before = os.umask(0)
    try:
        with Store(root) as store, store.create("c", RECORD, b"{}"):
            store.save("c", STATE)
            with store.bind_gate("c"):
                parent = os.path.dirname(root)
                assert as_stranger("ls", parent)
                for path in (root, f"{root}/c", f"{root}/c/state.json", f"{root}/c/gate"):
                    assert not as_stranger("ls", path)
                # Even if the directories were open: the files are not.
                os.chmod(root, 0o755)
                os.chmod(f"{root}/c", 0o755)
                assert as_stranger("ls", f"{root}/c")
                for name in ("state.json", "record.json", "config.json"):
                    assert not as_stranger("cat", f"{root}/c/{name}")
                    assert not as_stranger("sh", "-c", f": >{root}/c/{name}")
                assert not as_stranger("test", "-w", f"{root}/c/gate")
    finally:
        os.umask(before)


def as_stranger(*command: str) -> bool:
    return (
        subprocess.run(command, user=12345, group=12345, extra_groups=[], capture_output=True).returncode == 0
    )


def test_a_gate_outlives_its_maker(root: str) -> None:
    """Created by one process, started by another: invariant 7."""
    creator = """
    lock = store.create("c", RECORD)
    gate = store.bind_gate("c")
    if os.fork() == 0:
        gate.setblocking(True)
        print("waiting", flush=True)
        peer, _ = gate.accept()
        peer.send(peer.recv(100).upper())
    os._exit(0)
    """
    with run(creator, root) as child:
        assert child.stdout is not None
        assert child.wait(30) == 0
        assert child.stdout.readline() == b"waiting\n"
        with Store(root) as store:
            assert store.has_gate("c")
            with store.connect_gate("c") as peer:
                peer.setblocking(True)
                peer.send(b"knock")
                assert peer.recv(100) == b"KNOCK"
                assert peer.recv(100) == b""
                assert peer.type == socket.SOCK_SEQPACKET


def test_on_every_file_system_at_hand(tmp_path: Path) -> None:
    for parent in (str(tmp_path), "/dev/shm", "/run"):
        if not os.access(parent, os.W_OK):
            continue
        directory = tempfile.mkdtemp(prefix="aioc-test-", dir=parent)
        try:
            with Store(f"{directory}/root") as store, store.create("c", RECORD, b"{}"):
                store.save("c", msgspec.structs.replace(STATE, pid=5))
                assert store.load("c").pid == 5
                store.remove("c")
        finally:
            shutil.rmtree(directory)
