"""Limits as people say them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiocontainer.errors import SpecError
from aiocontainer.spec import Cpu, DeviceRule, Memory, Pids, Resources, Spec, check, parse_size

SPEC = Spec.default(["true"], rootfs="/r")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256M", 2**28),
        ("256m", 2**28),
        ("256MB", 2**28),
        ("256MiB", 2**28),
        ("1k", 1024),
        ("2G", 2**31),
        ("1T", 2**40),
        ("12", 12),
        ("12B", 12),
        ("0", 0),
        ("-1", -1),
        (-1, -1),
        (7, 7),
    ],
)
def test_sizes(text: int | str, size: int) -> None:
    assert parse_size(text, origin="memory") == size


@pytest.mark.parametrize(
    "text",
    ["", "M", "1.5G", "-2", "1 M", " 1M", "1MM", "1e3", "\u0661", "9999999999999G", -2, 2**63, True, None],
)
def test_no_sizes(text: Any) -> None:
    with pytest.raises(SpecError) as caught:
        parse_size(text, origin="memory")
    assert caught.value.origin == "memory"


@given(st.integers(0, 2**53 - 1), st.sampled_from("KM"))
def test_units_are_powers_of_1024(number: int, unit: str) -> None:
    factor = {"K": 2**10, "M": 2**20}[unit]
    if number * factor < 2**63:
        assert parse_size(f"{number}{unit}", origin="x") == number * factor


def limits(**arguments: Any) -> Resources:
    linux = SPEC.with_limits(**arguments).linux
    assert linux is not None
    assert linux.resources is not None
    return linux.resources


def test_with_limits() -> None:
    found = limits(memory="256M", swap=2**29, pids=64, cpus=0.5)
    assert (found.memory, found.pids) == (Memory(limit=2**28, swap=2**29), Pids(limit=64))
    assert found.cpu == Cpu(quota=50_000, period=100_000)
    assert found.devices  # the rules that were there
    assert check(SPEC.with_limits(memory="256M", swap=2**29, pids=64, cpus=0.5)) == []


def test_what_is_not_said_stays() -> None:
    both = SPEC.with_limits(memory="1G", pids=3).with_limits(pids=-1, cpus=2)
    assert both.linux is not None
    assert both.linux.resources is not None
    assert both.linux.resources.memory == Memory(limit=2**30)
    assert both.linux.resources.pids == Pids(limit=-1)
    assert both.linux.resources.cpu == Cpu(quota=200_000, period=100_000)
    assert SPEC.with_limits() == SPEC
    assert limits(cpus=-1).cpu == Cpu(quota=-1)


@pytest.mark.parametrize(
    ("arguments", "origin"),
    [
        ({"memory": "much"}, "memory"),
        ({"memory": 0}, "memory"),
        ({"swap": "-3"}, "swap"),
        ({"pids": 0}, "pids"),
        ({"pids": 1.5}, "pids"),
        ({"pids": True}, "pids"),
        ({"cpus": 0}, "cpus"),
        ({"cpus": 0.001}, "cpus"),
        ({"cpus": float("nan")}, "cpus"),
        ({"cpus": float("inf")}, "cpus"),
        ({"cpus": "1"}, "cpus"),
    ],
    ids=str,
)
def test_no_limits(arguments: dict[str, Any], origin: str) -> None:
    with pytest.raises(SpecError) as caught:
        limits(**arguments)
    assert caught.value.origin == origin


def test_with_resources_keeps_the_rules_for_devices() -> None:
    rules = (DeviceRule(allow=False, access="rwm"),)
    found = SPEC.with_resources(Resources(pids=Pids(limit=2))).linux
    assert found is not None
    assert found.resources is not None
    assert SPEC.linux is not None
    assert SPEC.linux.resources is not None
    assert found.resources == Resources(pids=Pids(limit=2), devices=SPEC.linux.resources.devices)
    other = SPEC.with_resources(Resources(devices=rules)).linux
    assert other is not None
    assert other.resources == Resources(devices=rules)
