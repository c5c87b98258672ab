"""S76, S77, T25: what a container sees of cgroups, with each way that a machine may have them."""

from __future__ import annotations

import os
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace
from support.aside import aside
from support.guest import mounts_of

from aiocontainer import Mount, Runtime, Spec
from aiocontainer.spec import IDMapping, Linux, Namespace

pytestmark = pytest.mark.needs("root", "busybox", "compiled")

MAPS = (IDMapping(container_id=0, host_id=100000, size=65536),)
VIEW = "/sys/fs/cgroup"
TRY = (
    f"cd {VIEW}; for d in . *; do if mkdir $d/aioc-test-made 2>/dev/null; then rmdir $d/aioc-test-made; "
    "echo $d; fi; done; echo end; sleep 60"
)


def spec_of(rootfs: str, *mounts: Mount, user: bool, cgroup: bool, network: bool = True) -> Spec:
    spec = Spec.default(["sh", "-c", TRY], rootfs=rootfs)
    linux = spec.linux or Linux()
    out = {*(() if cgroup else ("cgroup",)), *(() if network else ("network",))}
    namespaces = tuple(each for each in linux.namespaces if each.type not in out)
    if user:
        namespaces = (*namespaces, Namespace(type="user"))
        linux = replace(linux, uid_mappings=MAPS, gid_mappings=MAPS)
    kept = tuple(each for each in spec.mounts if not each.destination.startswith("/sys"))
    return replace(spec, mounts=(*kept, *mounts), linux=replace(linux, namespaces=namespaces))


async def look(rootfs: str, user: bool, cgroup: bool, option: str, bound: bool) -> dict[str, Any]:
    """Run a container; say which cgroup mounts it has, and where it could make a cgroup."""
    sysfs = Mount(destination="/sys", type="sysfs", options=("nosuid", "noexec", "nodev", "ro"))
    view = Mount(destination=VIEW, type="cgroup", options=("nosuid", "noexec", "nodev", option))
    mounts = [sysfs, view]
    if bound:
        mounts = [Mount(destination="/sys", type="none", source="/sys", options=("rbind", "nosuid", "ro"))]
    spec = spec_of(rootfs, *mounts, user=user, cgroup=cgroup, network=not bound)
    with tempfile.TemporaryDirectory() as state:
        async with (
            Runtime(state) as runtime,
            runtime.container(spec, id="aioc-test-view", stdin=DEVNULL, stdout=PIPE) as container,
        ):
            assert container.stdout is not None
            made = (await container.stdout.readuntil(b"end\n")).decode().split()[:-1]
            mounts_found = mounts_of(container.pid)
            with open(f"/proc/{container.pid}/cgroup") as file:
                own = {line.split(":")[1]: line.rstrip("\n").split(":", 2)[2] for line in file}
            return {"mounts": mounts_found, "made": made, "own": own}


def of_cgroups(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {place: each for place, each in found["mounts"].items() if each["type"].startswith("cgroup")}


def is_read_only(mount: dict[str, str]) -> bool:
    return "ro" in mount["options"].split(",")


EVERY = [*product((False, True), (False, True), ("ro", "rw"))]


def check_own(found: dict[str, Any], option: str) -> None:
    """Each mount shows the container's cgroup alone, and is read-only if that was asked for."""
    shown = of_cgroups(found)
    assert shown
    own = set(found["own"].values())
    for place, mount in shown.items():
        assert mount["root"] in own, place
        assert mount["root"].endswith("aioc-test-view"), place
        assert is_read_only(mount) == (option == "ro"), place
    if option == "ro":
        assert found["made"] == []


@pytest.mark.needs("cgroup1")
@pytest.mark.parametrize(("user", "cgroup", "option"), EVERY)
def test_hierarchies_of_v1(rootfs: str, user: bool, cgroup: bool, option: str) -> None:
    found = aside(look, rootfs, user, cgroup, option, False)
    check_own(found, option)
    shown = of_cgroups(found)
    assert f"{VIEW}/memory" in shown
    assert all(place.startswith(f"{VIEW}/") for place in shown)
    assert found["mounts"][VIEW]["type"] == "tmpfs"
    if option == "rw" and not user:
        assert "memory" in found["made"]


@pytest.mark.parametrize(("user", "cgroup", "option"), EVERY)
def test_cgroup2(rootfs: str, user: bool, cgroup: bool, option: str) -> None:
    found = aside(look, rootfs, user, cgroup, option, False, pure_cgroup2=True)
    assert set(of_cgroups(found)) == {VIEW}
    if user or cgroup:
        check_own(found, option)
    else:  # as with the peers: root of the machine sees its whole hierarchy
        assert of_cgroups(found)[VIEW]["root"] == "/"
        assert is_read_only(of_cgroups(found)[VIEW]) == (option == "ro")


@pytest.mark.parametrize("pure", [False, True])
def test_bound_sys_brings_no_writable_cgroup(rootfs: str, pure: bool) -> None:
    """T25: "ro" alone would leave what is mounted below /sys as it is on the host."""
    found = aside(look, rootfs, True, False, "ro", True, pure_cgroup2=pure)
    shown = of_cgroups(found)
    assert shown
    assert all(is_read_only(mount) for mount in shown.values())
    assert found["made"] == []


def test_options_of_the_hierarchy_stay(rootfs: str) -> None:
    def options() -> list[str]:
        with open("/proc/self/mountinfo") as file:
            return [line.split()[-1] for line in file if " - cgroup2 " in line]

    before = options()
    aside(look, rootfs, False, True, "rw", False, pure_cgroup2=True)
    assert options() == before
    assert not os.path.exists(f"{VIEW}/unified/aioc-test-view")
