"""Engines do with aiocontainer what they do with crun: podman as any user and with both managers.

Each runtime takes the tour with an engine's storage of its own; both at once.  `-rP` shows what both said.
AIOCONTAINER_TOUR=short takes a few of the steps.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from walk import Step, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent
LENGTH = os.environ.get("AIOCONTAINER_TOUR", "full")
WALK_S = 3600
USER = "tester"

SETUPS = [
    *(("podman", user, manager) for user in ("root", "rootless") for manager in ("cgroupfs", "systemd")),
    ("buildah", "root", "cgroupfs"),
    ("buildah", "rootless", "systemd"),
    ("ctr", "root", "cgroupfs"),
]
RUNTIMES = ("aiocontainer", "crun")


def tour(engine: str) -> str:
    return str(HERE / f"{engine}.tour")


def steps(engine: str, user: str) -> list[Step]:
    return read(tour(engine), user=user, short=LENGTH == "short")


CASES = [(setup, step) for setup in SETUPS for step in steps(*setup[:2])]


pytestmark = [
    pytest.mark.needs("root", "cgroup2", "systemd", "crun", "engines"),
    pytest.mark.timeout(WALK_S + 60),
]

Notes = dict[str, dict[str, Any]]

SAME = (
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b[0-9a-f]{12}\b", "ID"),
    (r"/\S*/(aiocontainer|crun|runc)\b", "RUNTIME"),
    (r"/var/tmp/aioc-test-[^/]*", "HOME"),
    (r'time="[^"]*"', "TIME"),
    (r"libpod-\w+\.scope|libpod-ID", "CGROUP"),
    # How a runtime says it is its own affair; podman says what kind of failure it is by its exit status.
    (r"Error: (OCI runtime error: )?RUNTIME: .*", "Error: RUNTIME: ..."),
    (r"(?m)^cgroup2? /sys/fs/cgroup", "cgroup /sys/fs/cgroup"),  # a word without a meaning
    (r"-\d+\.scope|run-\w+\.service|podman-\d+", "UNIT"),
)
"""What may differ."""


class Pair(NamedTuple):
    ours: Notes
    theirs: Notes


def plain(text: str) -> str:
    for pattern, word in SAME:
        text = re.sub(pattern, word, text)
    return text


def command(engine: str, user: str, manager: str, runtime: str, home: Path) -> list[str]:
    path = shutil.which(runtime)
    assert path is not None
    walk = ["python3", str(HERE / "walk.py"), tour(engine), LENGTH, path, manager, str(home / "results")]
    if user == "root":
        return walk
    shutil.chown(home, USER)
    return ["systemd-run", "--user", f"--machine={USER}@.host", "--pipe", "--wait", "--collect", "--quiet",
            "--property=Delegate=yes", *walk]  # fmt: skip


def notes_of(home: Path) -> Notes:
    """Those that are complete."""
    with contextlib.suppress(FileNotFoundError), open(home / "results") as file:
        return {note["name"]: note for note in map(json.loads, filter(lambda line: line[-1] == "\n", file))}
    return {}


@pytest.fixture(scope="module", autouse=True)
def lingering() -> Iterator[None]:
    """The ordinary user has a manager and a bus of his own."""
    subprocess.run(["loginctl", "enable-linger", USER], check=True)
    runtime_dir = Path(f"/run/user/{pwd.getpwnam(USER).pw_uid}")
    subprocess.run(["systemctl", "start", f"user@{runtime_dir.name}.service"], check=True)
    assert (runtime_dir / "bus").exists()
    yield
    subprocess.run(["loginctl", "disable-linger", USER], check=True)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """An ordinary user cannot keep what Python has compiled, and would wait for it each time."""
    modules = [importlib.util.find_spec(name) for name in ("aiocontainer", "msgspec")]
    paths = [path for each in modules if each is not None for path in each.submodule_search_locations or ()]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *paths], check=True)


@functools.cache  # a fixture would be made anew for each step: its parameter is another one
def walked(setup: tuple[str, str, str]) -> Pair:
    """What came of the tour with each runtime; as far as they came, if one did not get to the end."""
    engine, user, manager = setup
    homes = [Path(f"/var/tmp/aioc-test-{engine}-{user}-{manager}-{runtime}") for runtime in RUNTIMES]
    walkers = []
    try:
        for runtime, home in zip(RUNTIMES, homes, strict=True):
            home.mkdir()
            words = command(engine, user, manager, runtime, home)
            walkers.append(subprocess.Popen(words, stdin=subprocess.DEVNULL))
        end = time.monotonic() + WALK_S
        for walker in walkers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                walker.wait(end - time.monotonic())
        return Pair(*map(notes_of, homes))
    finally:
        for walker in walkers:
            walker.kill()
            walker.wait()
        for home in homes:  # layers are busy while podman has its storage mounted
            subprocess.run(["umount", "--recursive", "--lazy", home / "storage/overlay"], check=False)
            shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize(("setup", "step"), CASES, ids=[f"{'-'.join(s)}-{step.name}" for s, step in CASES])
def test_engine(setup: tuple[str, str, str], step: Step) -> None:
    ours, theirs = (notes[step.name] for notes in walked(setup))
    print(step.script, ours, theirs, sep="\n")
    assert seen(ours, step.any_stderr) == seen(theirs, step.any_stderr)


def seen(note: Mapping[str, Any], any_stderr: bool) -> tuple[object, ...]:
    return note["exit"], plain(note["out"]), "" if any_stderr else plain(note["err"])
