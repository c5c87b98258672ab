"""A root of layers: an overlay on "/" that is the first of the mounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from plan_hosts import HOSTS, options, rootless, spec

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.compile import compile_plan
from aiocontainer.plan.flags import ROOTFS_LAYERS
from aiocontainer.plan.plan import Layers
from aiocontainer.plan.steps import Mount as MountStep
from aiocontainer.plan.steps import Rootfs
from aiocontainer.spec import IDMapping, Mount, Namespace

if TYPE_CHECKING:
    from aiocontainer.plan.plan import Plan

TYPES = ("user", "mount", "pid", "uts", "ipc", "network", "cgroup")
TMP = Mount(destination="/tmp", type="tmpfs", source="tmpfs")


def compiled(*words: str, host: str = "linux-6.18-v1", destination: str = "/", **parts: object) -> Plan:
    overlay = Mount(destination=destination, type="overlay", source="/cache/roots/x", options=words)
    base = rootless() if host == "rootless" else spec(**parts)
    return compile_plan(replace(base, mounts=(overlay, TMP)), HOSTS[host], options())


def root_of(plan: Plan) -> Rootfs:
    return next(step for step in plan.steps if isinstance(step, Rootfs))


@pytest.mark.parametrize(
    "words",
    [
        ("lowerdir=/a\\:b:/c",),
        ("lowerdir+=/a:b", "lowerdir+=/c"),
        ("lowerdir=/a\\:b", "lowerdir+=/c"),
    ],
)
def test_layers_in_either_form(words: tuple[str, ...]) -> None:
    plan = compiled(*words)
    assert plan.fds[root_of(plan).fd] == Layers(("/a:b", "/c"), "/cache/roots/x", "$.mounts[0]")
    assert [step.origin for step in plan.steps if isinstance(step, MountStep) and step.target == "/tmp"] == [
        "$.mounts[1]"
    ]
    assert not [step for step in plan.steps if isinstance(step, MountStep) and step.target == "/"]
    assert "overlay of /a:b, /c under a throw-away layer" in plan.listing()


def test_what_is_written_can_be_kept() -> None:
    plan = compiled("lowerdir=/a", "upperdir=/u", "workdir=/w")
    assert plan.fds[root_of(plan).fd] == Layers(("/a",), "/cache/roots/x", "$.mounts[0]", "/u", "/w")


def test_an_ordinary_user_makes_it_in_the_container() -> None:
    step = root_of(compiled("lowerdir=/a:/b", host="rootless"))
    assert (step.how, step.fd) == (ROOTFS_LAYERS, -1)
    assert step.stack == ("/cache/roots/x", "", "", "/a", "/b")
    assert "of layers: /a, /b" in str(step)


@pytest.mark.parametrize(
    "words",
    [
        ("ro", "lowerdir=/a"),
        ("lowerdir=a",),
        ("lowerdir=/a", "upperdir=/u"),
        ("lowerdir=/a", "upperdir=u", "workdir=/w"),
        ("lowerdir=/a", "metacopy=on"),
        ("lowerdir=/a", "private"),
        ("upperdir=/u", "workdir=/w"),
        (),
        tuple(f"lowerdir+=/{index}" for index in range(501)),
    ],
)
def test_what_cannot_be(words: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as caught:
        compiled(*words)
    assert caught.value.origin.startswith("$.mounts[0]")


def test_owners_would_have_to_be_mapped() -> None:
    ids = (IDMapping(container_id=0, host_id=100000, size=65536),)
    namespaces = tuple(
        Namespace(type=type) for type in ("user", "mount", "pid", "uts", "ipc", "network", "cgroup")
    )
    with pytest.raises(UnsupportedError) as caught:
        compiled("lowerdir=/a", namespaces=namespaces, uid_mappings=ids, gid_mappings=ids)
    assert caught.value.origin == "$.mounts[0]"
