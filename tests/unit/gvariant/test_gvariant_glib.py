"""The same texts and values as GLib reads and writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from gvariant_cases import tree, variants
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_gvariant_text import INFERRED, MALFORMED, PIECES

from aiocontainer import gvariant
from aiocontainer.gvariant import GVariantError, Variant

if TYPE_CHECKING:
    from collections.abc import Callable

    Glib = Callable[..., tuple[Any, str]]

pytestmark = pytest.mark.needs("glib")

STRICTER = {
    "-": "GLib takes it for a zero",
    r"b'a\000b'": "GLib stops there",
    r"b'\777'": "GLib drops a bit",
    "{'a': 1, 'a': 2}": "GLib keeps both",
    "uint32 @i 5": "GLib believes the outer one",
    r"'\ud83d'": "GLib gives no value at all",
    r"'\U00110000'": "GLib gives no value at all",
    "'a\0b'": "a C string ends there",
    "'\ud800'": "cannot be given to GLib",
}
"""What we refuse and GLib does not, and why we do."""

LAXER = {"5e-324": "GLib takes a subnormal number for one that is too large"}

MORE = [
    *(
        "1 ",
        "[1,2,3.5e1]",
        "[0x10, 1.5]",
        "[08, 1.5]",
        "double 0x1p3",
        "double -0x1.8p-1",
        "1E5",
        "double 1E5",
    ),
    *(
        "1u",
        "00x1",
        "1-1",
        "5.5.5",
        "+nan",
        "-0",
        "-0.0",
        "infinity",
        "@()()",
        "@() ()",
        "(@as [],)",
        "<@as[]>",
    ),
    *("{true: 1}", "{1.5: 2}", "{@s 'a': 1}", "{just 'a': 1}", "[<1>, <'a'>]", "[{}, {1: 2}]", "@mas []"),
    *(
        "@mas just []",
        "@mv 5",
        "@ai [1, just 2]",
        "[@i 5, just 5]",
        "[just @i 5, 6]",
        "1\v",
        "\v1",
        "byte 'a'",
    ),
    *("@n 0777", "[[1], ['a']]", "@a{si} [{'a', 1}]", "@{si} {'a', 1}", "'a' 'b'", r"'\x\q'", r"b'\x\q'"),
    *("[({'a': <1>}, just nothing), (@a{sv} {}, just just 5)]", "[(1, []), (2, ['a'])]", "@a(st) [('a', 1)]"),
]


@pytest.mark.parametrize(
    "text", [text for text, *_ in (*INFERRED, *MALFORMED)] + MORE, ids=lambda text: repr(text)[:30]
)
def test_as_glib_reads_it(text: str, glib: Glib) -> None:
    if text in STRICTER:
        with pytest.raises(GVariantError):
            gvariant.parse(text)
        return
    expected, words = glib(text)
    try:
        found = tree(gvariant.parse(text))
    except GVariantError:
        found = None
    assert (found == expected) is (text not in LAXER), words


@pytest.mark.parametrize(
    "text",
    [text for text in STRICTER if "\0" not in text and "\ud800" not in text and r"\u" not in text.lower()],
)
def test_where_glib_is_laxer(text: str, glib: Glib) -> None:
    assert glib(text)[0] is not None


@given(variants())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_glib_reads_what_we_write(glib: Glib, variant: Variant) -> None:
    expected, words = glib(str(variant))

    assert expected == tree(variant), words


@given(variants())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_we_read_what_glib_writes(glib: Glib, variant: Variant) -> None:
    _, words = glib(str(variant))

    assert tree(gvariant.parse(words)) == tree(variant)


STRICTER_PROBLEMS = ("already", "of type", "does not belong", "no signature", "no character", "nested")


def _lax(text: str) -> bool:
    """Whether GLib is known to take more, or to be of another mind about hexadecimal numbers."""
    return any(mark in text for mark in ("\0", "\ud800", "\\u", "\\U", "-0x", "+0x", "\\0", "\\1", "\\8"))


@given(st.lists(PIECES, max_size=12).map("".join))
@example("[1,-0.0]")
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_we_read_glib_reads_alike(glib: Glib, text: str) -> None:
    try:
        found = gvariant.parse(text)
    except GVariantError:
        return
    if not _lax(text):
        assert glib(text)[0] == tree(found)


@given(variants(), st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_texts_are_refused_where_glib_refuses_them(
    glib: Glib, variant: Variant, data: st.DataObject
) -> None:
    text = str(variant)
    place = data.draw(st.integers(0, len(text)))
    text = text[:place] + data.draw(PIECES) + text[place + data.draw(st.integers(0, 2)) :]
    if _lax(text):
        return
    expected, words = glib(text)
    stricter = False
    try:
        found = tree(gvariant.parse(text))
    except GVariantError as exc:
        words += str(exc)
        found, stricter = None, any(word in exc.problem for word in STRICTER_PROBLEMS)
    assert found == expected or stricter, words
