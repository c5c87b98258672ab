"""What owners that were killed have left behind: found by what they had written down beforehand."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from .._convert import convert
from ..errors import NotFoundError, StateCorruptError, StateError
from ..store import Identity, open_process

if TYPE_CHECKING:
    from ..store import Lock, State
    from .environment import Environment

__all__ = ["Leftover", "find_leftovers"]


class Leftover(Struct, frozen=True, kw_only=True):
    """A container that nobody will ever take care of."""

    id: str
    reason: Literal["interrupted", "orphaned"]
    """Its creation was interrupted, or the process whose lifetime it had has ended.

    An orphan may live on: what v1's freezer holds does not die of the helper's SIGKILL.
    """


def find_leftovers(environment: Environment) -> list[Leftover]:
    """Look through the state root; in a thread.

    Never among them: what somebody is working on, what has a living owner, and what was meant to outlive it.
    """
    found = []
    for id in environment.store.ids():
        try:
            lock = environment.store.lock(id)
        except (NotFoundError, StateCorruptError):
            continue  # gone meanwhile, or nothing of ours
        if lock is None:
            continue
        with lock:
            leftover = _judge(environment, id, lock)
        if leftover is not None:
            found.append(leftover)
    return found


def _judge(environment: Environment, id: str, lock: Lock) -> Leftover | None:
    try:
        state = environment.store.load(id, lock=lock)
    except StateCorruptError:
        return Leftover(id=id, reason="interrupted") if _was_interrupted(environment, id) else None
    except (NotFoundError, StateError):
        return None
    if _is_orphan(state):
        return Leftover(id=id, reason="orphaned")
    return None


def _was_interrupted(environment: Environment, id: str) -> bool:
    """Whether its state was never written: one that cannot be read may belong to something that lives."""
    with environment.store.open_directory(id) as directory:
        return "state.json" not in os.listdir(directory.fileno())


def _is_orphan(state: State) -> bool:
    try:
        owner = convert(state.facts.get("owner"), Identity)
    except msgspec.ValidationError:  # there is none, or none that we know of
        return False
    return not _lives(owner)


def _lives(identity: Identity) -> bool:
    pidfd = open_process(identity)
    if pidfd is None:
        return False
    os.close(pidfd)
    return True
