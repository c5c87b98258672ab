"""The state directory, without privilege: its files, its locks, and every way to find it damaged."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocontainer.errors import ExistsError, NotFoundError, SpecError, StateCorruptError, StateError
from aiocontainer.store import (
    CgroupRecord,
    Identity,
    Record,
    State,
    Store,
    StoreError,
    boot_id,
    default_root,
    files,
    identify,
    open_process,
    timestamp,
)
from aiocontainer.store import store as module
from aiocontainer.store.documents import decode_state
from aiocontainer.store.files import make_root
from aiocontainer.store.identity import parse_stat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CGROUP = CgroupRecord(mode="v1", paths={"pids": "/sys/fs/cgroup/pids/c"}, made={"pids": 1})


def make_record(id: str = "c") -> bytes:
    return Record(id=id, bundle="/bundle", boot_id=boot_id(), cgroup=CGROUP).encode()


def make_state(id: str = "c", **fields: object) -> State:
    state = State(
        id=id,
        bundle="/bundle",
        oci_version="1.3.0",
        created=timestamp(),
        owner=os.geteuid(),
        boot_id=boot_id(),
        pid=os.getpid(),
        starttime=1,
        namespaces={"mount": 4026531840},
        cgroup=CGROUP,
    )
    return msgspec.structs.replace(state, **fields)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


@pytest.fixture
def store(root: str) -> Iterator[Store]:
    before = os.listdir("/proc/self/fd")
    with Store(root) as opened:
        yield opened
    assert len(os.listdir("/proc/self/fd")) == len(before)


def file_of(store: Store, name: str = "state.json", id: str = "c") -> str:
    return os.path.join(store.path, id, name)


# The root


def test_root_and_all_below_it_is_ours_alone_whatever_the_umask(root: str) -> None:
    for mask in (0o000, 0o777):
        before = os.umask(mask)
        try:
            with Store(root) as store, store.create("c", make_record(), b"{}"):
                store.save("c", make_state())
                gate = store.bind_gate("c")
                gate.close()
                modes = {
                    name: stat.S_IMODE(os.stat(file_of(store, name)).st_mode)
                    for name in (".", "record.json", "config.json", "state.json", "gate")
                }
                store.remove("c")
        finally:
            os.umask(before)
        assert modes.pop(".") == 0o700
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(os.stat(root).st_mode) & 0o777 == 0o700


def test_root_of_an_ordinary_user_is_sticky(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: os.getuid() or 1000)
    make_root(root)
    assert stat.S_IMODE(os.stat(root).st_mode) == 0o1700


@pytest.mark.parametrize("path", ["/", "//", "/run/..", "/../"])
def test_slash_is_refused(path: str) -> None:
    with pytest.raises(SpecError, match="kept in /") as caught:
        Store(path)
    assert caught.value.origin == "root"


def test_missing_parents_are_made_private(tmp_path: Path) -> None:
    Store(str(tmp_path / "a/b/c")).close()
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) & 0o777 == 0o700


def test_root_that_somebody_else_makes_meanwhile(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = os.mkdir

    def lose(path: str, mode: int) -> None:
        mkdir(path, mode)
        if path == os.path.dirname(root) + "/a":
            mkdir(path + "/b", mode)

    monkeypatch.setattr(module.os, "mkdir", lose)
    make_root(os.path.dirname(root) + "/a/b")
    os.symlink("missing", root)
    with pytest.raises(FileNotFoundError):
        make_root(root + "/below")


def test_missing_root_is_an_error_unless_made(root: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(root, make=False)
    assert caught.value.errno == errno.ENOENT
    assert not os.path.exists(root)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_root_that_others_may_write_is_refused(root: str, mode: int) -> None:
    os.mkdir(root)
    os.chmod(root, mode)
    with pytest.raises(SpecError, match="writable by nobody else"):
        Store(root)


def test_root_may_not_be_a_link(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "real", 0o700)
    os.symlink("real", tmp_path / "link")
    with pytest.raises(StoreError) as caught:
        Store(str(tmp_path / "link"))
    assert caught.value.errno == errno.ENOTDIR


def test_moving_the_root_changes_nothing(store: Store, root: str) -> None:
    store.create("c", make_record()).release()
    os.rename(root, root + ".moved")
    os.mkdir(root)
    store.save("c", make_state())
    assert store.ids() == ["c"]
    assert os.listdir(root) == []


def test_default_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime_dir = tmp_path / "run"
    runtime_dir.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime_dir))
    assert default_root(rootless=False) == "/run/aiocontainer"
    assert default_root(rootless=True) == f"{runtime_dir}/aiocontainer"
    fallback = f"/tmp/aiocontainer-{os.geteuid()}"
    os.chmod(runtime_dir, 0o770)
    assert default_root(rootless=True) == fallback
    for value in ("relative", "", str(tmp_path / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        assert default_root(rootless=True) == fallback


def test_root_of_a_namespace_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine of an ordinary user is root, but /run is not its own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(files, "_is_roots", lambda path: False)
    assert default_root() == f"{tmp_path}/aiocontainer"


# Ids

BAD_IDS = [
    *("", ".", "..", ".x", "a/b", "/a", "a\0b", "a\n", "a b", "x" * 256, "ä", "\udc80", "٣"),
    *("../../x", ".creating-1", ".deleting-1"),
]


@pytest.mark.parametrize("id", BAD_IDS)
def test_bad_ids_reach_no_system_call(store: Store, id: str) -> None:
    """Security test T05."""
    calls = (
        lambda: store.create(id, b"{}"),
        lambda: store.load(id),
        lambda: store.load_record(id),
        lambda: store.load_config(id),
        lambda: store.save(id, make_state()),
        lambda: store.lock(id),
        lambda: store.remove(id),
        lambda: store.bind_gate(id),
        lambda: store.connect_gate(id),
        lambda: store.has_gate(id),
        lambda: store.unlink_gate(id),
    )
    for call in calls:
        with pytest.raises(SpecError) as caught:
            call()
        assert caught.value.origin == "id"
    assert os.listdir(store.path) == []


@pytest.mark.parametrize("id", ["a", "-", "_x", "+", "a.b", "A-1.2+3", "x" * 255])
def test_good_ids(store: Store, id: str) -> None:
    store.create(id, make_record(id)).release()
    assert store.ids() == [id]
    store.remove(id)


# Coming and going


def test_create_save_load_remove(store: Store) -> None:
    state = make_state(annotations={"k": "v"}, rootless=True, facts={"keyring": True})
    with store.create("c", make_record(), b'{"root": {}}'):
        store.save("c", state)
    assert store.load("c") == state
    assert store.load_record("c").cgroup == CGROUP
    assert store.load_config("c") == b'{"root": {}}'
    store.remove("c")
    assert store.ids() == []
    assert os.listdir(store.path) == []
    for call in (store.load, store.load_record, store.load_config, store.lock, store.remove):
        with pytest.raises(NotFoundError):
            call("c")


def test_an_id_is_given_once(store: Store) -> None:
    with store.create("c", make_record(), b"first"), pytest.raises(ExistsError):
        store.create("c", make_record(), b"second")
    assert store.load_config("c") == b"first"
    assert os.listdir(store.path) == ["c"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_strange_object_under_the_name_stays(store: Store, kind: str) -> None:
    path = os.path.join(store.path, "c")
    if kind == "file":
        open(path, "w").close()
    else:
        os.symlink("/etc", path)
    with pytest.raises(ExistsError):
        store.create("c", make_record())
    for call in (store.load, store.load_record, store.lock):
        with pytest.raises(StateCorruptError, match="not a directory"):
            call("c")
    assert os.path.lexists(path)
    store.remove("c")
    assert os.listdir(store.path) == []
    assert os.path.isdir("/etc")


def test_one_of_fifty_creates_wins(store: Store) -> None:
    """Security test S15."""
    barrier = threading.Barrier(50)
    won, lost = [], []

    def create() -> None:
        barrier.wait()
        try:
            won.append(store.create("c", make_record()))
        except ExistsError as exc:
            lost.append(exc)

    threads = [threading.Thread(target=create) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 49)
    assert os.listdir(store.path) == ["c"]
    won[0].release()


def test_many_removes_and_sweeps_at_once(store: Store) -> None:
    for _ in range(20):
        store.create("c", make_record(), b"{}").release()
        outcomes: list[object] = []

        def remove(outcomes: list[object] = outcomes) -> None:
            try:
                outcomes.append(store.remove("c"))
            except NotFoundError as exc:
                outcomes.append(exc)
            store.sweep()

        threads = [threading.Thread(target=remove) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes.count(None) == 1
        assert len(outcomes) == 8
        assert os.listdir(store.path) == []


def test_leftovers_of_the_killed_are_swept_and_only_those(store: Store) -> None:
    for name in (".creating-0123", ".deleting-4567"):
        os.makedirs(os.path.join(store.path, name, "below", "further"))
        open(os.path.join(store.path, name, "record.json"), "w").close()
    os.mkdir(os.path.join(store.path, ".unknown"))
    with store.create("c", make_record()):
        unnamed, fd = store._make_unnamed()
        assert store.ids() == ["c"]
        assert sorted(os.listdir(store.path)) == sorted([".unknown", "c", unnamed])
        os.close(fd)
    assert store.ids() == ["c"]
    assert sorted(os.listdir(store.path)) == [".unknown", "c"]


def test_failing_to_create_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Security test S8: every call that can fail, one at a time."""
    for name in ("mkdir", "chmod", "open", "fchmod", "write", "fsync", "rename"):
        for code in (errno.ENOSPC, errno.EIO, errno.EMFILE):

            def fail(*args: object, code: int = code, **kwargs: object) -> None:
                raise OSError(code, os.strerror(code))

            with monkeypatch.context() as patch:
                patch.setattr(module.os, name, fail)
                with pytest.raises(StoreError) as caught:
                    store.create("c", make_record(), b"{}")
            assert caught.value.errno == code
            store.sweep()
            assert os.listdir(store.path) == []


def test_failing_to_save_keeps_the_old_state(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = make_state(), make_state(pid=1)
    store.create("c", make_record()).release()
    store.save("c", old)
    for name in ("write", "fsync", "rename", "fchmod"):

        def fail(*args: object, **kwargs: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(module.os, name, fail)
            with pytest.raises(StoreError) as caught:
                store.save("c", new)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.path == file_of(store, "").rstrip("/")
        assert store.load("c") == old
        assert sorted(os.listdir(file_of(store, "."))) == ["record.json", "state.json"]


def test_short_writes_are_completed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    store.create("c", make_record()).release()
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", lambda fd, data: write(fd, data[:7]))
        store.save("c", make_state())
    assert store.load("c").id == "c"


# Locks


def test_lock_excludes_and_shared_locks_share(store: Store) -> None:
    with store.create("c", make_record()) as created:
        assert store.lock("c") is None
        assert store.lock("c", shared=True) is None
        created.release()
        first, second = store.lock("c", shared=True), store.lock("c", shared=True)
        assert first is not None
        assert second is not None
        assert store.lock("c") is None
        first.release()
        second.release()
        with store.lock("c") as alone:
            assert alone is not None


def test_lock_of_a_deleted_namesake_is_not_given(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create("c", make_record(), b"old").release()
    opened = store._open

    def swap(id: str) -> int:
        fd = opened(id)
        monkeypatch.undo()
        store.remove("c")
        store.create("c", make_record(), b"new").release()
        return fd

    monkeypatch.setattr(store, "_open", swap)
    with store.lock("c") as lock:
        assert lock is not None
        assert store.lock("c") is None
    monkeypatch.setattr(store, "_open", lambda _: (opened("c"), monkeypatch.undo(), store.remove("c"))[0])
    with pytest.raises(NotFoundError):
        store.lock("c")


def test_lock_ends_with_its_process_and_outlives_a_fork(store: Store) -> None:
    code = (
        "import sys, time; from aiocontainer.store import Store; s = Store(sys.argv[1]);"
        "l = s.create('c', b'{}'); print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, store.path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        assert store.lock("c") is None
        with pytest.raises(StateError) as caught:
            store.load("c")
        assert caught.value.status == "creating"
        holder.kill()
    lock = store.lock("c")
    assert lock is not None
    copy = os.dup(lock._fd)  # what a fork at the wrong moment keeps
    lock.release()
    again = store.lock("c")
    assert again is not None
    again.release()
    os.close(copy)


def test_a_state_saved_while_we_look_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read = module.read_old
    answers = iter([None])
    with store.create("c", make_record()):
        store.save("c", make_state())
        monkeypatch.setattr(module, "read_old", lambda *args: next(answers, read(*args)))
        assert store.load("c").id == "c"


# Damage: security test S5


@pytest.fixture
def damaged(store: Store) -> Store:
    store.create("c", make_record(), b"{}").release()
    store.save("c", make_state())
    return store


def check_damage(store: Store) -> StateCorruptError:
    """Loading says so; the record, the list and the deletion do not depend on it."""
    with pytest.raises(StateCorruptError) as caught:
        store.load("c")
    assert caught.value.path == file_of(store)
    assert store.ids() == ["c"]
    assert store.load_record("c").cgroup == CGROUP
    lock = store.lock("c")
    assert lock is not None
    lock.release()
    return caught.value


def test_truncated_at_every_byte(damaged: Store) -> None:
    whole = make_state().encode()
    path = file_of(damaged)
    for size in range(len(whole)):
        with open(path, "wb") as file:
            file.write(whole[:size])
        check_damage(damaged)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "version 2"),
        ({"version": "1"}, "version '1'"),
        ({"version": True}, "version True"),
        ({"version": None}, "version None"),
        ({"id": "d"}, "belongs to container 'd'"),
        ({"pid": -1}, "pid"),
        ({"pid": True}, "pid"),
        ({"pid": 1.5}, "pid"),
        ({"pid": "1"}, "pid"),
        ({"pid": 2**31}, "pid"),
        ({"pid": 10**5000}, ""),
        ({"starttime": None}, "starttime"),
        ({"namespaces": {"mount": "x"}}, "namespaces"),
        ({"cgroup": {"paths": ["/x"]}}, "cgroup.paths"),
        ({"annotations": {"a": 1}}, "annotations"),
        ({"boot_id": 7}, "boot_id"),
    ],
)
def test_wrong_values(damaged: Store, change: dict[str, object], problem: str) -> None:
    document = json.loads(make_state().encode()) | change
    sys.set_int_max_str_digits(0)
    with open(file_of(damaged), "w") as file:
        json.dump(document, file)
    assert problem in check_damage(damaged).problem


def test_missing_keys(damaged: Store) -> None:
    whole = json.loads(make_state().encode())
    for key in ("version", "id", "bundle", "pid", "starttime", "boot_id", "created"):
        with open(file_of(damaged), "w") as file:
            json.dump({name: value for name, value in whole.items() if name != key}, file)
        check_damage(damaged)


@pytest.mark.parametrize("text", [b"[]", b"null", b"1", b"\xff", b"{} {}", b'{"a":' * 5000, b"\0" * 100])
def test_no_document(damaged: Store, text: bytes) -> None:
    with open(file_of(damaged), "wb") as file:
        file.write(text)
    check_damage(damaged)


def test_absent_link_fifo_socket_directory_huge_and_writable(damaged: Store) -> None:
    path = file_of(damaged)

    def put_socket() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(os.path.relpath(path))

    def put_huge() -> None:
        with open(path, "wb") as file:
            file.truncate(module._MAX_STATE_BYTES + 1)

    def put_writable() -> None:
        with open(path, "wb") as file:
            file.write(make_state().encode())
        os.chmod(path, 0o620)

    os.symlink("record.json", file_of(damaged, "link"))
    puts = (
        lambda: None,
        lambda: os.symlink("record.json", path),
        lambda: os.mkfifo(path),
        lambda: os.mkdir(path),
        put_socket,
        put_huge,
        put_writable,
    )
    for put in puts:
        if os.path.isdir(path):
            os.rmdir(path)
        elif os.path.lexists(path):
            os.unlink(path)
        put()
        check_damage(damaged)
    damaged.remove("c")
    assert os.listdir(damaged.path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives files to others")
@pytest.mark.parametrize("name", [".", "state.json"])
def test_other_owner(damaged: Store, name: str) -> None:
    os.chown(file_of(damaged, name), 12345, 12345)
    with pytest.raises(StateCorruptError, match="another user"):
        damaged.load("c")
    damaged.remove("c")
    assert os.listdir(damaged.path) == []


def test_a_state_of_an_earlier_boot_names_no_process(damaged: Store) -> None:
    own = os.pidfd_open(os.getpid())
    identity = identify(os.getpid(), own)
    os.close(own)
    damaged.save("c", make_state(pid=identity.pid, starttime=identity.starttime, boot_id="earlier"))
    assert open_process(damaged.load("c").identity) is None
    damaged.save("c", make_state(pid=identity.pid, starttime=identity.starttime))
    found = open_process(damaged.load("c").identity)
    assert found is not None
    os.close(found)


def test_damaged_record(damaged: Store) -> None:
    for text in (b"", b"{}", make_record("d"), make_record()[:-1], b'{"version": 1, "id": "c"}'):
        with open(file_of(damaged, "record.json"), "wb") as file:
            file.write(text)
        with pytest.raises(StateCorruptError) as caught:
            damaged.load_record("c")
        assert caught.value.path == file_of(damaged, "record.json")
        assert damaged.load("c").id == "c"


def test_unknown_keys_are_kept(damaged: Store) -> None:
    """K43: an older version may not lose what a newer one wrote."""
    document = json.loads(make_state().encode()) | {"future": {"a": [1, 2]}, "unknown": "mine"}
    with open(file_of(damaged), "w") as file:
        json.dump(document, file)
    state = damaged.load("c")
    assert state.unknown == {"future": {"a": [1, 2]}, "unknown": "mine"}
    damaged.save("c", msgspec.structs.replace(state, pid=7))
    with open(file_of(damaged)) as file:
        assert json.load(file) == document | {"pid": 7}


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), st.lists), st.data())
@settings(max_examples=200, deadline=None)
def test_decoding_is_total(value: object, data: st.DataObject) -> None:
    """Fuzz target F9: a state or StateCorruptError, whatever stands in a field."""
    document = json.loads(make_state().encode())
    document[data.draw(st.sampled_from(sorted(document)))] = value
    try:
        text = json.dumps(document).encode()
        state = decode_state(text, "c", "path")
    except StateCorruptError:
        return
    assert state.id == "c"
    assert isinstance(state.pid, int)


# Identity


def test_the_same_process_and_no_other() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        held = os.pidfd_open(child.pid)
        identity = identify(child.pid, held)
        again = open_process(identity)
        assert again is not None
        os.close(again)
        for other in (
            identity._replace(starttime=identity.starttime + 1),
            identity._replace(boot_id="other"),
            identity._replace(pid=os.getpid()),
            identity._replace(pid=0),
            identity._replace(pidfd_inode=1),
            identity._replace(pid=4_000_000),
        ):
            assert open_process(other) is None
        signal.pidfd_send_signal(held, signal.SIGKILL)
        os.waitid(os.P_PIDFD, held, os.WEXITED | os.WNOWAIT)
        assert open_process(identity) is None  # a zombie
        os.close(held)
    assert open_process(identity) is None


def test_a_thread_is_no_process() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert thread.native_id is not None
    assert open_process(Identity(thread.native_id, 1, boot_id())) is None
    stop.set()
    thread.join()


@given(st.binary(max_size=15).filter(lambda comm: b"\0" not in comm))
def test_a_command_name_forges_nothing(comm: bytes) -> None:
    """Fuzz target F11."""
    fields = [b"S", *(b"%d" % number for number in range(4, 53))]
    text = b"12 (" + comm + b") " + b" ".join(fields) + b"\n"
    assert parse_stat(text) == ("S", 22)


def test_timestamp() -> None:
    assert timestamp(1_700_000_000_000_000_042) == "2023-11-14T22:13:20.000000042Z"


# The gate


def test_gate_under_a_root_longer_than_a_socket_address(tmp_path: Path) -> None:
    root = str(tmp_path / ("x" * 200))
    with Store(root) as store, store.create("c" * 255, make_record("c" * 255)):
        id = "c" * 255
        assert not store.has_gate(id)
        with store.bind_gate(id) as gate:
            assert store.has_gate(id)
            assert store.gate_path(id) == f"{root}/{id}/gate"
            with store.connect_gate(id) as peer:
                with gate.accept()[0] as accepted:
                    peer.send(b"knock")
                    assert accepted.recv(100) == b"knock"
                assert not peer.getblocking()
                assert not os.get_inheritable(peer.fileno())
        with pytest.raises(StoreError) as caught:
            store.connect_gate(id)
        assert caught.value.errno == errno.ECONNREFUSED
        store.unlink_gate(id)
        store.unlink_gate(id)
        with pytest.raises(StoreError) as caught:
            store.connect_gate(id)
        assert caught.value.errno == errno.ENOENT
        assert not store.has_gate(id)


def test_gate_is_bound_once(store: Store) -> None:
    with store.create("c", make_record()), store.bind_gate("c"), pytest.raises(StoreError) as caught:
        store.bind_gate("c")
    assert caught.value.errno == errno.EADDRINUSE
