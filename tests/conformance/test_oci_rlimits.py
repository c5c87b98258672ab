"""OCI config.md "POSIX process": rlimits."""

from __future__ import annotations

import resource

import pytest
from support.guest import look, look_by_exec
from support.specs import with_process

from aiocontainer import BootstrapError, Runtime, Spec, SpecError
from aiocontainer.plan.flags import RLIMITS
from aiocontainer.spec import Rlimit, RlimitType

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

INFINITY = 2**64 - 1
ROOMY: dict[str, tuple[int, int]] = {
    "RLIMIT_CPU": (100, 200),
    "RLIMIT_FSIZE": (1 << 30, 1 << 31),
    "RLIMIT_DATA": (1 << 30, INFINITY),
    "RLIMIT_STACK": (4 << 20, 16 << 20),
    "RLIMIT_CORE": (0, 1 << 20),
    "RLIMIT_RSS": (1 << 30, 1 << 31),
    "RLIMIT_NPROC": (1000, 2000),
    "RLIMIT_NOFILE": (64, 128),
    "RLIMIT_MEMLOCK": (1 << 16, 1 << 17),
    "RLIMIT_AS": (1 << 32, 1 << 33),
    "RLIMIT_LOCKS": (10, 20),
    "RLIMIT_SIGPENDING": (100, 200),
    "RLIMIT_MSGQUEUE": (819200, 900000),
    "RLIMIT_NICE": (10, 20),
    "RLIMIT_RTPRIO": (10, 20),
    "RLIMIT_RTTIME": (1000000, INFINITY),
}


def spec(rootfs: str, *limits: Rlimit) -> Spec:
    return with_process(Spec.default(["sleep", "60"], rootfs=rootfs), rlimits=limits)


def limit(type: RlimitType, soft: int, hard: int) -> Rlimit:
    return Rlimit(type=type, soft=soft, hard=hard)


def ours(number: int) -> list[int]:
    return [INFINITY if each == resource.RLIM_INFINITY else each for each in resource.getrlimit(number)]


def fitting(name: str) -> tuple[int, int]:
    """Values that need no privilege: not above our own hard limit."""
    _, most = ours(RLIMITS[name])
    soft, hard = ROOMY[name]
    return min(soft, most), min(hard, most)


@pytest.mark.proves("$.process.rlimits[].type", "$.process.rlimits[].hard", "$.process.rlimits[].soft")
@pytest.mark.parametrize("name", ROOMY)
async def test_each(runtime: Runtime, guestfs: str, name: RlimitType) -> None:
    one = spec(guestfs, limit(name, *fitting(name)))
    assert (await look(runtime, one))["rlimits"][RLIMITS[name]] == list(fitting(name))
    async with runtime.container(one) as container:
        assert (await look_by_exec(container))["rlimits"][RLIMITS[name]] == list(fitting(name))


async def test_all_at_once(runtime: Runtime, guestfs: str) -> None:
    limits = (limit(name, *fitting(name)) for name in ROOMY)  # type: ignore[arg-type]
    found = await look(runtime, spec(guestfs, *limits))
    assert [found["rlimits"][RLIMITS[name]] for name in ROOMY] == [list(fitting(name)) for name in ROOMY]


async def test_what_is_not_named_is_inherited(runtime: Runtime, guestfs: str) -> None:
    found = await look(runtime, spec(guestfs))
    assert found["rlimits"] == [ours(number) for number in range(16)]


@pytest.mark.needs("resource")
async def test_above_our_own(runtime: Runtime, guestfs: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = await look(runtime, spec(guestfs, limit("RLIMIT_NOFILE", soft, hard + 1)))
    assert found["rlimits"][RLIMITS["RLIMIT_NOFILE"]] == [soft, hard + 1]


@pytest.mark.parametrize("files", [3, 4, 8])
async def test_fewer_files_than_the_helper_needs(runtime: Runtime, guestfs: str, files: int) -> None:
    found = await look(runtime, spec(guestfs, limit("RLIMIT_NOFILE", files, files)))
    assert found["rlimits"][RLIMITS["RLIMIT_NOFILE"]] == [files, files]


async def test_twice(runtime: Runtime, guestfs: str) -> None:
    with pytest.raises(SpecError) as caught:
        await look(runtime, spec(guestfs, limit("RLIMIT_CPU", 1, 2), limit("RLIMIT_CPU", 1, 2)))
    assert caught.value.origin.startswith("$.process.rlimits[1]")


async def test_unknown(runtime: Runtime, guestfs: str) -> None:
    text = spec(guestfs, limit("RLIMIT_CPU", 1, 2)).encode().decode()
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, text.replace("RLIMIT_CPU", "RLIMIT_LUCK").encode())
    assert caught.value.origin == "$.process.rlimits[0].type"


async def test_soft_above_hard(runtime: Runtime, guestfs: str) -> None:
    with pytest.raises((SpecError, BootstrapError)) as caught:
        await look(runtime, spec(guestfs, limit("RLIMIT_CPU", 2, 1)))
    assert caught.value.origin.startswith("$.process.rlimits[0]")  # type: ignore[attr-defined]
