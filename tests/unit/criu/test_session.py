"""The dialogue with CRIU, against a program that only talks: answers, notices, nonsense, death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.fake_criu import DUMP, FEATURE_CHECK, RESTORE, VERSION, encode, fake_criu, requests

from aiocontainer import CriuError, UnsupportedError
from aiocontainer.criu import schema
from aiocontainer.criu.messages import Kind, Version, decode_response, decode_tally, encode_request
from aiocontainer.criu.probing import probe_criu
from aiocontainer.criu.session import INHERITED, Swrk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiocontainer._aio import OwnedFd
    from aiocontainer.criu.messages import Notice, Response

pytestmark = pytest.mark.needs("compiled")

DONE: dict[str, Any] = {"answer": {}}


def held() -> set[str]:
    """Descriptors and children of this process."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(f"{number}: {os.readlink(f'/proc/self/fd/{number}')}")
    for task in os.listdir("/proc/self/task"):
        found |= set(Path(f"/proc/self/task/{task}/children").read_text().split())
    return {each for each in found if not each.endswith("/fd")}


@pytest.fixture
def clean(loop_runner: object) -> Iterator[None]:
    """Nothing of CRIU is left."""
    before = held()
    yield
    assert held() - before == set()


async def ask(
    directory: Path, scenario: dict[int, list[dict[str, Any]]], attend: Any = None, kind: Kind = Kind.DUMP
) -> Response:
    worker = await Swrk.start(fake_criu(str(directory), scenario))
    try:
        return await worker.ask(encode_request(kind, {"images_dir_fd": 3}), attend)
    finally:
        await worker.close()


async def test_an_answer(tmp_path: Path, clean: None) -> None:
    answer = await ask(tmp_path, {DUMP: [DONE]})
    assert (answer.kind, answer.success) == (DUMP, True)
    assert requests(str(tmp_path)) == [{"1": [1], "2": [{"1": [3]}]}]


async def test_a_failure_says_what_criu_says(tmp_path: Path) -> None:
    answer = await ask(tmp_path, {DUMP: [{"answer": {"2": 0, "7": 16, "9": "cannot"}}]})
    assert (answer.success, answer.errno, answer.message) == (False, 16, "cannot")


async def test_notices_are_answered_in_order(tmp_path: Path, clean: None) -> None:
    seen: list[tuple[str, int]] = []

    async def attend(notice: Notice, fd: OwnedFd | None) -> None:
        assert fd is None
        seen.append((notice.script, notice.pid))

    names: list[dict[str, Any]] = [{"notify": "setup-namespaces", "pid": 77}, {"notify": "post-restore"}]
    answer = await ask(tmp_path, {RESTORE: [*names, {"answer": {"4": {"1": 77}}}]}, attend, Kind.RESTORE)
    assert seen == [("setup-namespaces", 77), ("post-restore", 0)]
    assert (answer.success, answer.pid) == (True, 77)
    assert [each.get("3") for each in requests(str(tmp_path))] == [None, [1], [1]]


async def test_a_descriptor_comes_with_a_notice(tmp_path: Path, clean: None) -> None:
    taken: list[str] = []

    async def attend(_: Notice, fd: OwnedFd | None) -> None:
        assert fd is not None
        with fd:
            taken.append(os.readlink(f"/proc/self/fd/{fd.fileno()}"))

    scenario: dict[int, list[dict[str, Any]]] = {
        DUMP: [{"notify": "orphan-pts-master", "fd": os.devnull, "times": 3}, DONE]
    }
    await ask(tmp_path, scenario, attend)
    assert taken == [os.devnull]
    await ask(tmp_path, scenario)  # nobody takes it


async def test_what_attends_may_refuse(tmp_path: Path, clean: None) -> None:
    async def attend(notice: Notice, fd: OwnedFd | None) -> None:
        raise LookupError(notice.script)

    with pytest.raises(LookupError, match="one"):
        await ask(tmp_path, {DUMP: [{"notify": "one"}, {"notify": "two"}, DONE]}, attend)
    assert [each.get("3") for each in requests(str(tmp_path))] == [None, [0]]


async def test_inherited_descriptors_have_their_numbers(tmp_path: Path, clean: None) -> None:
    script = tmp_path / "criu"
    script.write_text(f"#!/bin/sh\nls -l /proc/$$/fd >&2; echo from {INHERITED} >&{INHERITED}; exit 3\n")
    script.chmod(0o755)
    reader, writer = os.pipe()
    try:
        worker = await Swrk.start(str(script), fds=[writer])
        with pytest.raises(CriuError, match="ended with status 3"):
            await worker.ask(b"")
        await worker.close()
        assert os.read(reader, 100) == b"from 4\n"
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    ("actions", "how"),
    [
        ([{"kill": int(signal.SIGKILL)}], "was killed by signal 9"),
        ([{"exit": 3}], "ended with status 3"),
        ([{"notify": "pre-dump"}, {"exit": 0}], "ended with status 0"),
        ([], "ended with status 0"),
        ([{"raw": "ff"}], "makes no sense"),
        ([{"raw": "08"}], "makes no sense"),
        ([{"raw": "0801"}], "makes no sense"),  # without what is required
    ],
)
async def test_death_and_nonsense(
    tmp_path: Path, clean: None, actions: list[dict[str, Any]], how: str
) -> None:
    with pytest.raises(CriuError, match=how):
        await asyncio.wait_for(ask(tmp_path, {DUMP: actions}), 20)


async def test_its_output_is_told_where_it_dies(tmp_path: Path) -> None:
    with pytest.raises(CriuError) as failed:
        await ask(tmp_path, {DUMP: [{"say": "Error: not today\n"}, {"exit": 1}]})
    assert failed.value.log == ("Error: not today",)


async def test_cancelled_it_refuses_and_waits(tmp_path: Path, clean: None) -> None:
    """CRIU undoes what it has begun, and ends by itself."""
    reached = asyncio.Event()

    async def attend(notice: Notice, fd: OwnedFd | None) -> None:
        reached.set()
        await asyncio.sleep(0.05)

    work: list[dict[str, Any]] = [{"notify": "a"}, {"notify": "b"}, {"notify": "c"}, DONE]
    task = asyncio.create_task(ask(tmp_path, {DUMP: work}, attend))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    asked = [each.get("3") for each in requests(str(tmp_path))]
    assert asked[-1] == [0]
    assert len(asked) < 4


async def test_cancelled_by_what_attends(tmp_path: Path, clean: None) -> None:
    """It is this very notice that is refused: after the last one it would be too late."""

    async def attend(notice: Notice, fd: OwnedFd | None) -> None:
        task.cancel()

    task = asyncio.create_task(ask(tmp_path, {DUMP: [{"notify": "post-dump"}, DONE]}, attend))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each.get("3") for each in requests(str(tmp_path))] == [None, [0]]


async def test_cancelled_at_every_await(tmp_path: Path, clean: None) -> None:
    work: list[dict[str, Any]] = [{"notify": "a"}, {"sleep": 0.01}, {"notify": "b"}, DONE]
    for step in range(12):
        task = asyncio.create_task(ask(tmp_path, {DUMP: work}))
        await asyncio.sleep(step * 0.01)
        task.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.done()


async def test_it_is_asked_what_it_is(tmp_path: Path, clean: None) -> None:
    criu = await probe_criu(fake_criu(str(tmp_path), {}))
    assert criu.version == Version(4, 1, 1)
    assert criu.features == {"mem_track", "lazy_pages", "pidfd_store"}
    assert [each["1"] for each in requests(str(tmp_path))] == [[VERSION], [FEATURE_CHECK]]


async def test_one_that_is_too_old(tmp_path: Path) -> None:
    program = fake_criu(str(tmp_path), {VERSION: [{"answer": {"10": {"1": 2, "2": 12}}}]})
    with pytest.raises(UnsupportedError, match=r"CRIU 3\.0 or newer, this is 2\.12"):
        await probe_criu(program)
    program = fake_criu(str(tmp_path), {VERSION: [{"answer": {"2": 0}}]})
    with pytest.raises(UnsupportedError, match=r"CRIU 3\.0"):
        await probe_criu(program)


async def test_one_that_is_not_there(tmp_path: Path, clean: None) -> None:
    with pytest.raises(UnsupportedError, match="there is no program 'nonesuch'"):
        await probe_criu("nonesuch")


async def test_without_protobuf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> dict[str, Any]:
        raise ImportError("google.protobuf")

    monkeypatch.setattr(schema, "_classes", {})
    monkeypatch.setattr(schema, "_build", fail)
    with pytest.raises(UnsupportedError, match="the Python package protobuf"):
        await probe_criu(fake_criu(str(tmp_path), {}))


def test_broken_answers_are_errors_of_criu() -> None:
    """Whatever bytes come: a value, or the one error."""
    good = encode({1: 6, 2: 1, 5: {1: "post-dump", 2: 7}, 8: {1: 1}, 10: {1: 4, 2: 1}, 9: "text"})
    assert decode_response(good).notice is not None
    chance = random.Random(6)
    for _ in range(20000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            kind = chance.random()
            at = chance.randrange(len(data) or 1)
            if kind < 0.5 and data:
                data[at] = chance.randrange(256)
            elif kind < 0.75:
                del data[at:]
            else:
                data[at:at] = chance.randbytes(chance.randint(1, 5))
        with contextlib.suppress(CriuError):
            decode_response(bytes(data))


def test_numbers_of_statistics() -> None:
    counted = {"1": 100, "2": 200, "3": 300, "4": 400, "5": 50, "6": 6, "7": 7, "9": 9}
    data = encode({1: counted})
    file = bytes.fromhex("4059105506330957") + len(data).to_bytes(4, "little") + data
    dump, _ = decode_tally(file)
    assert (dump.freezing_us, dump.frozen_us, dump.memory_us, dump.writing_us) == (100, 200, 300, 400)
    assert (dump.pages_scanned, dump.pages_in_parent, dump.pages_written, dump.pages_lazy) == (50, 6, 7, 9)
    for size in range(len(file)):
        assert decode_tally(file[:size])[0].pages_written == 0
