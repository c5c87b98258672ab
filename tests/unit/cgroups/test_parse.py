"""The text of cgroup files."""

from __future__ import annotations

import pytest

from aiocontainer.cgroups.parse import parse_keyed, parse_pids, restoring


def test_pids_and_keyed() -> None:
    assert parse_pids(b"12\n0\n3\n") == [12, 3]
    assert parse_pids(b"") == []
    assert parse_keyed(b"populated 1\nfrozen 0\nnew\nodd x\n a 1\nbig 18446744073709551615\n") == {
        "populated": 1,
        "frozen": 0,
        "big": 2**64 - 1,
    }


@pytest.mark.parametrize(
    ("file", "value", "before", "lines"),
    [
        ("pids.max", "7", b"max\n", ("max",)),
        ("memory.limit_in_bytes", "7", b"9223372036854771712\n", ("9223372036854771712",)),
        ("cpu.max", "1 2", b"max 100000\n", ("max 100000",)),
        ("cpuset.cpus", "0", b"\n", ("\n",)),
        ("cpuset.cpus", "0", b"", ("\n",)),
        ("memory.oom_control", "1", b"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", ("0",)),
        ("io.max", "8:0 rbps=1", b"", ("8:0 rbps=max wbps=max riops=max wiops=max",)),
        (
            "io.max",
            "8:0 rbps=1",
            b"8:16 rbps=1 wbps=max riops=max wiops=max\n8:0 rbps=max wbps=2 riops=max wiops=max\n",
            ("8:0 rbps=max wbps=2 riops=max wiops=max",),
        ),
        ("io.weight", "50", b"default 100\n8:0 7\n", ("100",)),
        ("io.bfq.weight", "8:0 50", b"default 100\n8:0 7\n", ("8:0 7",)),
        ("io.bfq.weight", "8:16 50", b"default 100\n8:0 7\n", ("8:16 default",)),
        ("blkio.bfq.weight", "50", b"100\n", ("100",)),
        ("blkio.throttle.read_bps_device", "8:0 1", b"", ("8:0 0",)),
        ("blkio.throttle.read_bps_device", "8:0 1", b"8:0 9\n", ("8:0 9",)),
        ("net_prio.ifpriomap", "eth0 3", b"lo 0\neth0 5\n", ("eth0 5",)),
        (
            "rdma.max",
            "a hca_handle=1",
            b"a hca_handle=max hca_object=2\n",
            ("a hca_handle=max hca_object=2",),
        ),
        ("misc.max", "a 1", b"a max\nb 3\n", ("a max",)),
        ("new.file", "a", b"a 1\nb 2\n", ("a 1", "b 2")),
    ],
)
def test_what_undoes_a_write(file: str, value: str, before: bytes, lines: tuple[str, ...]) -> None:
    assert restoring(file, value, before) == lines
