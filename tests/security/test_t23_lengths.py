"""T23 (CVE-2021-43784): a long string wraps a length, and its rest is taken for something else."""

from __future__ import annotations

import hashlib

import pytest
from support.specs import with_process

from aiocontainer import Runtime, Spec, SpecError
from aiocontainer.native import wire
from aiocontainer.native._lib import lib

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

EDGES = (255, 256, 4095, 4096, 65534, 65535, 65536, 65537, 65536 + 24, 100_000, 131_000)


def shaped(size: int) -> str:
    """Text of that size that looks like records of a plan, as far as text can."""
    record = wire.STEP.pack(lib.STEP_UNSHARE, wire.STEP.size, -1, 0, 2**29, 0, 0, 0, 0)
    pattern = "".join(chr(byte) if 0 < byte < 128 else "x" for byte in record)
    return (pattern * (size // len(pattern) + 1))[:size]


@pytest.mark.parametrize("size", EDGES)
async def test_strings_arrive_whole(runtime: Runtime, rootfs: str, size: int) -> None:
    text = "".join(chr(33 + i % 90) for i in range(size))
    base = Spec.default(["sh", "-c", 'printf %s "$1" | sha256sum; id -u', "sh", text], rootfs=rootfs)
    done = await runtime.run(base.with_user(1000, 1000))
    assert done.exit.clean, done
    digest, _, uid = (done.stdout or b"").split()
    assert digest.decode() == hashlib.sha256(text.encode()).hexdigest()
    assert uid == b"1000"


@pytest.mark.parametrize("size", [64, 4096, 65536 + 8, 100_000])
async def test_data_stays_data(runtime: Runtime, rootfs: str, size: int) -> None:
    """What is shaped like a step is a string all the same."""
    text = shaped(size).replace("\\0", "x")
    env = ("PATH=/bin", f"SHAPED={text}")
    spec = with_process(Spec.default(["sh", "-c", "id -u; id -G"], rootfs=rootfs), env=env)
    done = await runtime.run(spec.with_user(1000, 1000))
    assert (done.stdout or b"").split() == [b"1000", b"1000"]


async def test_what_is_too_long_is_refused_before_anything(runtime: Runtime, rootfs: str) -> None:
    for size in (lib.WIRE_MAX_PLAN, lib.WIRE_MAX_PLAN + 1, 2 * lib.WIRE_MAX_PLAN):
        with pytest.raises(SpecError):
            await runtime.create(None, Spec.default(["true", "x" * size], rootfs=rootfs))
    many = ["x"] * (lib.WIRE_MAX_STRINGS + 1)
    with pytest.raises(SpecError):
        await runtime.create(None, Spec.default(["true", *many], rootfs=rootfs))
