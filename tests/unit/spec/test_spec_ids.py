"""Container ids, users and lists as people type them.  T05, T42"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.users import NO_USERS

from aiocontainer.errors import SpecError
from aiocontainer.spec import ascii_int, check_id, parse_list, parse_user


@pytest.mark.parametrize("id", ["a", "A9", "_", "-rf", "+x", "web-1.2_3", "0", "a..b", "x" * 255])
def test_ids(id: str) -> None:
    assert check_id(id) == id


@pytest.mark.parametrize(
    "id",
    [
        *(
            "",
            ".",
            "..",
            ".x",
            "../x",
            "a/b",
            "/a",
            "a\0b",
            "a\n",
            "\na",
            "a b",
            "a:b",
            "a@b",
            "a%b",
            "a\\b",
            "a*",
        ),
        *("x" * 256, "x" * 5000, "\u00e9", "a\u0660", "\ud800", "a\ud800", "\uff41", "a\u200b"),
    ],
)
def test_ids_that_are_refused(id: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_id(id)
    assert caught.value.origin == "id"


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("0", (0, None)),
        ("1", (1, None)),
        ("1:2", (1, 2)),
        ("1:0", (1, 0)),
        ("4294967294:4294967294", (2**32 - 2, 2**32 - 2)),
    ],
)
def test_users(text: str, user: tuple[int, int | None]) -> None:
    assert parse_user(text) == user


@pytest.mark.parametrize("text", NO_USERS)
def test_users_that_are_refused(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_user(text)
    assert caught.value.origin == "user"


@given(st.integers(min_value=0, max_value=2**40))
def test_numbers_round_trip(value: int) -> None:
    assert ascii_int(str(value), maximum=2**40, origin="n") == value


@given(st.text(max_size=6))
def test_only_plain_decimal_is_a_number(text: str) -> None:
    plain = text.isascii() and text.isdigit() and str(int(text)) == text
    try:
        value = ascii_int(text, maximum=10**6, origin="n")
    except SpecError:
        assert not plain
    else:
        assert plain
        assert value == int(text)


def test_lists() -> None:
    assert parse_list("0-3, 7,,65535", origin="x") == (range(4), range(7, 8), range(65535, 65536))
    assert parse_list("", origin="x") == ()
    assert len(parse_list("0-65535", origin="x")[0]) == 2**16


@pytest.mark.parametrize(
    "text", ["a", "3-1", "1-", "-1", "1--2", "65536", "0-65536", "1;2", "1" * 20, "\u0661", "1\n2"]
)
def test_lists_that_are_refused(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_list(text, origin="$.x")
    assert caught.value.origin == "$.x"
