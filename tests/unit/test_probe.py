"""Reading the machine: the parsers on quoted text, and the whole on the machine at hand."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiocontainer import probe as module
from aiocontainer.plan.host import CgroupMode
from aiocontainer.plan.mountinfo import Hierarchy
from aiocontainer.probe import (
    below_user_manager,
    cgroup_mode,
    container_parent,
    manager_cgroup,
    parse_filesystems,
    parse_hugepage,
    parse_id_map,
    parse_release,
    parse_status,
    parse_subordinate,
    parse_systemd_library,
    probe,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-fc-v669", (6, 18)), ("5.10", (5, 10)), ("6.1.0-18-amd64", (6, 1)), ("12.0rc1", (12, 0))],
)
def test_release(release: str, version: tuple[int, int]) -> None:
    assert parse_release(release) == version


@pytest.mark.parametrize("release", ["", "six", "6", "6.x", "\u0666.\u0661"])
def test_no_release(release: str) -> None:
    with pytest.raises(ValueError, match="kernel release"):
        parse_release(release)


def test_status() -> None:
    text = b"Name:\ta: b\\nCapPrm:\\t0\nUmask:\t0022\nCapPrm:\t000001ffffffffff\nNoNewPrivs:\t1\nnonsense\n"
    assert parse_status(text) == {
        "Name": "a: b\\nCapPrm:\\t0",
        "Umask": "0022",
        "CapPrm": "000001ffffffffff",
        "NoNewPrivs": "1",
    }


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("libsystemd-shared-252.so", 252),
        ("libsystemd-shared-257.9-1.fc42.so", 257),
        ("libsystemd-core-257.so", -1),
        ("libsystemd-shared-.so", -1),
        ("libsystemd-shared-99999.so", -1),
        ("systemd-logind", -1),
    ],
)
def test_version_of_the_manager(name: str, version: int) -> None:
    assert parse_systemd_library(name) == version


@pytest.mark.parametrize(
    ("own", "cgroup"),
    [
        ("/", "/"),
        ("/init.scope", "/"),
        ("/machine/init.scope", "/machine"),
        ("/a.init.scope", "/a.init.scope"),
    ],
)
def test_where_the_manager_makes_units(own: str, cgroup: str) -> None:
    assert manager_cgroup(own) == cgroup


def test_a_machine_without_the_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_systemd", lambda: False)
    assert probe().systemd == 0
    monkeypatch.setattr(module, "has_systemd", lambda: True)
    monkeypatch.setattr(
        module, "_list", lambda path: {"/usr/lib/systemd": ["libsystemd-shared-252.so"]}.get(path, [])
    )
    assert probe().systemd == 252
    monkeypatch.setattr(module, "_list", lambda _: [])
    assert probe().systemd == -1


def test_what_a_users_manager_passes_on(tmp_path: Path) -> None:
    own = tmp_path / "user@1000.service"
    own.mkdir()
    (own / "cgroup.controllers").write_text("memory pids\n")
    host = replace(probe(), cgroup_hierarchies={"": str(tmp_path)})

    below = below_user_manager(host, "/user@1000.service")
    assert below.user_manager_cgroup == "/user@1000.service"
    assert below.cgroup_controllers == {"memory", "pids"}
    assert not below_user_manager(host, "/elsewhere").cgroup_controllers


def test_id_map() -> None:
    assert parse_id_map(b"         0          0 4294967295\n") == ((0, 0, 2**32 - 1),)
    assert parse_id_map(b"0 1000 1\n1 100000 65536\n") == ((0, 1000, 1), (1, 100000, 65536))
    assert parse_id_map(b"") == ()


def test_filesystems() -> None:
    assert parse_filesystems(b"nodev\tsysfs\n\text4\nnodev\tcgroup2\n") == {"sysfs", "ext4", "cgroup2"}


def test_subordinate_ids() -> None:
    text = b"root:1:2\nme:100000:65536\n1000:200000:10\nme:300000:1\nyou:5:5\n"
    assert parse_subordinate(text, frozenset({b"me", b"1000"})) == (
        (100000, 65536),
        (200000, 10),
        (300000, 1),
    )
    assert parse_subordinate(text, frozenset({b"nobody"})) == ()


@pytest.mark.parametrize(
    "line",
    [
        *(b"me:1", b"me:1:2:3", b"me: 1:2", b"me:1:0", b"me:-1:2", b"me:1_0:2", b"me:+1:2", b"me:0x1:2"),
        *(b"me:1:" + b"9" * 5000, b"me:4294967295:1", b"me:\xd9\xa1:2", b"# me:1:2", b"me:1:\0"),
    ],
)
def test_malformed_subordinate_ids_are_nobodys(line: bytes) -> None:
    assert parse_subordinate(line + b"\nme:7:8\n", frozenset({b"me"})) == ((7, 8),)


@given(st.binary(max_size=200))
def test_subordinate_ids_stay_ids(text: bytes) -> None:
    """Fuzz target F7."""
    for first, count in parse_subordinate(b"me:" + text, frozenset({b"me"})):
        assert 0 <= first < first + count <= 2**32 - 1


def test_cgroup_mode_and_parent() -> None:
    unified = {"": Hierarchy("/sys/fs/cgroup", "/user.slice/a.scope", 1)}
    hybrid = {"pids": Hierarchy("/sys/fs/cgroup/pids", "/own", 2), "": Hierarchy("/u", "/", 3)}
    assert cgroup_mode({}) is CgroupMode.NONE
    assert cgroup_mode(unified) is CgroupMode.V2
    assert cgroup_mode(hybrid) is CgroupMode.V1
    assert container_parent(CgroupMode.V2, unified[""]) == "/sys/fs/cgroup/user.slice"
    assert container_parent(CgroupMode.V2, Hierarchy("/cg", "/", 1)) == "/cg"
    assert container_parent(CgroupMode.V1, hybrid["pids"]) == "/sys/fs/cgroup/pids/own"
    assert container_parent(CgroupMode.V1, hybrid[""]) == "/u"


def test_cgroups_that_we_may_not_write_are_not_delegated(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def access(path: str, mode: int, *, effective_ids: bool) -> bool:
        asked.append(path)
        return path != "/cg/cgroup.procs"

    monkeypatch.setattr(module.os, "access", access)
    assert not module._may_make_cgroups(CgroupMode.V2, {"": Hierarchy("/cg", "/a", 1)})
    assert asked == ["/cg", "/cg/cgroup.procs"]
    assert module._may_make_cgroups(CgroupMode.V1, {"pids": Hierarchy("/cg", "/a", 1)})
    assert not module._may_make_cgroups(CgroupMode.NONE, {})


@pytest.mark.parametrize(
    ("code", "known"),
    [(errno.ENOSYS, False), (errno.EINVAL, False), (errno.EPERM, True), (errno.ENOENT, True)],
)
def test_what_an_errno_says_about_a_call(code: int, *, known: bool) -> None:
    def call() -> int:
        raise OSError(code, os.strerror(code))

    assert module._works(call) is known


@pytest.mark.needs("compiled")
def test_the_machine_at_hand() -> None:
    before = len(os.listdir("/proc/self/fd"))
    host = probe()
    assert len(os.listdir("/proc/self/fd")) == before
    assert host.euid == os.geteuid()
    assert host.kernel == parse_release(os.uname().release)
    assert {"mount", "pid", "network", "user"} <= host.namespaces
    assert "mnt" not in host.namespaces
    assert {"proc", "tmpfs"} <= host.filesystems
    assert host.hard_limits["RLIMIT_NOFILE"] > 0
    assert host.cgroup_hierarchies.keys() == host.cgroup_own.keys()
    assert (host.cgroup_mode is CgroupMode.NONE) == (not host.cgroup_hierarchies)
    assert all(os.path.ismount(point) for point in host.cgroup_hierarchies.values())
    assert probe() == host


@pytest.mark.needs("compiled", "kernel>=5.12")
def test_a_kernel_of_the_floor_has_everything_that_is_needed() -> None:
    assert probe().missing_calls == ()


@pytest.mark.needs("compiled")
def test_probing_is_quick() -> None:
    durations = []
    for _ in range(20):
        begun = time.perf_counter()
        probe()
        durations.append(time.perf_counter() - begun)
    assert min(durations) < 0.010  # 0.25 ms on an idle machine


@pytest.mark.needs("compiled")
def test_programs_that_cannot_gain_privileges_are_no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_tool", lambda name: f"/usr/bin/{name}")
    assert probe().newuidmap == "/usr/bin/newuidmap"
    status = parse_status
    monkeypatch.setattr(module, "parse_status", lambda text: status(text) | {"NoNewPrivs": "1"})
    assert (probe().newuidmap, probe().newgidmap) == (None, None)


def test_tools_are_not_looked_for_in_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/hostile")
    asked: list[str] = []
    monkeypatch.setattr(module.os, "access", lambda path, mode: asked.append(path))
    assert module._tool("newuidmap") is None
    assert asked
    assert all(path.startswith(("/usr/", "/bin/", "/sbin/")) for path in asked)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("hugepages-2048kB", "2MB"),
        ("hugepages-1048576kB", "1GB"),
        ("hugepages-64kB", "64KB"),
        ("hugepages-16777216kB", "16GB"),
        ("hugepages", None),
        ("hugepages-x1kB", None),
    ],
)
def test_sizes_of_huge_pages(name: str, size: str | None) -> None:
    assert parse_hugepage(name) == size
