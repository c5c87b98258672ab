"""What a test needs of the machine: `@pytest.mark.needs("root", "cgroup2", "kernel>=5.12")`.

Each need is answered by a small probe, once.  A test whose needs are not met is skipped with the
reason; under ``--require`` (names, comma-separated) it fails instead, because that machine was
chosen for having them.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

__all__ = ["SYSTEM_PYTHON", "check_needs", "missing"]

Probe = Callable[[], bool]

SYSTEM_PYTHON = "/usr/bin/python3"
"""The distribution's: packages that pip cannot build are its."""


def read(path: str) -> str:
    """Content of a file of /proc or /sys, empty if there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def works(*command: str) -> bool:
    """Whether a command exists and ends with 0."""
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


def has_capability(number: int) -> bool:
    """Whether this process has it in its effective set.  capabilities(7)"""
    match = re.search(r"^CapEff:\s+(\w+)", read("/proc/self/status"), re.MULTILINE)
    return match is not None and bool(int(match[1], 16) >> number & 1)


def has_cgroup1() -> bool:
    return os.access("/sys/fs/cgroup/pids/tasks", os.W_OK)


def has_cgroup2() -> bool:
    return os.access("/sys/fs/cgroup/cgroup.procs", os.F_OK)


def has_systemd() -> bool:
    """systemd is PID 1 and its bus answers to a connection."""
    if read("/proc/1/comm").strip() != "systemd":
        return False
    with socket.socket(socket.AF_UNIX) as bus:
        return bus.connect_ex("/run/dbus/system_bus_socket") == 0


def has_ordinary_user() -> bool:
    """A user with subordinate ids, whom root can become."""
    names = {entry.pw_name for entry in pwd.getpwall() if entry.pw_uid >= 1000}
    owners = {line.split(":")[0] for line in read("/etc/subuid").splitlines()}
    return bool(names & owners) and shutil.which("newuidmap") is not None


def has_lsm(name: str) -> bool:
    return name in read("/sys/kernel/security/lsm").strip().split(",")


def passes_credentials() -> bool:
    """Every kind of socket has SO_PASSCRED, which CRIU before 4.2 reads of each (Linux 6.16 took it away)."""
    with socket.socket() as tcp:
        try:
            tcp.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED)
        except OSError:
            return False
    return True


def has_compiled() -> bool:
    """The library and the helper were built: an installed package, or one built in place."""
    import importlib.util

    directory = next(iter(importlib.util.find_spec("aiocontainer.native").submodule_search_locations))  # type: ignore[union-attr,arg-type]
    return os.path.exists(os.path.join(directory, "aiocontainer-helper"))


PROBES: dict[str, tuple[Probe, str]] = {
    "root": (lambda: os.geteuid() == 0, "root"),
    "userns": (lambda: works("unshare", "--user", "true"), "permission to make user namespaces"),
    "timens": (lambda: os.path.exists("/proc/self/ns/time"), "time namespaces"),
    "cgroup1": (has_cgroup1, "writable cgroup v1 hierarchies"),
    "cgroup2": (has_cgroup2, "a pure cgroup v2"),
    "systemd": (has_systemd, "systemd as PID 1 and its bus"),
    "overlay": (lambda: "overlay" in read("/proc/filesystems") or works("modprobe", "overlay"), "overlayfs"),
    "apparmor": (lambda: has_lsm("apparmor"), "AppArmor"),
    "selinux": (lambda: has_lsm("selinux"), "SELinux"),
    "resource": (lambda: has_capability(24), "CAP_SYS_RESOURCE"),
    "uidmap": (lambda: shutil.which("newuidmap") is not None, "newuidmap and newgidmap"),
    "user": (has_ordinary_user, "an ordinary user with subordinate ids"),
    "compiled": (has_compiled, "the compiled library"),
    "iproute": (lambda: shutil.which("ip") is not None, "ip of iproute2"),
    "glib": (lambda: works(SYSTEM_PYTHON, "-c", "from gi.repository import GLib"), "GLib's Python bindings"),
    "gcc": (lambda: shutil.which("gcc") is not None, "gcc"),
    "uvloop": (lambda: works(sys.executable, "-c", "import uvloop"), "uvloop"),
    "busybox": (lambda: works("busybox", "true"), "busybox"),
    "runc": (lambda: shutil.which("runc") is not None, "runc"),
    "crun": (lambda: shutil.which("crun") is not None, "crun"),
    "engines": (
        lambda: all(map(shutil.which, ("podman", "buildah", "ctr"))),
        "podman, buildah and containerd",
    ),
    "criu": (lambda: works("criu", "check"), "a CRIU that works with this kernel"),
    "criu-tracks": (
        lambda: works("criu", "check", "--feature", "mem_dirty_track"),
        "a kernel that tells CRIU which pages were written (CONFIG_MEM_SOFT_DIRTY)",
    ),
    "criu-tcp": (passes_credentials, "a kernel whose TCP sockets CRIU can read (SO_PASSCRED)"),
}


def kernel() -> tuple[int, int]:
    """Release of the running kernel."""
    major, minor = re.findall(r"\d+", os.uname().release)[:2]
    return int(major), int(minor)


@functools.cache
def missing(need: str) -> str | None:
    """What the machine lacks of *need*, in words; None if it has it."""
    version = re.fullmatch(r"kernel>=(\d+)\.(\d+)", need)
    if version is not None:
        return None if kernel() >= (int(version[1]), int(version[2])) else f"Linux {version[1]}.{version[2]}"
    if need not in PROBES:
        raise pytest.UsageError(f"needs({need!r}): no such need; known are kernel>=X.Y, {', '.join(PROBES)}")
    probe, words = PROBES[need]
    return None if probe() else words


def check_needs(item: pytest.Item) -> None:
    """Skip or fail *item* if the machine lacks something that it needs."""
    required = set(item.config.getoption("--require").split(","))
    needs = [need for mark in item.iter_markers("needs") for need in mark.args]
    lacking = {need: words for need in needs if (words := missing(need)) is not None}
    if not lacking:
        return
    reason = f"needs {', '.join(lacking.values())}"
    broken = [need for need in lacking if need.partition(">=")[0] in required]
    if broken:
        pytest.fail(f"{reason}; --require {','.join(broken)}", pytrace=False)
    pytest.skip(reason)
