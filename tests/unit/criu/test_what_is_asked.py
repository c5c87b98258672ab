"""What CRIU is told: options, what comes from outside, and what is read of its files."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from aiocontainer import CheckpointOptions, RestoreOptions, Spec, SpecError, UnsupportedError
from aiocontainer._aio import OwnedFd
from aiocontainer.container.externals import (
    bound,
    check_namespaces,
    descriptor_keys,
    dumped_mounts,
    read_mounts,
    restored_mounts,
)
from aiocontainer.container.rounds import checkpoint_in_rounds
from aiocontainer.criu.images import (
    Directories,
    error_lines,
    read_descriptors,
    write_descriptors,
    written_bytes,
)
from aiocontainer.criu.messages import DumpStats, Version
from aiocontainer.criu.options import dump_fields, restore_fields
from aiocontainer.criu.probing import Criu
from aiocontainer.plan.mountinfo import parse_mountinfo
from aiocontainer.spec import Namespace

if TYPE_CHECKING:
    from pathlib import Path

CRIU = Criu("criu", Version(4, 1, 1), frozenset({"mem_track", "lazy_pages"}))
OLD = Criu("criu", Version(3, 15), frozenset(), has_iptables=False)


def test_every_option_reaches_criu() -> None:
    asked = CheckpointOptions(
        parent="../1",
        leave_running=True,
        tcp_established=True,
        tcp_skip_in_flight=True,
        link_remap=True,
        ext_unix_sk=True,
        shell_job=True,
        file_locks=True,
        auto_dedup=True,
        lazy_pages=True,
        empty_network=True,
        manage_cgroups="full",
        network_lock="skip",
        page_server=("::1", 7777),
        status_fd=5,
        more={"ghost_limit": 1 << 24, "skip_mnt": ["/x"]},
    )
    fields = dump_fields(asked, CRIU)
    on = ("leave_running", "tcp_established", "tcp_skip_in_flight", "link_remap", "ext_unix_sk", "shell_job")
    assert all(fields[name] is True for name in (*on, "file_locks", "auto_dedup", "lazy_pages", "track_mem"))
    assert (fields["empty_ns"], fields["manage_cgroups_mode"], fields["network_lock"]) == (0x40000000, 4, 3)
    assert (fields["ps"], fields["parent_img"]) == ({"address": "::1", "port": 7777}, "../1")
    assert (fields["ghost_limit"], fields["skip_mnt"], fields["log_file"]) == (1 << 24, ["/x"], "dump.log")
    fields = restore_fields(
        RestoreOptions(tcp_close=True, lsm_profile="apparmor:x", veth_pairs={"eth0": "veth7"}), CRIU
    )
    assert (fields["tcp_close"], fields["rst_sibling"], fields["lsm_profile"]) == (True, True, "apparmor:x")
    assert fields["veths"] == [{"if_in": "eth0", "if_out": "veth7"}]


@pytest.mark.parametrize(
    ("options", "origin"),
    [
        ({"manage_cgroups": "some"}, "manage_cgroups"),
        ({"network_lock": "door"}, "network_lock"),
        ({"lazy_pages": True}, "lazy_pages"),
        ({"status_fd": 3}, "status_fd"),
        ({"parent": "/elsewhere"}, "parent"),
        ({"page_server": ("host", 70000)}, "page_server"),
        ({"more": {"pid": 1}}, "more.pid"),
        ({"more": {"nonesuch": 1}}, "more.nonesuch"),
        ({"more": {"ghost_limit": -1}}, "more.ghost_limit"),
        ({"more": {"ghost_limit": True}}, "more.ghost_limit"),
        ({"more": {"skip_mnt": "x"}}, "more.skip_mnt"),
        ({"more": {"tls_key": 3}}, "more.tls_key"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], origin: str) -> None:
    with pytest.raises(SpecError) as refused:
        dump_fields(CheckpointOptions(**options), CRIU)
    assert refused.value.origin == origin


def test_what_criu_cannot_do_is_refused() -> None:
    for options in (CheckpointOptions(pre_dump=True), CheckpointOptions(parent="../1")):
        with pytest.raises(UnsupportedError, match="mem_track"):
            dump_fields(options, OLD)
    with pytest.raises(UnsupportedError, match=r"CRIU 3\.17, this is 3\.15"):
        dump_fields(CheckpointOptions(network_lock="nftables"), OLD)
    with pytest.raises(UnsupportedError, match=r"CRIU 3\.16"):
        restore_fields(RestoreOptions(lsm_profile="apparmor:x"), OLD)
    assert dump_fields(CheckpointOptions(), OLD)["network_lock"] is None
    with_nft = Criu("criu", Version(4, 0), frozenset(), has_iptables=False)
    assert dump_fields(CheckpointOptions(), with_nft)["network_lock"] == 2


INSIDE = b"""\
1 0 0:33 /b/rootfs / rw - tmpfs tmpfs rw
2 1 0:42 / /proc rw - proc proc rw
3 2 0:6 /null /proc/keys rw - devtmpfs udev rw
4 1 0:43 / /dev rw - tmpfs tmpfs rw
5 1 0:46 / /sys ro - sysfs sysfs ro
6 5 0:27 /x /sys/fs/cgroup ro - cgroup2 cgroup rw
7 1 254:0 /srv /mnt/data rw - ext4 /dev/vda rw
8 7 0:50 / /mnt/data/sub rw - tmpfs none rw
9 1 0:5 / /hostproc ro - proc proc rw
"""
HOST = b"""\
1 0 254:0 / / rw - ext4 /dev/vda rw
2 1 0:33 / /tmp rw - tmpfs tmpfs rw
3 1 0:6 / /dev rw - devtmpfs udev rw
4 1 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
5 1 0:50 / /srv/sub rw - tmpfs none rw
6 1 0:5 / /proc rw - proc proc rw
"""


def test_mounts_from_outside_have_keys_of_their_own() -> None:
    inside, host = (list(parse_mountinfo(text)) for text in (INSIDE, HOST))
    assert dumped_mounts(inside, host, ["/mnt/data", "/hostproc/"]) == [
        "mnt[/proc/keys]:node:null",
        "mnt[/mnt/data]:/mnt/data",
        "mnt[/mnt/data/sub]:/mnt/data/sub",
        "mnt[/hostproc]:/hostproc",
    ]
    found = restored_mounts({"/mnt/data": ("/srv", True), "/hostproc": ("/proc", False)}, host)
    assert {"mnt[/mnt/data]:/srv", "mnt[/mnt/data/sub]:/srv/sub", "mnt[/hostproc]:/proc"} <= set(found)
    assert "mnt[node:null]:/dev/null" in found
    assert "mnt[/hostproc/sub]:/proc/sub" not in found


def test_a_root_that_goes_with_the_container_is_refused() -> None:
    layer = list(parse_mountinfo(b"1 0 0:99 / / rw - overlay overlay rw\n"))
    with pytest.raises(UnsupportedError, match="throw-away layer"):
        dumped_mounts(layer, list(parse_mountinfo(HOST)), [])


def test_joined_namespaces() -> None:
    spec = Spec.default(["true"], rootfs="/")
    assert spec.linux is not None
    for type in ("network", "pid", "ipc", "uts"):
        joined = replace(spec.linux, namespaces=(Namespace(type=type, path="/x"),))  # type: ignore[arg-type]
        check_namespaces(replace(spec, linux=joined))
    for type in ("cgroup", "user", "mount", "time"):
        joined = replace(spec.linux, namespaces=(Namespace(type=type, path="/x"),))  # type: ignore[arg-type]
        with pytest.raises(UnsupportedError, match=f"joined {type} namespace"):
            check_namespaces(replace(spec, linux=joined))


def test_bound_mounts_are_those_of_the_host() -> None:
    from aiocontainer import Mount

    spec = Spec.default(["true"], rootfs="/").with_mount(Mount.bind("/srv", "/mnt"))
    assert [mount.destination for _, mount in bound(spec)] == ["/mnt"]


def test_descriptors_are_named_as_criu_names_them(tmp_path: Path) -> None:
    pid, mounts = os.getpid(), read_mounts("self")
    assert descriptor_keys(pid, mounts) == [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
    outside = descriptor_keys(pid, [])
    for number, key in enumerate(outside):
        target = os.readlink(f"/proc/self/fd/{number}")
        assert key == target or key.startswith(("file[", "tty["))
        if key.startswith("file["):
            assert int(key[:-1].split(":")[1], 16) == os.fstat(number).st_ino


def test_descriptors_are_noted_and_read_back(tmp_path: Path) -> None:
    directories = Directories(str(tmp_path / "images"), None, make=True)
    try:
        assert (tmp_path / "images").stat().st_mode & 0o777 == 0o700
        assert read_descriptors(directories.images) == []
        write_descriptors(directories.images, ["/dev/null", "pipe:[7]", "pipe:[8]"])
        assert read_descriptors(directories.images) == ["/dev/null", "pipe:[7]", "pipe:[8]"]
        (tmp_path / "images/pages-1.img").write_bytes(bytes(4096))
        assert written_bytes(directories.images) == 4096
    finally:
        directories.close()


@pytest.mark.parametrize("text", ["", "{", "3", '{"a": 1}', "[1]", "[" * 100000])
def test_a_note_that_makes_no_sense(tmp_path: Path, text: str) -> None:
    (tmp_path / "descriptors.json").write_text(text)
    with OwnedFd(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)) as fd:
        if len(text) > 65536:
            assert read_descriptors(fd) == []
        else:
            with pytest.raises(SpecError, match=r"descriptors\.json"):
                read_descriptors(fd)


def test_links_and_pipes_among_images_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(json.dumps(["pipe:[1]"]))
    images = tmp_path / "images"
    images.mkdir()
    with OwnedFd(os.open(images, os.O_RDONLY | os.O_DIRECTORY)) as fd:
        (images / "descriptors.json").symlink_to(secret)
        assert read_descriptors(fd) == []
        with pytest.raises(OSError, match="symbolic"):
            write_descriptors(fd, ["x"])
        (images / "descriptors.json").unlink()
        os.mkfifo(images / "descriptors.json")
        assert read_descriptors(fd) == []
    assert json.loads(secret.read_text()) == ["pipe:[1]"]


def test_lines_that_say_why() -> None:
    log = (
        "".join(f"line {number}\n" for number in range(20))
        + "(0.1) Error (x.c:1): first\nmore\nError second\n"
    )
    lines = error_lines(log.encode() + b"\xff last\n")
    assert lines == [
        *(f"line {n}" for n in range(15, 20)),
        "(0.1) Error (x.c:1): first",
        "more",
        "Error second",
    ]
    assert error_lines(b"") == []


@pytest.mark.parametrize(
    ("written", "most", "pages", "rounds"),
    [
        ([5000, 2000, 900, 1], 8, 1000, 3),
        ([5000, 2000, 900, 1], 2, 1000, 2),
        ([5000, 6000, 900, 1], 8, 1000, 2),
        ([10], 8, 1000, 1),
        ([], 0, 1000, 0),
    ],
)
async def test_rounds_go_on_as_long_as_they_pay(
    written: list[int], most: int, pages: int, rounds: int
) -> None:
    asked: list[dict[str, Any]] = []
    left = iter(written)

    async def checkpoint(**options: Any) -> DumpStats:
        asked.append(options)
        return DumpStats(pages_written=next(left) if options.get("pre_dump") else 7)

    counted = await checkpoint_in_rounds(checkpoint, "/i", most, pages, {"tcp_established": True})
    assert [stats.pages_written for stats in counted] == [*written[:rounds], 7]
    assert [each["images"] for each in asked] == [*(f"/i/{n + 1}" for n in range(rounds)), "/i/last"]
    assert [each["parent"] for each in asked] == [None, *(f"../{n + 1}" for n in range(rounds))]
    assert all(each["tcp_established"] for each in asked)
