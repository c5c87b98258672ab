"""Parsers of kernel text: quoted from real machines, and against what the kernel could ever write."""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiocontainer.plan.mountinfo import (
    Hierarchy,
    Mount,
    find_hierarchies,
    parse_mountinfo,
    parse_own,
)

HYBRID = b"""\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:2 master:1 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""


def test_mountinfo_of_a_hybrid_machine() -> None:
    mounts = list(parse_mountinfo(HYBRID))
    assert len(mounts) == 6
    assert mounts[2] == Mount(
        32,
        31,
        os.makedev(0, 29),
        "/",
        "/sys/fs/cgroup/cpu,cpuacct",
        "rw,relatime",
        ("shared:2", "master:1"),
        "cgroup",
        "cgroup",
        "rw,cpu,cpuacct",
    )
    assert list(parse_mountinfo(HYBRID, types=("cgroup", "cgroup2"))) == mounts[2:]


def test_this_machines_mountinfo() -> None:
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = list(parse_mountinfo(file.read()))
    assert any(mount.point == "/proc" and mount.type == "proc" for mount in mounts)
    assert all(mount.point.startswith("/") for mount in mounts)


def test_source_may_be_empty() -> None:
    (mount,) = parse_mountinfo(b"1 2 0:5 / /mnt rw -  tmpfs rw\n".replace(b" -  tmpfs", b" - tmpfs "))
    assert (mount.type, mount.source, mount.super_options) == ("tmpfs", "", "rw")


@pytest.mark.parametrize(
    "line",
    [
        b"1 2 0:5 / /mnt rw tmpfs tmpfs rw",
        b"1 2 0:5 / /mnt - tmpfs tmpfs rw",
        b"1 2 0:5 / /mnt rw - tmpfs tmpfs",
        b"1 2 0:5 / /mnt rw - ",
        b"x 2 0:5 / /mnt rw - tmpfs tmpfs rw",
        b"1 2 0 / /mnt rw - tmpfs tmpfs rw",
        b"1 2 99999999999999999999:5 / /mnt rw - tmpfs tmpfs rw",
        b"1",
    ],
)
def test_malformed_lines_are_errors(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - some come from int()
        list(parse_mountinfo(line))


def _escape(name: bytes) -> bytes:
    """Escape as the kernel does: seq_path() and mangle()."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes((byte,)) for byte in name)


_NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


@given(point=_NAMES, root=_NAMES, source=_NAMES, tags=st.lists(st.sampled_from(["shared:1", "master:7"])))
def test_names_forge_no_fields(point: bytes, root: bytes, source: bytes, tags: list[str]) -> None:
    """Fuzz target F11."""
    point, root = b"/" + point, b"/" + root
    fields = [b"9 8 7:6", _escape(root), _escape(point), b"rw", *(tag.encode() for tag in tags)]
    line = b" ".join(fields) + b" - cgroup " + _escape(source) + b" rw,pids"
    (mount,) = parse_mountinfo(line + b"\n")
    assert mount == Mount(
        9,
        8,
        os.makedev(7, 6),
        os.fsdecode(root),
        os.fsdecode(point),
        "rw",
        tuple(tags),
        "cgroup",
        os.fsdecode(source),
        "rw,pids",
    )


@given(st.binary(max_size=300))
def test_mountinfo_parser_is_total(text: bytes) -> None:
    with contextlib.suppress(ValueError):
        list(parse_mountinfo(text))


def test_a_line_of_a_mebibyte() -> None:
    point = b"/" + b"x" * (1 << 20)
    (mount,) = parse_mountinfo(b"1 2 0:5 / " + point + b" rw - overlay overlay rw")
    assert len(mount.point) == len(point)


def test_own_cgroups() -> None:
    text = b"9:name=systemd:/a\n4:memory:/with:colons:\n2:cpu,cpuacct:/\n0::/user.slice/\xff (deleted)\n"
    assert parse_own(text) == {
        "name=systemd": "/a",
        "memory": "/with:colons:",
        "cpu,cpuacct": "/",
        "": "/user.slice/\udcff (deleted)",
    }
    with pytest.raises(ValueError, match="too few fields"):
        parse_own(b"0:/\n")


def test_hierarchies_of_a_hybrid_machine_cpuset_first() -> None:
    own = {"": "/u", "name=systemd": "/s", "cpuacct,cpu": "/", "cpuset": "/", "memory": "/m"}
    found = find_hierarchies(parse_mountinfo(HYBRID), own)
    assert found == {
        "cpuset": Hierarchy("/sys/fs/cgroup/cpuset", "/", 31),
        "name=systemd": Hierarchy("/sys/fs/cgroup/systemd", "/s", 37),
        "cpuacct,cpu": Hierarchy("/sys/fs/cgroup/cpu,cpuacct", "/", 29),
        "": Hierarchy("/sys/fs/cgroup/unified", "/u", 38, ("nsdelegate",)),
    }
    assert next(iter(found)) == "cpuset"
    assert list(found)[-1] == ""


def test_a_mount_of_a_part_of_the_hierarchy() -> None:
    text = b"1 2 0:5 /docker/c /cg rw - cgroup2 cgroup2 rw\n"
    for own, relative in (("/docker/c", "/"), ("/docker/c/x", "/x")):
        assert find_hierarchies(parse_mountinfo(text), {"": own}) == {"": Hierarchy("/cg", relative, 5)}
    for elsewhere in ("/docker/cx", "/", "/../.."):
        assert find_hierarchies(parse_mountinfo(text), {"": elsewhere}) == {}
    outside = parse_mountinfo(b"1 2 0:5 / /cg rw - cgroup2 cgroup2 rw\n")
    assert find_hierarchies(outside, {"": "/../other"}) == {}
