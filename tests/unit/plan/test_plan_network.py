"""Network devices in a plan: the pause at which the parent moves them, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from plan_hosts import HOSTS, V2, compiled, namespaces, options, rootless, spec, steps

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.compile import compile_plan
from aiocontainer.plan.flags import PAUSE_NETWORK
from aiocontainer.plan.plan import NetworkDevice
from aiocontainer.plan.steps import Loopback, Mount, Pause
from aiocontainer.spec import NetDevice

if TYPE_CHECKING:
    from aiocontainer.plan.plan import Plan

ALL = ("pid", "network", "mount", "uts", "ipc")


def plan(*types: str, **devices: str) -> Plan:
    asked = {name: NetDevice(name=inside) for name, inside in devices.items()}
    return compiled(spec(net_devices=asked, namespaces=namespaces(*types)), V2)


def pauses(plan: Plan) -> list[Any]:
    return [step for step in steps(plan, Pause) if step.kind == PAUSE_NETWORK]


def test_devices_come_before_anything_is_mounted() -> None:
    moved = plan(*ALL, eth1="eth0", eth2="")
    (pause,) = pauses(moved)
    order = list(moved.steps)
    assert order.index(steps(moved, Loopback)[0]) < order.index(pause) < order.index(steps(moved, Mount)[0])
    assert moved.devices == (
        NetworkDevice("eth1", "eth0", "$.linux.netDevices.eth1"),
        NetworkDevice("eth2", "eth2", "$.linux.netDevices.eth2"),
    )


def test_the_listing_tells_of_them() -> None:
    text = plan(*ALL, eth1="eth0").listing()
    assert "wait until network devices are moved in" in text
    assert "eth1 as eth0" in text


def test_without_devices_there_is_no_pause() -> None:
    assert not pauses(plan(*ALL))
    assert plan(*ALL).devices == ()


def test_a_namespace_of_their_own_is_needed() -> None:
    with pytest.raises(SpecError) as caught:
        plan("pid", "mount", "uts", "ipc", eth1="eth0")
    assert caught.value.origin == "$.linux.netDevices"


def test_an_ordinary_user_moves_none() -> None:
    value = rootless()
    assert value.linux is not None
    networks = namespaces("user", *ALL)
    linux = replace(value.linux, net_devices={"eth1": NetDevice()}, namespaces=networks)
    with pytest.raises(UnsupportedError) as caught:
        compile_plan(replace(value, linux=linux), HOSTS["rootless"], options())
    assert caught.value.origin == "$.linux.netDevices"
