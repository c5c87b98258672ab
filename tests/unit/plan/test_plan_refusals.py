"""What this machine cannot give is refused by its name; empty fields ask for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from plan_hosts import compiled, spec

from aiocontainer.errors import UnsupportedError
from aiocontainer.spec import Spec, decode_spec, encode

# Address below "$", a value that asks for something.
ASKING: tuple[tuple[str, Any], ...] = (
    ("process.apparmorProfile", "docker-default"),
    ("process.selinuxLabel", "system_u:system_r:container_t:s0"),
    ("linux.mountLabel", "system_u:object_r:container_file_t:s0"),
    ("linux.intelRdt", {"closID": "a"}),
    ("linux.resources.memory.swappiness", 7),
)

EMPTY: tuple[tuple[str, Any], ...] = (
    ("hooks", {"prestart": [], "poststop": None}),
    ("process.apparmorProfile", ""),
    ("process.execCPUAffinity", {}),
    ("linux.netDevices", {}),
    ("linux.seccomp", None),
    ("linux.intelRdt", None),
    ("linux.resources", {"memory": {}, "cpu": {"cpus": ""}, "network": {"priorities": []}, "unified": {}}),
)


def with_member(address: str, value: Any) -> Spec:
    document = json.loads(encode(spec()))
    place = document
    *parents, last = address.split(".")
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return decode_spec(json.dumps(document).encode())


@pytest.mark.parametrize(("address", "value"), ASKING, ids=[address for address, _ in ASKING])
def test_refused(address: str, value: Any) -> None:
    with pytest.raises(UnsupportedError) as caught:
        compiled(with_member(address, value))

    assert caught.value.origin == f"$.{address}"
    assert caught.value.needs


@pytest.mark.parametrize(("address", "value"), EMPTY, ids=[address for address, _ in EMPTY])
def test_empty(address: str, value: Any) -> None:
    assert compiled(with_member(address, value)).steps
