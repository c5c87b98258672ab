"""The short way tells what the long way tells, and leaves to it whatever is not ordinary."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from aiocontainer.cli.show import compact, pretty
from aiocontainer.errors import NotFoundError
from aiocontainer.glance import Glance, Unusual, ids
from aiocontainer.store import Record, State, Store, boot_id
from aiocontainer.store.living import read_stat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> str:
    os.mkdir(tmp_path / "state", 0o700)
    return str(tmp_path / "state")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def put(root: str, id: str = "c", **changes: Any) -> None:
    """Make the state of a container whose process is ours, or as *changes* say."""
    pid = changes.pop("pid", os.getpid())
    state = State(
        id=id,
        bundle="/b",
        oci_version="1.3.0",
        created="2026-11-23T13:45:40.920167834Z",
        owner=0,
        boot_id=boot_id(),
        pid=pid,
        starttime=changes.pop("starttime", None) or read_stat(pid)[1],
        **changes,
    )
    with Store(root) as store, store.create(id, Record(id=id, bundle="/b", boot_id=boot_id()).encode()):
        store.save(id, state)


def test_there_is_none(root: str) -> None:
    with pytest.raises(NotFoundError):
        Glance(root, "c")
    assert ids(root) == []


@pytest.mark.parametrize("id", ["", ".x", "a/b", "\u00e4", "a" * 256])
def test_what_is_no_id_is_for_others_to_refuse(id: str, root: str) -> None:
    with pytest.raises(Unusual):
        Glance(root, id)


def test_running_and_stopped(root: str) -> None:
    put(root, "a")
    put(root, "b", starttime=1)  # somebody else has the number now
    with Glance(root, "a") as a, Glance(root, "b") as b:
        assert (a.status, b.status) == ("running", "stopped")
    assert ids(root) == ["a", "b"]


@pytest.mark.parametrize(
    ("file", "text", "status"),
    [("cgroup.freeze", "1\n", "paused"), ("cgroup.freeze", "0\n", "running"), ("other", "1\n", "running")],
)
def test_paused(file: str, text: str, status: str, root: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text)
    put(root, cgroup={"mode": "v2", "paths": {"": str(tmp_path)}})
    with Glance(root, "c") as glance:
        assert glance.status == status


@pytest.mark.parametrize(
    "damage",
    [
        lambda facts: facts | {"version": 2},
        lambda facts: facts | {"version": True},
        lambda facts: facts | {"id": "d"},
        lambda facts: facts | {"pid": "1"},
        lambda facts: facts | {"pid": True},
        lambda facts: facts | {"facts": []},
        lambda facts: facts | {"cgroup": {"mode": "v2", "paths": [1]}},
        lambda facts: [facts],
        lambda facts: None,
    ],
)
def test_a_damaged_state_is_for_others_to_tell_of(damage: Any, root: str) -> None:
    put(root)
    path = f"{root}/c/state.json"
    with open(path) as file:
        facts = json.load(file)
    with open(path, "w") as file:
        json.dump(damage(facts), file)
    with pytest.raises(Unusual):
        Glance(root, "c")


def test_truncated_state(root: str) -> None:
    put(root)
    os.truncate(f"{root}/c/state.json", 20)
    with pytest.raises(Unusual):
        Glance(root, "c")
    os.unlink(f"{root}/c/state.json")
    with pytest.raises(Unusual):
        Glance(root, "c")


def test_a_root_of_others(root: str) -> None:
    os.chmod(root, 0o777)
    with pytest.raises(Unusual):
        ids(root)


def test_kill(root: str, sleeper: subprocess.Popen[bytes]) -> None:
    put(root, pid=sleeper.pid, namespaces={"pid": 1})
    with Glance(root, "c") as glance:
        glance.kill(0)
        glance.kill(signal.SIGKILL)
    assert sleeper.wait() == -signal.SIGKILL


def test_killing_all_takes_more(root: str, sleeper: subprocess.Popen[bytes]) -> None:
    put(root, pid=sleeper.pid)
    with Glance(root, "c") as glance, pytest.raises(Unusual):
        glance.kill(signal.SIGKILL)
    assert sleeper.poll() is None


def test_delete(root: str, tmp_path: Path) -> None:
    os.makedirs(tmp_path / "above/mine/leaf")
    put(
        root,
        starttime=1,
        cgroup={"mode": "v2", "paths": {"": f"{tmp_path}/above/mine/leaf"}, "made": {"": 2}},
    )
    with Glance(root, "c") as glance:
        glance.delete()
    assert os.listdir(root) == []
    assert os.listdir(tmp_path / "above") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"facts": {"hooks": ["poststop"]}},
        {"facts": {"netDevices": {"eth0": "eth0"}}},
        {"boot_id": "other"},
        {"cgroup": {"mode": "v2", "paths": {"": "/sys/fs/cgroup/x"}, "unit": {"name": "x.scope"}}},
        {"cgroup": {"mode": "v2", "paths": {"": "/sys/fs/cgroup/x"}, "made": {"": 0}}},
    ],
)
def test_what_takes_more_to_delete_stays(changes: dict[str, Any], root: str) -> None:
    put(root, starttime=1)
    with Store(root) as store:
        document = json.loads(store.load("c").encode()) | changes
    with open(f"{root}/c/state.json", "w") as file:
        json.dump(document, file)
    with Glance(root, "c") as glance, pytest.raises(Unusual):
        glance.delete()
    assert os.listdir(root) == ["c"]


def test_a_locked_one_is_not_deleted(root: str) -> None:
    put(root, starttime=1)
    with Store(root) as store:
        lock = store.lock("c")
        assert lock is not None
        with lock, Glance(root, "c") as glance, pytest.raises(Unusual):
            glance.delete()
    assert os.listdir(root) == ["c"]


@pytest.mark.parametrize(
    "value", [{}, {"a": 'x"\u00e4\n', "b": {"c": "d"}, "n": 1}, [], [{"a": 1}, {"b": "<&>"}], {"e": {}}]
)
def test_json_is_that_of_the_library(value: Any) -> None:
    assert compact(value) == json.dumps(value, separators=(",", ":"))
    if isinstance(value, dict):
        assert pretty(value) == json.dumps(value, indent=2)
