"""The same limits by every driver: set at create, read back, changed by an update, read back.

Whatever sets them gives the same answers: files hold the same, units of systemd say the same, and what
this machine cannot do is refused at the same address.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest
from support import limit_cases
from support.cgroups import passed_on_as_before
from support.limit_cases import CASES, Answer, Case, expected, held, is_right
from support.specs import shell, with_linux, with_process

from aiocontainer import CgroupError, DeviceRule, Resources, Runtime, Spec, UnsupportedError
from aiocontainer.probe import probe
from aiocontainer.spec import CAPABILITIES, Capabilities, Device, decode_resources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from support.leaks import Leaks

    from aiocontainer import Container
    from aiocontainer.runtime import CgroupChoice

pytestmark = [pytest.mark.needs("root", "busybox"), pytest.mark.may_block("reads files, asks systemd")]

ID = "aioc-test-driver"
UNIT = f"aiocontainer-{ID}.scope"
DRIVERS = [
    pytest.param("auto", id="cgroupfs"),
    pytest.param("systemd", marks=pytest.mark.needs("systemd", "cgroup2")),
    pytest.param("delegated", marks=pytest.mark.needs("systemd", "cgroup2")),
]


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    with passed_on_as_before():
        yield


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def driven(snap: Leaks, tmp_path: Path, driver: CgroupChoice) -> AsyncIterator[Runtime]:
    root = str(tmp_path / "state")
    snap.watch(root)
    async with Runtime(root=root, cgroups=driver) as runtime:
        yield runtime


def limited(rootfs: str, members: Mapping[str, Any]) -> Spec:
    return with_linux(shell("sleep 1000", rootfs), resources=decode_resources(json.dumps(members).encode()))


def properties(unit: str) -> dict[str, Any]:
    """All properties of a unit, by the bus."""
    label = "".join(each if each.isalnum() else f"_{ord(each):02x}" for each in unit)
    path = f"/org/freedesktop/systemd1/unit/{label}"
    call = ["busctl", "--json=short", "call", "org.freedesktop.systemd1", path]
    getall = ["org.freedesktop.DBus.Properties", "GetAll", "s", ""]
    found = json.loads(subprocess.run([*call, *getall], capture_output=True, check=True).stdout)["data"][0]
    return {name: each["data"] for name, each in found.items()}


def wrong_properties(case: Case, turn: int) -> Iterator[str]:
    """Yield each property that is not what the case wants."""
    found = properties(UNIT)
    for name, values in case.unit.items():
        has = found[name]
        if name.startswith("Allowed"):  # filled up to whole words
            has = [each for each in has if each]
        if has != values[turn]:
            yield f"{case}: {name} is {has}, not {values[turn]}"


async def files(container: Container, answer: Answer) -> dict[str, str]:
    return held((await container.state()).cgroup_paths.values(), answer.held)


async def wrong(
    runtime: Runtime, case: Case, rootfs: str, caplog: pytest.LogCaptureFixture, *, by_unit: bool
) -> list[str]:
    """Run one case; return what is wrong with it."""
    answer = limit_cases.answer(case, probe())
    caplog.clear()
    try:
        container = await runtime.create(ID, limited(rootfs, case.first))
    except (UnsupportedError, CgroupError) as exc:
        return [] if is_right(case, answer, exc, "$.linux.resources") else [f"{case}: {exc}"]
    async with contextlib.AsyncExitStack() as undo:
        undo.push_async_callback(container.delete, force=True)
        if answer.refused:
            return [f"{case}: not refused at {answer.refused}"]
        found, problems = await files(container, answer), []
        if bool(found) != bool(answer.held) or found != expected(answer, found, 0):
            problems.append(f"{case}: first {found}, not {expected(answer, found, 0)}")
        if answer.told.replace("$", "$.linux.resources") not in caplog.text:
            problems.append(f"{case}: {answer.told} is not told of")
        problems += wrong_properties(case, 0) if by_unit else ()
        await container.update(case.then)
        found = await files(container, answer)
        if found != expected(answer, found, 1):
            problems.append(f"{case}: then {found}, not {expected(answer, found, 1)}")
        return [*problems, *(wrong_properties(case, 1) if by_unit else ())]


async def test_the_same_answers(
    driven: Runtime, driver: str, rootfs: str, caplog: pytest.LogCaptureFixture
) -> None:
    by_unit, problems = driver == "systemd", []
    for case in CASES:
        problems += await wrong(driven, case, rootfs, caplog, by_unit=by_unit)
    assert problems == []


TRY = """
while read line; do
    for node in /dev/full /dev/kmsg; do
        if (exec 3<"$node") 2> /dev/null; then echo allowed; else echo denied; fi
    done
done
"""
ALL = Capabilities(bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES)
FULL, KMSG = (
    Device(path=f"/dev/{name}", type="c", major=1, minor=n) for name, n in (("full", 7), ("kmsg", 11))
)
NOTHING = DeviceRule(allow=False, access="rwm")
READ_KMSG = DeviceRule(allow=True, type="c", major=1, minor=11, access="r")
CHANGES = (
    ((NOTHING, DeviceRule(allow=True, type="c", major=1, minor=11, access="w")), b"denied"),
    ((NOTHING, DeviceRule(allow=True, type="c", access="r")), b"allowed"),
    ((NOTHING,), b"denied"),
    ((DeviceRule(allow=True, access="rwm"), DeviceRule(allow=False, type="b", access="rwm")), b"allowed"),
    (
        (
            DeviceRule(allow=True, access="rwm"),
            DeviceRule(allow=False, type="c", major=1, minor=11, access="r"),
        ),
        b"denied",
    ),
)
"""Rules, and what becomes of who wants to read /dev/kmsg; /dev/full is everybody's."""


async def test_devices_are_allowed_and_denied(driven: Runtime, rootfs: str) -> None:
    """What a filter lets through is tried, for it cannot be read."""
    spec = with_linux(
        with_process(shell(TRY, rootfs), capabilities=ALL),
        devices=(FULL, KMSG),
        resources=Resources(devices=(NOTHING, READ_KMSG)),
    )
    async with driven.container(spec, id=ID, stdin=PIPE, stdout=PIPE) as container:

        async def answers() -> list[bytes]:
            assert container.stdin is not None
            assert container.stdout is not None
            container.stdin.write(b"again\n")
            return [(await container.stdout.readline()).strip() for _ in (FULL, KMSG)]

        assert await answers() == [b"allowed", b"allowed"]
        for rules, verdict in CHANGES:
            await container.update(Resources(devices=rules))
            assert await answers() == [b"allowed", verdict]
