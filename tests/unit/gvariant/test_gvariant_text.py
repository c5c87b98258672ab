"""Reading and writing GVariant's text format, without a reference."""

from __future__ import annotations

import contextlib
import enum
import signal
import time
from typing import Any

import pytest
from gvariant_cases import tree, variants
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocontainer import gvariant
from aiocontainer.errors import SpecError
from aiocontainer.gvariant import GVariantError, Just, Variant
from aiocontainer.gvariant.types import signature_problem

INFERRED = [
    ("true", "b", True),
    ("false", "b", False),
    ("5", "i", 5),
    ("+5", "i", 5),
    ("-5", "i", -5),
    ("0x10", "i", 16),
    ("-0x10", "i", -16),
    ("0x00ff", "i", 255),
    ("017", "i", 15),
    ("5.0", "d", 5.0),
    (".5", "d", 0.5),
    ("5.", "d", 5.0),
    ("1e3", "d", 1000.0),
    ("1e-400", "d", 0.0),
    ("5e-324", "d", 5e-324),
    ("inf", "d", float("inf")),
    ("-inf", "d", float("-inf")),
    ("byte 0xff", "y", 255),
    ("int16 -32768", "n", -32768),
    ("uint16 65535", "q", 65535),
    ("int32 5", "i", 5),
    ("uint32 4294967295", "u", 4294967295),
    ("int64 -9223372036854775808", "x", -(2**63)),
    ("uint64 18446744073709551615", "t", 2**64 - 1),
    ("uint64 0xffffffffffffffff", "t", 2**64 - 1),
    ("uint64 123456789", "t", 123456789),
    ("handle 0", "h", 0),
    ("double 5", "d", 5.0),
    ("boolean true", "b", True),
    ("string 'a'", "s", "a"),
    ("objectpath '/a/b'", "o", "/a/b"),
    ("signature 'a{sv}'", "g", "a{sv}"),
    ("@t 5", "t", 5),
    ("@u uint32 5", "u", 5),
    ("'inactive-or-failed'", "s", "inactive-or-failed"),
    ('"it\'s"', "s", "it's"),
    (r"'it\'s'", "s", "it's"),
    (r"'\a\b\f\n\r\t\v\\\"'", "s", '\a\b\f\n\r\t\v\\"'),
    (r"'\u00e9\U0001f600'", "s", "é😀"),
    ("'é😀'", "s", "é😀"),
    ("'a\\\nb'", "s", "ab"),
    (r"b'a\tb\001\377'", "ay", b"a\tb\x01\xff\0"),
    ('b"it\'s"', "ay", b"it's\0"),
    ("b''", "ay", b"\0"),
    ("b'é'", "ay", "é".encode() + b"\0"),
    ("[1, 2]", "ai", [1, 2]),
    ("[1, 2.5, 3]", "ad", [1.0, 2.5, 3.0]),
    ("[uint32 1, 2]", "au", [1, 2]),
    ("[1, uint32 2]", "au", [1, 2]),
    ("[byte 1, 2]", "ay", b"\x01\x02"),
    ("@ay [1, 2]", "ay", b"\x01\x02"),
    ("['a', objectpath '/b']", None, None),
    ("['/a', objectpath '/b']", "ao", ["/a", "/b"]),
    ("[[], [1]]", "aai", [[], [1]]),
    ("[[1], [2.5]]", "aad", [[1.0], [2.5]]),
    ("@as []", "as", []),
    ("(@as [], 1)", "(asi)", ([], 1)),
    ("()", "()", ()),
    ("(1,)", "(i)", (1,)),
    ("(1, 'a')", "(is)", (1, "a")),
    ("[(1, 2), (3, 4.5)]", "a(id)", [(1, 2.0), (3, 4.5)]),
    ("{'a': 1}", "a{si}", {"a": 1}),
    ("{1: 'a', 2.5: 'b'}", "a{ds}", {1.0: "a", 2.5: "b"}),
    ("@a{sv} {}", "a{sv}", {}),
    ("{'a', 1}", "{si}", ("a", 1)),
    ("[{'a', 1}, {'b', 2}]", "a{si}", {"a": 1, "b": 2}),
    ("{'a': <1>, 'b': <'c'>}", "a{sv}", {"a": Variant("i", 1), "b": Variant("s", "c")}),
    ("<<1>>", "v", Variant("v", Variant("i", 1))),
    ("@v <1>", "v", Variant("i", 1)),
    ("just 5", "mi", Just(5)),
    ("@mi 5", "mi", Just(5)),
    ("@mmi 5", "mmi", Just(Just(5))),
    ("@mi nothing", "mi", None),
    ("[1, nothing]", "ami", [Just(1), None]),
    ("[just 5, just just 6]", "ammi", [Just(Just(5)), Just(Just(6))]),
    ("[nothing, ('a',)]", "am(s)", [None, Just(("a",))]),
    (" \t\n\f\r[ 1\n,2 ] ", "ai", [1, 2]),
    ("[('/dev/sda', uint64 5), ('/dev/sdb', 6)]", "a(st)", [("/dev/sda", 5), ("/dev/sdb", 6)]),
]


@pytest.mark.parametrize(
    ("text", "signature", "value"), [each for each in INFERRED if each[1]], ids=lambda each: str(each)[:30]
)
def test_read(text: str, signature: str, value: Any) -> None:
    found = gvariant.parse(text)

    assert (found.signature, found.value) == (signature, value)
    assert tree(found) == tree(Variant(signature, value))  # 1 is not True, nor 1.0
    assert gvariant.parse(gvariant.format(found)) == found


MALFORMED = [
    ("", 1, "missing"),
    ("   ", 4, "missing"),
    ("inactive", 1, "no keyword"),
    ("True", 1, "begins no value"),
    ("truex", 1, "no keyword"),
    ("uint64", 7, "missing"),
    ("uint64 -1", 8, "out of range"),
    ("uint64 18446744073709551616", 8, "out of range"),
    ("uint64 999999999999999999999999", 8, "wide"),
    ("2147483648", 1, "out of range"),
    ("byte 256", 6, "out of range"),
    ("uint16 1 2", 10, "follow"),
    ("int32 5.5", 8, "'.'"),
    ("5x", 2, "'x'"),
    ("0x", 2, "'x'"),
    ("08", 2, "'8'"),
    ("1e", 2, "'e'"),
    ("-", 1, "'-'"),
    ("--5", 1, "'-'"),
    ("1_000", 2, "follow"),
    ("٣", 1, "begins no value"),
    ("1e999", 1, "too large"),
    ("double 'a'", 8, "wanted"),
    ("'abc", 1, "does not end"),
    ("'abc\\'", 1, "does not end"),
    ("\"abc'", 1, "does not end"),
    ("b'abc", 1, "does not end"),
    (r"'\ud83d'", 2, "no character"),
    (r"'\u12'", 2, "4 hexadecimal"),
    (r"'ab\U0001f60'", 4, "8 hexadecimal"),
    (r"'\U00110000'", 2, "no character"),
    (r"'\u0000'", 2, "no character"),
    (r"b'a\000b'", 4, "no byte"),
    (r"b'\777'", 3, "no byte"),
    ("'a\0b'", 3, "NUL"),
    ("'\ud800'", 2, "surrogate"),
    ("[]", 1, "any type"),
    ("{}", 1, "any type"),
    ("nothing", 1, "any type"),
    ("<[]>", 2, "any type"),
    ("(1)", 3, "','"),
    ("(1, 2,)", 7, "begins no value"),
    ("[1,]", 4, "begins no value"),
    ("[1 2]", 4, "','"),
    ("[1", 3, "','"),
    ("[true, 1]", 8, "share"),
    ("[uint32 1, uint64 2]", 12, "share"),
    ("[1, @i 2, nothing]", 11, "share"),
    ("{'a' 1}", 6, "':'"),
    ("{'a': 1", 8, "','"),
    ("{'a', 1, 2}", 8, "'}'"),
    ("{'a': 1, 'a': 2}", 10, "already"),
    ("{<1>: 2}", 2, "basic"),
    ("<1", 3, "'>'"),
    ("@", 2, "too early"),
    ("@z 1", 2, "no type"),
    ("@a* []", 3, "definite"),
    ("@(ii 1", 5, "too early"),
    ("@{vs} {1, 2}", 3, "basic"),
    ("@as[]", 4, "more follows"),
    ("@s 5", 4, "wanted"),
    ("@(ii) (1, 2, 3)", 7, "2 members"),
    ("uint32 @i 5", 8, "of type i"),
    ("objectpath 'a'", 12, "object path"),
    ("signature 'm'", 11, "signature"),
    ("%i", 1, "begins no value"),
    ("# comment", 1, "begins no value"),
]


@pytest.mark.parametrize(("text", "column", "reason"), MALFORMED, ids=lambda each: repr(each)[:30])
def test_malformed(text: str, column: int, reason: str) -> None:
    with pytest.raises(GVariantError) as caught:
        gvariant.parse(text, origin="here")

    assert (caught.value.origin, caught.value.column) == ("here", column)
    assert reason in caught.value.problem
    assert str(caught.value).startswith(f"here: column {column}: ")
    assert isinstance(caught.value, SpecError)


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("5", "t", 5),
        ("[]", "as", []),
        ("{}", "a{sv}", {}),
        ("[('/dev/sda', 5)]", "a(st)", [("/dev/sda", 5)]),
        ("'/a'", "o", "/a"),
        ("[1, 2]", "ay", b"\x01\x02"),
        ("5", "d", 5.0),
        ("nothing", "mi", None),
    ],
)
def test_read_as_a_type(text: str, signature: str, value: Any) -> None:
    assert gvariant.parse(text, signature) == Variant(signature, value)


@pytest.mark.parametrize(("text", "signature"), [("uint32 5", "t"), ("5.5", "t"), ("'a'", "t"), ("-1", "t")])
def test_what_is_typed_already_is_not_read_as_another(text: str, signature: str) -> None:
    with pytest.raises(GVariantError):
        gvariant.parse(text, signature)


@given(variants())
@settings(max_examples=150)
def test_writing_is_the_inverse_of_reading(variant: Variant) -> None:
    again = gvariant.parse(str(variant))

    assert again.signature == variant.signature
    assert tree(again) == tree(variant)
    assert gvariant.parse(str(variant), variant.signature) == again or "nan" in str(variant)


PIECES = st.sampled_from(
    [
        *"[](){}<>,:@'\"\\ 0189-+.exbn\0\n",
        *("true", "just ", "nothing", "uint32 ", "byte ", "@as ", "@m", "a{sv}", "@(is) ", "'a'", "b'a'"),
        *(r"\u0041", "\ud800", "é", "inf", "1e5", "0x1f", "2147483648"),
    ]
)


@given(st.lists(PIECES, max_size=20).map("".join) | st.text(max_size=30))
@settings(max_examples=500)
def test_any_text_is_read_or_refused_with_its_column(text: str) -> None:
    try:
        found = gvariant.parse(text)
    except GVariantError as exc:
        column = exc.column
    else:
        assert tree(gvariant.parse(str(found))) == tree(found)
        column = 1
    assert 1 <= column <= len(text) + 1


@pytest.mark.parametrize(
    "text",
    ["[" * 30000, "<" * 17 + "1" + ">" * 17, "@" + "a" * 30000, "just " * 10000, "uint32 " * 9000 + "1"],
)
def test_nesting_is_bounded(text: str) -> None:
    with pytest.raises(GVariantError, match=r"nested deeper than 16|is wanted"):
        gvariant.parse(text)


def test_implied_maybes_are_nested_too() -> None:
    nine = "@" + "m" * 9 + "v <"

    with pytest.raises(GVariantError, match="nested deeper than 16"):
        gvariant.parse(nine * 2 + "@i 1" + ">" * 2)
    assert gvariant.parse("[" * 16 + "1" + "]" * 16).signature == "a" * 16 + "i"


def test_size_is_bounded_and_time_is_linear() -> None:
    with pytest.raises(GVariantError, match="longer than 65536 bytes"):
        gvariant.parse("'" + "é" * 32768 + "'")
    began = time.process_time()
    for text in [
        "1" * 65000,
        "0x" + "f" * 65000,
        "." + "1" * 65000,
        "[" + "1," * 32000 + "1.5]",
        "'" + "\\u" * 32000,
    ]:
        with contextlib.suppress(GVariantError):
            gvariant.parse(text)
    assert time.process_time() - began < 5


class Level(enum.IntEnum):
    HIGH = 7


@pytest.mark.parametrize(
    ("signature", "value", "text"),
    [
        ("i", signal.SIGTERM, "15"),
        ("t", Level.HIGH, "uint64 7"),
        ("d", 5, "5.0"),
        ("as", ("a", "b"), "['a', 'b']"),
        ("(is)", [1, "a"], "(1, 'a')"),
        ("ay", bytearray(b"a\0"), "b'a'"),
        ("ay", b"\x01\x02", "[byte 0x01, 0x02]"),
        ("ay", b"it's\\\x7f\0", r"b'it\047s\134\177'"),
        ("s", "\u200e\ufeff\u2028'\\\n", "'\u200e\\ufeff\\u2028\\'\\\\\\n'"),
        ("ami", [None, Just(1)], "[@mi nothing, just 1]"),
        ("a{sv}", {"a": Variant("au", [1, 2])}, "{'a': <[uint32 1, 2]>}"),
    ],
)
def test_written(signature: str, value: Any, text: str) -> None:
    assert gvariant.format(Variant(signature, value)) == text


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        ("i", True),
        ("i", 2**31),
        ("y", -1),
        ("u", "1"),
        ("u", 1.0),
        ("b", 1),
        ("d", "1"),
        ("d", True),
        ("d", 10**400),
        ("s", b"a"),
        ("s", "a\0"),
        ("s", "\ud800"),
        ("o", "a"),
        ("g", "m"),
        ("ay", [1, 2]),
        ("as", "a"),
        ("as", {"a": 1}),
        ("a{ss}", [("a", "b")]),
        ("(ii)", (1,)),
        ("(ii)", 5),
        ("v", 5),
        ("mi", 5),
        ("i", None),
        ("", 5),
        ("ii", 5),
        ("a" * 17 + "i", []),
    ],
)
def test_a_value_not_of_its_type_is_not_written(signature: str, value: Any) -> None:
    with pytest.raises(GVariantError) as caught:
        gvariant.format(Variant(signature, value), origin="there")

    assert caught.value.origin == "there"


@pytest.mark.parametrize(
    ("signature", "problem"),
    [
        ("a{sv}", ""),
        ("a(st)", ""),
        ("mi", "D-Bus has no maybe (mi)"),
        ("a(ims)", "D-Bus has no maybe (ms)"),
        ("()", "D-Bus has no empty struct"),
        ("a()", "D-Bus has no empty struct"),
        ("{si}", "D-Bus has dictionary entries only in arrays"),
        ("(" + "i" * 254 + ")", "a signature of more than 255 bytes"),
    ],
)
def test_what_d_bus_does_not_carry(signature: str, problem: str) -> None:
    assert signature_problem(signature) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{'a': <[1, 2]>}", ""),
        ("[<just 1>]", "D-Bus has no maybe (mi)"),
        ("<<()>>", "D-Bus has no empty struct"),
        ("{'a': <{'b', 1}>}", "D-Bus has dictionary entries only in arrays"),
        ("[handle 0]", "a descriptor, which a text cannot pass"),
    ],
)
def test_values_that_d_bus_does_not_carry(text: str, problem: str) -> None:
    assert gvariant.dbus_problem(gvariant.parse(text)) == problem


def test_variants_of_another_library() -> None:
    value = gvariant.parse("({'a': <1>}, [<(<'x'>, b'y')>], just <2>, 5)")

    made = gvariant.convert(value, lambda signature, value: (signature, value))

    assert made == (
        "(a{sv}avmvi)",
        ({"a": ("i", 1)}, [("(vay)", (("s", "x"), b"y\0"))], Just(("i", 2)), 5),
    )
