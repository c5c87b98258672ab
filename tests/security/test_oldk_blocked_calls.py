"""OLDK: without some system calls, by a filter around us or around the helper alone.

There are no weaker ways to do what these calls do.  What is missing is told by name before anything is
touched; what turns out to be missing later ends the container with an error of ours.  Or it was not
needed, and then the container is what it always is.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.specs import shell

from aiocontainer import Runtime

from conftest import python_environment, report_of  # isort: skip - the one of this directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root", "gcc", "busybox", "compiled")

HERE = os.path.dirname(__file__)
MOUNT_API = ("fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "move_mount", "mount_setattr")
NEEDED = ("clone3", "close_range", "faccessat2", "openat2", "pidfd_open", "pidfd_send_signal", *MOUNT_API)
SETS = {"openat2": ("openat2",), "mount-api": MOUNT_API, "all": NEEDED}
# What the helper calls on its way, or might: one after the other it lacks each.
HELPERS = (
    *NEEDED,
    *("capset", "chdir", "chroot", "dup3", "execve", "execveat", "fchdir", "fchmod", "fchmodat", "fchmodat2"),
    *("fchownat", "fstat", "fstatfs", "getcwd", "getsockopt", "ioctl", "keyctl", "memfd_create", "mkdirat"),
    *("mknodat", "mount", "personality", "pipe2", "pivot_root", "prctl", "prlimit64", "readlinkat"),
    *("recvmsg", "rt_sigaction", "rt_sigprocmask", "sched_setaffinity", "sched_setscheduler", "sendmsg"),
    *("set_mempolicy", "setdomainname", "setgroups", "sethostname", "setns", "setpriority", "setresgid"),
    *("setresuid", "setsid", "socket", "statx", "symlinkat", "umask", "umount2", "unlinkat", "unshare"),
)


# What no container can do without: there is no other way to be taken.
SECURITY = (
    *("openat2", "fsopen", "fsconfig", "fsmount", "open_tree", "move_mount", "mount_setattr", "clone3"),
    *(
        "close_range",
        "pivot_root",
        "capset",
        "prctl",
        "setgroups",
        "setresuid",
        "setresgid",
        "statx",
        "unshare",
    ),
)


@pytest.fixture
def state(tmp_path: Path, snap: Leaks) -> str:
    directory = str(tmp_path / "state")
    snap.watch(directory)
    return directory


@pytest.fixture
def without(state: str, rootfs: str) -> Callable[..., dict[str, Any]]:
    """Function that has ``blocked.py`` do something without these calls; its report."""
    spec = shell("sleep 60", rootfs).encode().decode()
    id = f"aioc-test-{secrets.token_hex(4)}"

    def run(*calls: str, **request: Any) -> dict[str, Any]:
        text = json.dumps({"state": state, "spec": spec, "calls": calls, "id": id, **request})
        return report_of(sys.executable, os.path.join(HERE, "blocked.py"), text)

    return run


def nothing_is_left(state: str, rootfs: str, before: list[str]) -> None:
    assert not os.path.exists(state) or os.listdir(state) == []
    assert sorted(os.listdir(rootfs)) == before


@pytest.mark.parametrize("call", NEEDED)
def test_a_missing_call_is_named(
    without: Callable[..., dict[str, Any]], state: str, rootfs: str, call: str
) -> None:
    before = sorted(os.listdir(rootfs))
    report = without(call)
    assert report["error"] == "UnsupportedError", report
    assert report["needs"].startswith(f"{call}(2)"), report
    nothing_is_left(state, rootfs, before)


@pytest.mark.parametrize("calls", SETS.values(), ids=SETS)
def test_all_that_are_missing_are_named(
    without: Callable[..., dict[str, Any]], state: str, rootfs: str, calls: tuple[str, ...]
) -> None:
    before = sorted(os.listdir(rootfs))
    report = without(*calls)
    assert report["error"] == "UnsupportedError", report
    assert all(f"{call}(2)" in report["needs"] for call in calls), report
    nothing_is_left(state, rootfs, before)


@pytest.mark.parametrize("calls", SETS.values(), ids=SETS)
def test_command_line_names_it(state: str, rootfs: str, tmp_path: Path, calls: tuple[str, ...]) -> None:
    (tmp_path / "config.json").write_bytes(shell("true", rootfs).encode())
    command = f"import sys; sys.path.insert(0, {HERE!r}); from blocked import block, native; "
    command += f"native.libseccomp(); block({list(calls)!r}); "
    command += "from aiocontainer.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", command, "--root", state, "run", "aioc-test-oldk"],
        cwd=tmp_path,
        env=python_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode not in (0, -6, -11), done
    assert "Traceback" not in done.stderr, done.stderr
    assert f"{calls[0]}(2)" in done.stderr, done.stderr


@pytest.mark.parametrize("calls", SETS.values(), ids=SETS)
def test_exec_is_refused_and_the_container_runs_on(
    without: Callable[..., dict[str, Any]], state: str, calls: tuple[str, ...]
) -> None:
    assert "error" not in without(act="leave")
    report = without(*calls, act="exec")
    assert report.get("error") == "UnsupportedError", report
    assert without(act="exec") == {"exit": 0}
    assert without(act="end") == {"was": "running"}


async def test_what_runs_can_be_ended_without_them(
    without: Callable[..., dict[str, Any]], state: str
) -> None:
    """Ending takes a pidfd, and none of what making does."""
    assert "error" not in without(act="leave")
    calls = [call for call in NEEDED if not call.startswith("pidfd")]
    assert without(*calls, act="end") == {"was": "running"}
    async with Runtime(state) as runtime:
        assert [each async for each in runtime.list()] == []


def test_the_helper_lacks_one(without: Callable[..., dict[str, Any]]) -> None:
    """Closed, with an error of ours that has the kernel's reason; or it was not needed after all.

    The machine was asked before, and had everything.
    """
    reports = without(helpers=HELPERS)
    usual = reports.pop("")
    assert "error" not in usual, usual
    for call, report in reports.items():
        assert report.pop("left") == [], call
        if "error" not in report:
            assert report == usual, f"without {call} it is not the container that it should be"
            continue
        assert report["error"] in ("BootstrapError", "HelperError"), (call, report)
        # Where the helper does not even start, or cannot say it, there is the end of its socket.
        assert report["errno"] in (errno.ENOSYS, errno.EPIPE, 0), (call, report)
    made = {call for call, report in reports.items() if "error" not in report}
    assert not made & set(SECURITY), made
