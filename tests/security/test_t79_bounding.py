"""T79: a set that is not given keeps everything, and other slips of runtimes."""

from __future__ import annotations

import pytest
from msgspec import json
from support.guest import look, look_by_exec
from support.specs import with_linux, with_process

from aiocontainer import Runtime, Spec, SpecError
from aiocontainer.spec import Capabilities, NetDevice

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


@pytest.mark.parametrize("sets", [Capabilities(), None], ids=["empty", "missing"])
async def test_nothing_given_is_nothing(runtime: Runtime, guestfs: str, sets: Capabilities | None) -> None:
    spec = with_process(Spec.default(["sleep", "60"], rootfs=guestfs), capabilities=sets)
    found = (await look(runtime, spec))["capabilities"]
    assert {name: found[name] for name in SETS} == dict.fromkeys(SETS, 0)
    async with runtime.container(spec) as container:
        found = (await look_by_exec(container))["capabilities"]
        assert {name: found[name] for name in SETS} == dict.fromkeys(SETS, 0)


async def test_only_bounding_is_missing(runtime: Runtime, guestfs: str) -> None:
    text = json.decode(Spec.default(["x"], rootfs=guestfs).encode())
    sets = text["process"]["capabilities"]
    sets.pop("bounding")
    found = (await look(runtime, Spec.decode(json.encode(text))))["capabilities"]
    assert found["bounding"] == 0


@pytest.mark.parametrize("name", ["x" * 16, "\u00e9" * 8, "a/b", "a b", "a:b", ".", "..", "%d"])
async def test_names_of_network_devices(runtime: Runtime, guestfs: str, name: str) -> None:
    """15 bytes are the most, whatever others count."""
    for devices in ({name: NetDevice()}, {"dummy0": NetDevice(name=name)}):
        with pytest.raises(SpecError) as caught:
            await runtime.create(
                None, with_linux(Spec.default(["true"], rootfs=guestfs), net_devices=devices)
            )
        assert caught.value.origin.startswith("$.linux.netDevices")
