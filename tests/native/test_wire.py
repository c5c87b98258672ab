"""Both sides read the same wire.h: sizes, names and opcodes agree."""

from __future__ import annotations

import contextlib
import os
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import Fields, Raw, step

from aiocontainer import native
from aiocontainer.errors import HelperError, SpecError
from aiocontainer.native import wire
from aiocontainer.native._lib import ffi, lib
from aiocontainer.plan import steps

WIRE_H = Path(__file__).parents[2] / "_native" / "wire.h"
CODES = {"uint32_t": "I", "int32_t": "i", "uint64_t": "Q", "int64_t": "q"}
LAYOUTS = {
    "wire_plan": wire.PLAN,
    "wire_step": wire.STEP,
    "wire_spawn": wire.SPAWN,
    "wire_reply": wire.REPLY,
    "wire_order": wire.ORDER,
}


def layout(name: str) -> str:
    """The struct of wire.h in the language of Python's `struct`."""
    text = re.sub(r"/\*.*?\*/", "", WIRE_H.read_text(), flags=re.DOTALL)
    body = re.search(rf"struct {name}\s*\{{(.*?)\}};", text, re.DOTALL)
    assert body is not None
    return "=" + "".join(CODES[kind] for kind in re.findall(r"(\w+) \w+;", body[1]))


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_that_of_the_header(name: str) -> None:
    assert LAYOUTS[name].format == layout(name)
    assert LAYOUTS[name].size == ffi.sizeof(f"struct {name}")


def all_steps(base: type[steps.Step] = steps.Step) -> list[type[steps.Step]]:
    return [cls for sub in base.__subclasses__() for cls in (sub, *all_steps(sub))]


def words(name: str) -> list[str]:
    return re.findall("[A-Z][a-z]*", name)


def test_each_opcode_has_one_class() -> None:
    opcodes = set(ffi.typeof("enum wire_op").elements)
    assert sorted(cls.op for cls in all_steps()) == sorted(opcodes)


# Where the two sides use different words; all others must agree.
WORDS = {
    "JoinNamespace": "JOIN_NS",
    "VerifyNamespace": "VERIFY_NS",
    "TimeNamespace": "TIME_NS",
    "NamespaceRoot": "NS_ROOT",
    "SetAttr": "SETATTR",
    "ReadOnly": "READONLY",
    "PassFd": "FD",
    "SetSid": "SETSID",
}


@pytest.mark.parametrize("cls", all_steps(), ids=lambda cls: cls.__name__)
def test_class_is_named_as_its_opcode(cls: type[steps.Step]) -> None:
    name = WORDS.get(cls.__name__) or "_".join(words(cls.__name__)).upper()
    assert cls.op == getattr(lib, f"STEP_{name}")


def test_nul_in_a_string_is_refused_with_its_origin() -> None:
    with pytest.raises(SpecError, match=r"\$\.test: a NUL"):
        native.encode_plan([step("HOSTNAME", strings=("a\0b",))], 0)


@pytest.mark.parametrize(
    "fields",
    [
        Fields(strings=("x",) * (lib.WIRE_MAX_STRINGS + 1)),
        Fields(data=bytes(lib.WIRE_MAX_DATA + 1)),
        Fields(b=2**64),
        Fields(c=-1),
        Fields(fd=2**31),
        Fields(strings=("\ud800",)),
        Fields(strings=("x" * (lib.WIRE_MAX_PLAN + 1),)),
    ],
)
def test_what_does_not_fit_is_refused(fields: Fields) -> None:
    with pytest.raises(SpecError):
        native.encode_plan([Raw(lib.STEP_EXEC, fields)], 0)


def test_too_many_steps_or_descriptors_are_refused() -> None:
    with pytest.raises(SpecError, match="steps"):
        native.encode_plan([step("SETSID")] * (lib.WIRE_MAX_STEPS + 1), 0)
    with pytest.raises(SpecError, match="descriptors"):
        native.encode_plan([step("SETSID")], wire.MAX_FDS + 1)


def test_bytes_that_are_no_text_travel_unchanged() -> None:
    raw = b"\xff\x80name"
    assert raw + b"\0" in native.encode_plan([step("HOSTNAME", strings=(os.fsdecode(raw),))], 0)


def test_sealed_plan_cannot_be_changed() -> None:
    fd = native.sealed_plan(b"plan")
    try:
        assert os.pread(fd, 10, 0) == b"plan"
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def reply(**fields: int) -> bytes:
    defaults = {"magic": lib.WIRE_MAGIC, "kind": lib.REPLY_PAUSED, "step": 0, "error": 0, "call": 0}
    return wire.REPLY.pack(*{**defaults, "fds": 0, "value": 0, **fields}.values())


def test_replies_are_read() -> None:
    assert native.decode_reply(reply(step=7), []) == (lib.REPLY_PAUSED, 7, 0, "", 0, (), b"")
    failed = reply(kind=lib.REPLY_FAILED, step=3, error=13, call=lib.CALL_OPENAT2)
    assert native.decode_reply(failed, []) == (lib.REPLY_FAILED, 3, 13, "openat2", 0, (), b"")
    spawned = reply(kind=lib.REPLY_SPAWNED, value=-11)
    assert native.decode_reply(spawned, []).value == -11
    hook = reply(kind=lib.REPLY_FAILED, error=125, call=lib.CALL_HOOK, value=-9) + b"output"
    assert native.decode_reply(hook, []) == (lib.REPLY_FAILED, 0, 125, "hook", -9, (), b"output")


GARBAGE = [
    b"",
    bytes(wire.REPLY.size),
    reply()[:-1],
    reply() + b"\0",
    reply(magic=1),
    reply(kind=0),
    reply(kind=99),
    reply(fds=1),
    reply(kind=lib.REPLY_SPAWNED, value=0),
    reply(kind=lib.REPLY_SPAWNED, value=5),
    reply(kind=lib.REPLY_SPAWNED, value=-5000),
    reply(kind=lib.REPLY_FAILED),
    reply(kind=lib.REPLY_FAILED, error=-1),
    reply(kind=lib.REPLY_FAILED, error=1, call=999),
    reply(error=1),
    reply(kind=lib.REPLY_FAILED, error=1, call=lib.CALL_OPENAT) + b"text",
    reply(kind=lib.REPLY_FAILED, error=1, call=lib.CALL_OPENAT, value=1),
    reply(kind=lib.REPLY_FAILED, error=125, call=lib.CALL_HOOK, value=256),
    reply(kind=lib.REPLY_FAILED, error=125, call=lib.CALL_HOOK) + bytes(lib.WIRE_MAX_TEXT + 1),
]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(HelperError):
        native.decode_reply(data, [])


def test_descriptors_of_garbage_are_closed() -> None:
    fds = os.pipe()
    with pytest.raises(HelperError):
        native.decode_reply(b"garbage", fds)
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


@given(st.binary(max_size=64), st.booleans())
def test_any_bytes_give_a_reply_or_the_one_error(data: bytes, with_magic: bool) -> None:
    if with_magic:
        data = struct.pack("=I", lib.WIRE_MAGIC) + data
    with contextlib.suppress(HelperError):
        native.decode_reply(data, [])
