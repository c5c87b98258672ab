"""Steps and constants say what ``wire.h`` says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aiocontainer.plan import flags, steps
from aiocontainer.plan.steps import Step
from aiocontainer.spec import State

WIRE = Path(__file__).parents[3] / "_native" / "wire.h"


def constants() -> dict[str, int]:
    """Every enumerator of the header; comments aside, each has its value."""
    text = re.sub(r"/\*.*?\*/", "", WIRE.read_text(), flags=re.DOTALL)
    return {name: int(value) for name, value in re.findall(r"^\s+([A-Z_0-9]+) = (\d+),", text, re.MULTILINE)}


def step_classes() -> list[type[Step]]:
    found = [getattr(steps, name) for name in steps.__all__]
    return [each for each in found if isinstance(each, type) and issubclass(each, Step) and each is not Step]


def test_each_opcode_has_one_step_and_each_step_one_opcode() -> None:
    opcodes = {value for name, value in constants().items() if name.startswith("STEP_")}

    assert len(step_classes()) == len(opcodes)
    assert {each.op for each in step_classes()} == opcodes


def test_limits_are_those_of_the_header() -> None:
    limits = dict(re.findall(r"^#define (WIRE_MAX_\w+) (\d+)", WIRE.read_text(), re.MULTILINE))

    assert int(limits["WIRE_MAX_STEPS"]) == flags.WIRE_MAX_STEPS
    assert int(limits["WIRE_MAX_FDS"]) == flags.WIRE_MAX_FDS
    assert int(limits["WIRE_MAX_TEXT"]) == flags.WIRE_MAX_TEXT


@pytest.mark.parametrize("prefix", ["PAUSE_", "RESET_", "LABEL_", "MOUNT_", "PIVOT_"])
def test_flags_are_those_of_the_header(prefix: str) -> None:
    for name, value in constants().items():
        if name.startswith(prefix):
            assert getattr(flags, name) == value, name


def test_a_record_says_only_what_its_step_has() -> None:
    assert steps.SetSid("").record() == steps.Record()
    assert steps.OomScore("", -5).record().a == 2**64 - 5
    assert steps.Bind("", "/a", "/b", 1, 4).record().a == 1 | 4 << 32
    assert steps.PassFd("", 2, 7, (1, 3)).record() == steps.Record(fd=2, a=7, b=1, c=1 << 32 | 3)
    assert steps.Device("", "/d", 0o20666, 1, 5, 6, 7).record().b == 1 << 32 | 5
    assert steps.Credentials("", 1, 2, (3, 4)).record().data == b"\3\0\0\0\4\0\0\0"
    assert steps.Credentials("", 1, 2, None).record().c == 1
    state = State(oci_version="1.3.0", id="x", status="creating", pid=0, bundle="/b")
    hook = steps.Hook("", "/h", ("a", "b"), ("E=1",), state, "/d", 1500)
    data = b'{"ociVersion":"1.3.0","id":"x","status":"creating","pid":,"bundle":"/b"}'
    strings = ("/h", "/d", "a", "b", "E=1")
    assert hook.record() == steps.Record(
        a=2, b=1500, c=data.index(b"," + b'"bundle'), strings=strings, data=data
    )


@pytest.mark.parametrize("step", step_classes(), ids=lambda step: step.__name__)
def test_every_step_says_what_it_does(step: type[Step]) -> None:
    assert step.__str__ is not object.__str__
    assert "__str__" in vars(step)
