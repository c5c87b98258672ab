"""Device rules: F12, the BPF program and the v1 lines against a last-match model."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from plan_hosts import V1, V2, compiled, spec, steps

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.device_filter import INSN_SIZE, device_filter
from aiocontainer.plan.devices import DEFAULT_RULES, DeviceRule, device_rules
from aiocontainer.plan.steps import Bind, Device, Symlink
from aiocontainer.spec import Device as SpecDevice
from aiocontainer.spec import DeviceRule as SpecRule
from aiocontainer.spec import Linux, Mount, Resources

NUMBERS = (0, 1, 3, 5, 2**31, 2**32 - 1)
ACCESSES = ("r", "w", "m", "rw", "rm", "wm", "rwm")
BITS = {"m": 1, "r": 2, "w": 4}

numbers = st.none() | st.sampled_from(NUMBERS)
rules = st.builds(
    DeviceRule,
    allow=st.booleans(),
    type=st.sampled_from("bc"),
    major=numbers,
    minor=numbers,
    access=st.sampled_from(ACCESSES),
) | st.builds(DeviceRule, allow=st.booleans())
requests = st.tuples(
    st.sampled_from("bc"), st.sampled_from(NUMBERS), st.sampled_from(NUMBERS), st.sampled_from(ACCESSES)
)


def last_match(held: tuple[DeviceRule, ...], type: str, major: int, minor: int, access: str) -> bool:
    """Each access by itself: the last rule that speaks of it decides; none denies."""

    def decided(one: str) -> bool:
        for rule in reversed(held):
            fits = rule.type in ("a", type) and rule.major in (None, major) and rule.minor in (None, minor)
            if fits and one in rule.access:
                return rule.allow
        return False

    return all(decided(one) for one in access)


def interpret(program: bytes, type: str, major: int, minor: int, access: str) -> bool:
    """Run the few instructions that the compiler uses.  Linux Documentation/bpf/standardization."""
    context = struct.pack(
        "=III", sum(BITS[each] for each in access) << 16 | {"b": 1, "c": 2}[type], major, minor
    )
    instructions = list(struct.iter_unpack("=BBhi", program))
    registers = [0] * 11
    at = 0
    while True:
        code, pair, offset, immediate = instructions[at]
        to, source = pair & 15, pair >> 4
        unsigned = immediate & 0xFFFFFFFF
        at += 1
        if code == 0x61:
            assert source == 1
            registers[to] = struct.unpack_from("=I", context, offset)[0]
        elif code == 0xBC:
            registers[to] = registers[source] & 0xFFFFFFFF
        elif code == 0xB7:
            registers[to] = immediate
        elif code == 0x54:
            registers[to] &= unsigned
        elif code == 0x74:
            registers[to] = (registers[to] & 0xFFFFFFFF) >> immediate
        elif code == 0x55:
            at += offset if registers[to] != immediate & (2**64 - 1) else 0
        elif code == 0x56:
            at += offset if registers[to] & 0xFFFFFFFF != unsigned else 0
        elif code == 0x45:
            at += offset if registers[to] & immediate else 0
        elif code == 0x05:
            at += offset
        elif code == 0x95:
            return bool(registers[0])
        else:
            raise AssertionError(f"unknown instruction {code:#x}")


@given(st.lists(rules, max_size=12), requests)
def test_the_program_decides_as_the_last_match(
    held: list[DeviceRule], request: tuple[str, int, int, str]
) -> None:
    assert interpret(device_filter(held), *request) == last_match(tuple(held), *request)


@given(st.lists(rules, max_size=12))
def test_the_program_has_no_code_that_is_never_reached(held: list[DeviceRule]) -> None:
    """The verifier would refuse it."""
    program = device_filter(held)
    instructions = list(struct.iter_unpack("=BBhi", program))
    reached, todo = set(), [0]
    while todo:
        at = todo.pop()
        if at in reached:
            continue
        reached.add(at)
        code, _, offset, _ = instructions[at]
        if code == 0x05:
            todo.append(at + 1 + offset)
        elif code in (0x45, 0x55, 0x56):
            todo += [at + 1, at + 1 + offset]
        elif code != 0x95:
            todo.append(at + 1)

    assert len(program) == INSN_SIZE * len(instructions)
    assert reached == set(range(len(instructions)))


spec_rules = st.builds(
    SpecRule,
    allow=st.booleans(),
    type=st.sampled_from(["a", "b", "c", None]),
    major=numbers.map(lambda number: None if number is None else min(number, 4095)),
    minor=numbers.map(lambda number: None if number is None else min(number, 2**20 - 1)),
    access=st.sampled_from(ACCESSES),
)


def held_by(given_rules: tuple[SpecRule, ...], *, v1: bool) -> tuple[DeviceRule, ...]:
    return device_rules(Linux(resources=Resources(devices=given_rules)), v1=v1)


@given(st.lists(spec_rules, max_size=6), requests)
def test_v1_means_the_same_or_is_refused(
    given_rules: list[SpecRule], request: tuple[str, int, int, str]
) -> None:
    wanted = held_by(tuple(given_rules), v1=False)
    try:
        lines = held_by(tuple(given_rules), v1=True)
    except UnsupportedError:
        return

    # One verdict for all first, then only exceptions from it: what the two files can hold.
    assert lines[0].type == "a"
    assert all(rule.allow != lines[0].allow for rule in lines[1:])
    assert last_match(lines, *request) == last_match(wanted, *request)


def test_everything_is_denied_but_the_devices_of_every_container() -> None:
    held = device_rules(Linux(), v1=False)

    assert held == DEFAULT_RULES
    assert last_match(held, "c", 1, 3, "rwm")
    assert last_match(held, "b", 8, 0, "m")
    assert not last_match(held, "b", 8, 0, "r")
    assert device_rules(Linux(), v1=True)[0].text == "a"


def test_default_devices_cannot_be_taken_away() -> None:
    held = held_by((SpecRule(allow=False, type="c", major=1, minor=3, access="rwm"),), v1=False)

    assert last_match(held, "c", 1, 3, "rw")


def test_a_hole_that_v1_cannot_have_is_refused() -> None:
    """Allowing all of a driver and denying one of it would end weaker or stricter than written."""
    given_rules = (
        SpecRule(allow=True, type="c", major=10, access="rwm"),
        SpecRule(allow=False, type="c", major=10, minor=229, access="rw"),
    )

    with pytest.raises(UnsupportedError) as caught:
        held_by(given_rules, v1=True)
    assert caught.value.origin == "$.linux.resources.devices[1]"
    assert not last_match(held_by(given_rules, v1=False), "c", 10, 229, "r")


def test_a_rule_without_access_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        held_by((SpecRule(allow=True, type="c", major=1, minor=1),), v1=False)

    assert caught.value.origin == "$.linux.resources.devices[0].access"


def test_lines_for_the_files_of_v1() -> None:
    assert DeviceRule(allow=True, type="c", major=136).text == "c 136:* rwm"
    assert DeviceRule(allow=False, type="b", major=8, minor=1, access="r").text == "b 8:1 r"


# Nodes.


def test_nodes_are_made_where_they_can_be() -> None:
    plan = compiled(spec(), V2)

    assert [step.target for step in steps(plan, Device)] == [
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
        "/dev/tty",
    ]


def test_a_node_of_the_specification_replaces_a_default_one() -> None:
    node = SpecDevice(path="/dev/./null", type="c", major=1, minor=5, file_mode=0o20444)
    plan = compiled(spec(devices=(node,)), V2)

    (made,) = [step for step in steps(plan, Device) if step.target.endswith("null")]
    assert (made.origin, made.minor, made.mode) == ("$.linux.devices[0]", 5, 0o20444)


def test_without_mknod_the_nodes_of_the_host_are_bound() -> None:
    plan = compiled(spec(devices=(SpecDevice(path="/run/pipe", type="p"),)), replace(V2, capabilities=0))

    assert [step.target for step in steps(plan, Device)] == ["/run/pipe"]  # anybody may make a fifo
    assert {step.source: step.rdev for step in steps(plan, Bind)}["/dev/urandom"] == (1, 9)


@pytest.mark.parametrize(
    "mount", [Mount.bind("/dev", "/dev"), Mount(destination="/dev/", source="/host/dev", options=("bind",))]
)
def test_a_bound_dev_is_left_alone(mount: Mount) -> None:
    plan = compiled(spec(mounts=(mount,), masked_paths=(), readonly_paths=()), V2)

    assert not steps(plan, Device, Symlink)


def test_core_is_linked_where_the_host_has_it() -> None:
    assert "/dev/core" in [step.target for step in steps(compiled(spec(), V1), Symlink)]
    assert "/dev/core" not in [step.target for step in steps(compiled(spec(), V2), Symlink)]
