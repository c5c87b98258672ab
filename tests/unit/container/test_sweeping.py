"""Which containers nobody will ever take care of: by what was written down of them."""

from __future__ import annotations

import os
import types
from typing import TYPE_CHECKING

import pytest

from aiocontainer.container.sweeping import find_leftovers
from aiocontainer.store import Identity, Record, State, Store, boot_id, identify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("compiled")

DEAD = Identity(2**22 - 7, 1, "00000000-0000-0000-0000-000000000000")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "root")) as store:
        yield store


def ourselves() -> Identity:
    pidfd = os.pidfd_open(os.getpid())
    try:
        return identify(os.getpid(), pidfd)
    finally:
        os.close(pidfd)


def begin(store: Store, id: str) -> None:
    store.create(id, Record(id=id, bundle="/b", boot_id=boot_id()).encode()).release()


def finish(store: Store, id: str, init: Identity, owner: Identity | None) -> None:
    begin(store, id)
    state = State(
        id=id,
        bundle="/b",
        oci_version="1.3.0",
        created="",
        owner=0,
        boot_id=init.boot_id,
        pid=init.pid,
        starttime=init.starttime,
        facts={"owner": None if owner is None else list(owner)},
    )
    store.save(id, state)


def leftovers(store: Store) -> dict[str, str]:
    found = find_leftovers(types.SimpleNamespace(store=store))  # type: ignore[arg-type]
    return {each.id: each.reason for each in found}


def test_creations_that_were_interrupted(store: Store) -> None:
    begin(store, "half")
    assert leftovers(store) == {"half": "interrupted"}


def test_what_somebody_is_working_on_is_not_touched(store: Store) -> None:
    with store.create("busy", Record(id="busy", bundle="/b", boot_id=boot_id()).encode()):
        assert leftovers(store) == {}
    assert leftovers(store) == {"busy": "interrupted"}


def test_all_of_dead_owners(store: Store) -> None:
    """Also what still lives: a frozen container does not die of SIGKILL in v1."""
    us = ourselves()
    finish(store, "orphan", DEAD, DEAD)
    finish(store, "lives", us, DEAD)
    finish(store, "owned", DEAD, us)
    finish(store, "detached", DEAD, None)
    assert leftovers(store) == {"orphan": "orphaned", "lives": "orphaned"}


@pytest.mark.parametrize("owner", [[1], "root", [1, 2, 3, 4, 5], ["1", 2, "3", 4]])
def test_owners_of_another_form_count_as_unknown(store: Store, owner: object) -> None:
    finish(store, "odd", DEAD, DEAD)
    state = store.load("odd")
    store.save("odd", type(state)(**{**_fields(state), "facts": {"owner": owner}}))
    assert leftovers(store) == {}


def _fields(state: State) -> dict[str, object]:
    return {name: getattr(state, name) for name in state.__struct_fields__}


def test_a_state_that_cannot_be_read_may_be_of_something_that_lives(store: Store) -> None:
    finish(store, "damaged", DEAD, DEAD)
    with open(f"{store.path}/damaged/state.json", "w") as file:
        file.write("{")
    assert leftovers(store) == {}
