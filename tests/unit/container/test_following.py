"""Containers of other processes, as far as their state directory tells of them."""

from __future__ import annotations

import asyncio
import os
import types
from typing import TYPE_CHECKING, Any

import pytest

from aiocontainer.container.following import Following
from aiocontainer.errors import NotFoundError, StateError
from aiocontainer.events import Interest, Watcher, inotify
from aiocontainer.store import Record, State, Store, boot_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.needs("compiled")


class World:
    """What another process does below a root, and a runtime that looks on."""

    def __init__(self, root: str) -> None:
        self.other = Store(root)
        self.store = Store(root)
        self.watcher = Watcher()
        self.log: list[str] = []
        self.creating: set[str] = set()
        self.known: set[str] = set()
        environment: Any = types.SimpleNamespace(store=self.store, watcher=self.watcher)
        self.following = Following(environment, self.load, known=self.known, creating=self.creating)
        self.events = self.watcher.events(Interest())

    async def load(self, id: str) -> Any:
        if "state.json" not in self.files(id):
            raise StateError("use", status="creating", id=id)
        return _Container(id, self.log)

    def files(self, id: str) -> list[str]:
        try:
            return os.listdir(f"{self.store.path}/{id}")
        except FileNotFoundError:
            raise NotFoundError(id) from None

    def create(self, id: str) -> None:
        with self.other.create(id, Record(id=id, bundle="/b", boot_id=boot_id()).encode()):
            self.other.bind_gate(id).close()
            state = State(
                id=id,
                bundle="/b",
                oci_version="1.3.0",
                created="",
                owner=0,
                boot_id=boot_id(),
                pid=1,
                starttime=1,
            )
            self.other.save(id, state)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self.following.close()
        await self.watcher.close()
        self.store.close()
        self.other.close()


class _Container:
    """Notes what it is told to tell."""

    pid = 7

    def __init__(self, id: str, log: list[str]) -> None:
        self.id = id
        self.watching = self
        self._log = log

    def started(self, *, told: bool = True) -> None:
        self._log.append(f"{self.id} {'started' if told else 'has started'}")

    def deleted(self) -> None:
        self._log.append(f"{self.id} deleted")

    async def arm_fresh(self) -> None:
        self._log.append(f"{self.id} armed")

    async def wait(self) -> None:
        self._log.append(f"{self.id} waited for")

    def close(self) -> None:
        self._log.append(f"{self.id} closed")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(str(tmp_path / "root"))
    yield world
    await world.close()


async def test_a_life_is_seen_from_outside(world: World) -> None:
    await world.following.begin()
    world.create("a")
    await world.until(lambda: "a armed" in world.log)
    assert [type(await anext(world.events)).__name__] == ["Created"]
    world.other.unlink_gate("a")
    await world.until(lambda: "a started" in world.log)
    world.other.remove("a")
    await world.until(lambda: "a closed" in world.log)
    assert world.log == ["a armed", "a started", "a waited for", "a deleted", "a closed"]


async def test_what_was_there_before_is_followed_without_a_word(world: World) -> None:
    world.create("old")
    world.other.unlink_gate("old")
    await world.following.begin()
    assert world.log == ["old has started"]
    world.other.remove("old")
    await world.until(lambda: "old closed" in world.log)


async def test_our_own_are_left_to_us(world: World) -> None:
    await world.following.begin()
    world.creating.add("mine")
    world.create("mine")
    world.create("other")
    await world.until(lambda: "other armed" in world.log)
    assert not any(line.startswith("mine") for line in world.log)
    world.creating.discard("mine")
    world.known.add("mine")
    await world.following.meet("mine")
    world.other.remove("mine")
    await world.until(lambda: "mine deleted" in world.log)
    assert "mine closed" not in world.log, "somebody else has loaded it"


async def test_creations_that_fail_are_nothing(world: World) -> None:
    await world.following.begin()
    with world.other.create("half", Record(id="half", bundle="/b", boot_id=boot_id()).encode()):
        await asyncio.sleep(0.05)
        world.other.remove("half")
    world.create("next")
    await world.until(lambda: "next armed" in world.log)
    assert not any(line.startswith("half") for line in world.log)


async def test_nothing_stays_open(world: World) -> None:
    world.create("a")
    await world.following.begin()
    await world.following.begin()
    loop = asyncio.get_running_loop()
    assert inotify.instance(loop).count == 2
    await world.following.close()
    assert inotify.instance(loop) is None
