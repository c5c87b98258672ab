"""The text of cgroup files."""

from __future__ import annotations

from aiocontainer.cgroups.parse import parse_keyed, parse_pids


def test_pids_and_keyed() -> None:
    assert parse_pids(b"12\n0\n3\n") == [12, 3]
    assert parse_pids(b"") == []
    assert parse_keyed(b"populated 1\nfrozen 0\nnew\nodd x\n a 1\nbig 18446744073709551615\n") == {
        "populated": 1,
        "frozen": 0,
        "big": 2**64 - 1,
    }
