"""passwd and group of an image: hostile text, read as data (T10, T42, T61, F7)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiocontainer.errors import SpecError
from aiocontainer.plan.user import MAX_BYTES, ResolvedUser, home_of, resolve_user

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# daemon:x:1:1::/d:/bin/sh
1000:x:0:0:evil:/evil:/bin/sh
web:x:33:33:web:/var/www:/bin/sh
web:x:34:34:second:/second:/bin/sh
nouid:x::0:::
neg:x:-1:0:::
big:x:4294967295:0:::
short:x:5
nohome:x:40:41:::
"""
GROUP = b"""root:x:0:
www:x:33:web
adm:x:4:web,other
again:x:4:web
7:x:0:
broken:x:y:web
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ResolvedUser(0, 0, (), "/root")),
        ("web", ResolvedUser(33, 33, (33, 4), "/var/www")),
        ("web:adm", ResolvedUser(33, 4, (), "/var/www")),
        ("web:9", ResolvedUser(33, 9, (), "/var/www")),
        ("1000", ResolvedUser(1000, 0, (), "/")),
        ("1000:1000", ResolvedUser(1000, 1000, (), "/")),
        ("33", ResolvedUser(33, 33, (33, 4), "/var/www")),
        ("root:7", ResolvedUser(0, 7, (), "/root")),
        ("2147483647", ResolvedUser(2**31 - 1, 0, (), "/")),
        ("nohome", ResolvedUser(40, 41, (), "/")),
    ],
)
def test_who_somebody_is(text: str, found: ResolvedUser) -> None:
    assert resolve_user(text, PASSWD, GROUP) == found


@pytest.mark.parametrize(
    "text",
    [
        *("-1", "+1", "0x1", " 1", "1\n", "1_0", "4294967295", "4294967296", "\u0661", "00", "01"),
        *("nouid", "neg", "big", "short", "x", "# daemon"),
        *("0:", "web:", "web:none", "web:-1", "web:4294967295", "0:\u0661"),
    ],
)
def test_nobody_becomes_root_by_mistake(text: str) -> None:
    with pytest.raises(SpecError):
        resolve_user(text, PASSWD, GROUP)


def test_home() -> None:
    assert home_of(PASSWD, 0) == "/root"
    assert home_of(PASSWD, 33) == "/var/www"
    assert home_of(PASSWD, 40) is None
    assert home_of(PASSWD, 1) is None
    assert home_of(b"", 0) is None
    assert home_of(b"a" * (MAX_BYTES - 1) + b"\nroot:x:0:0::/root:/bin/sh\n", 0) is None


def test_bytes_that_are_no_text_do_not_hide_the_rest() -> None:
    assert home_of(b"\xff\xfe:x:5:5::/a:\nb\0b:x:6:6::/x:\nok:x:7:7::/ok:\n", 7) == "/ok"
    assert home_of(b"b\0b:x:6:6::/x:\n", 6) is None


@given(st.binary(max_size=400), st.binary(max_size=200), st.text(max_size=12))
def test_any_files_give_a_user_or_a_refusal(passwd: bytes, group: bytes, text: str) -> None:
    with contextlib.suppress(SpecError):
        found = resolve_user(text, passwd, group)
        assert 0 <= found.uid < 2**31
        assert 0 <= found.gid < 2**31


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-5, 2**33)), max_size=6), st.sampled_from("abc")
)
def test_the_first_entry_that_is_one_counts(entries: list[tuple[str, int]], name: str) -> None:
    passwd = "".join(f"{each}:x:{uid}:0:::\n" for each, uid in entries).encode()
    uids = [uid for each, uid in entries if each == name and 0 <= uid < 2**31]

    if uids:
        assert resolve_user(name, passwd, b"").uid == uids[0]
    else:
        with pytest.raises(SpecError):
            resolve_user(name, passwd, b"")
