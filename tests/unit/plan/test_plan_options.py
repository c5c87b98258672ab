"""Mount options: each word, their order, and F3 against a model that shares no code with the parser."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.flags import PROPAGATION
from aiocontainer.plan.mount_options import MOUNT_OPTIONS, MountOptions, parse_options, split_items

ORIGIN = "$.mounts[0].options"

# util-linux's numbers, told again on purpose.
FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "nodiratime": 0x80, "nosymfollow": 0x200000}
CLEARS = {"rw": 1, "suid": 2, "dev": 4, "exec": 8, "diratime": 0x80, "symfollow": 0x200000}
ATIME = {"noatime": 0x10, "relatime": 0, "strictatime": 0x20, "atime": 0, "norelatime": 0, "nostrictatime": 0}
SUPERBLOCK = ("sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand")
REFUSED = ("z", "Z", "iversion")
ELSEWHERE = ("remount", "idmap", "ridmap", "tmpcopyup", "copy-symlink", "src-nofollow", "dest-nofollow")
SILENT = ("defaults", "silent", "loud", "noiversion")

# runc 1.5 and crun 1.27, as their `features` print them.
RUNC = """async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev
nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime
rbind rdev rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime
rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable
rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap"""
CRUN = "rasync rdirsync rmand rnomand rsync copy-symlink src-nofollow dest-nofollow"


def model(words: list[str]) -> dict[str, Any]:
    """What the words mean, one after the other, as the table in features.md has it."""
    flags: dict[tuple[bool, int], bool] = {}
    atime: dict[bool, int] = {}
    rest: dict[str, Any] = {
        "propagation": [],
        "superblock": [],
        "data": [],
        "bind": False,
        "recursive": False,
    }
    for word in words:
        deep = word.startswith("r") and word[1:] in {**FLAGS, **CLEARS, **ATIME}
        name = word[1:] if deep else word
        if name in ATIME:
            atime[deep] = ATIME[name]
        elif name in FLAGS or name in CLEARS:
            flags[deep, FLAGS.get(name) or CLEARS[name]] = name in FLAGS
        elif word in PROPAGATION:
            rest["propagation"].append(PROPAGATION[word])
        elif word in SUPERBLOCK or word in {f"r{each}" for each in SUPERBLOCK}:
            rest["superblock"].append(word if word in SUPERBLOCK else word[1:])
        elif word in {"bind", "rbind"}:
            rest["bind"], rest["recursive"] = True, rest["recursive"] or word == "rbind"
        elif word not in SILENT:
            rest["data"].append(word)
    for deep, prefix in ((False, ""), (True, "recursive_")):
        on = sum(flag for (where, flag), state in flags.items() if where == deep and state)
        off = sum(flag for (where, flag), state in flags.items() if where == deep and not state)
        rest[f"{prefix}attrs"] = on | atime.get(deep, 0)
        rest[f"{prefix}cleared"] = off | (0x70 if deep in atime else 0)
    return rest


WORDS = sorted(set(MOUNT_OPTIONS) - set(REFUSED) - set(ELSEWHERE))


@given(st.lists(st.sampled_from([*WORDS, "size=1m", "mode=755", "newinstance"]), max_size=12))
def test_the_parser_agrees_with_the_model(words: list[str]) -> None:
    parsed = parse_options(words, ORIGIN)
    wanted = model(words)

    for name, value in wanted.items():
        assert getattr(parsed, name) == (tuple(value) if isinstance(value, list) else value), name


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=20), max_size=6))
def test_any_text_parses_or_is_refused(words: list[str]) -> None:
    with contextlib.suppress(SpecError, UnsupportedError):
        assert isinstance(parse_options(words, ORIGIN), MountOptions)


@pytest.mark.parametrize("word", f"{RUNC} {CRUN}".split())
def test_every_option_of_the_peers_is_known(word: str) -> None:
    assert word in MOUNT_OPTIONS


@pytest.mark.parametrize("word", REFUSED)
def test_what_is_not_implemented_is_refused_by_its_place(word: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        parse_options(["ro", word], ORIGIN)

    assert caught.value.origin == f"{ORIGIN}[1]"
    assert caught.value.needs


def test_a_later_word_overrides_an_earlier_one() -> None:
    assert parse_options(["ro", "rw"], ORIGIN).attrs == 0
    assert parse_options(["rw", "ro"], ORIGIN).attrs == 1
    assert parse_options(["noatime", "strictatime"], ORIGIN).attrs == 0x20


def test_an_atime_mode_always_clears_the_whole_field() -> None:
    """mount_setattr(2) refuses a mode otherwise."""
    for word in ATIME:
        assert parse_options([word], ORIGIN).cleared == 0x70
        assert parse_options([f"r{word}"], ORIGIN).recursive_cleared == 0x70


def test_several_options_in_one_entry_are_several_options() -> None:
    parsed = parse_options(["ro,nosuid,size=1m", "mode=755"], ORIGIN)

    assert parsed.attrs == 3
    assert parsed.data == ("size=1m", "mode=755")


def test_a_comma_in_quotes_or_after_a_backslash_does_not_split() -> None:
    assert parse_options(['context="system_u:object_r:x:s0:c1,c2"'], ORIGIN).data == (
        "context=system_u:object_r:x:s0:c1,c2",
    )
    assert split_items(r"lowerdir=/a\,b:/c,ro") == [r"lowerdir=/a\,b:/c", "ro"]


def test_an_option_without_a_name_is_refused() -> None:
    with pytest.raises(SpecError, match="has no name") as caught:
        parse_options(["ro", "=x"], ORIGIN)

    assert caught.value.origin == f"{ORIGIN}[1]"


def test_the_last_value_of_a_key_counts() -> None:
    assert parse_options(["mode=700", "mode=755"], ORIGIN).value("mode") == "755"
    assert parse_options(["newinstance"], ORIGIN).value("newinstance") == ""
    assert parse_options([], ORIGIN).value("mode") is None
