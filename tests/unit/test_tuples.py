"""Our NamedTuple is that of `typing`, but for the time that it takes to make one."""

from __future__ import annotations

import pickle
import typing
from typing import Any

import msgspec
import pytest

from aiocontainer._tuples import NamedTuple as Ours


class Mine(Ours):
    """What it is for."""

    path: str
    size: int = 0
    names: tuple[str, ...] = ()

    @property
    def is_large(self) -> bool:
        return self.size > 10

    @classmethod
    def of(cls, path: str) -> Mine:
        return cls(path, 11)


class Theirs(typing.NamedTuple):
    """What it is for."""

    path: str
    size: int = 0
    names: tuple[str, ...] = ()


def test_it_is_a_tuple_with_names() -> None:
    made = Mine("/x", names=("a",))
    assert made == ("/x", 0, ("a",)) == Theirs("/x", names=("a",))
    assert repr(made) == repr(Theirs("/x", names=("a",))).replace("Theirs", "Mine")
    assert made._replace(size=3)._asdict() == {"path": "/x", "size": 3, "names": ("a",)}
    path, *_ = made
    assert path == made.path == "/x"


@pytest.mark.parametrize("name", ["__doc__", "__annotations__", "_fields", "_field_defaults", "__module__"])
def test_it_tells_of_itself_what_that_of_typing_tells(name: str) -> None:
    kinds: dict[str, Any] = {"ours": Mine, "theirs": Theirs}
    # typing makes ForwardRefs of the texts.
    told = {
        key: {field: getattr(value, "__forward_arg__", value) for field, value in found.items()}
        if isinstance(found := getattr(kind, name), dict)
        else found
        for key, kind in kinds.items()
    }
    assert told["ours"] == told["theirs"]
    assert Mine.__qualname__ == "Mine"


def test_methods_and_defaults() -> None:
    assert Mine.of("/y").is_large
    assert not Mine("/y").is_large
    with pytest.raises(TypeError, match="path"):
        Mine()  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Mine("/y").size = 3  # type: ignore[misc]


def test_it_goes_through_pickle_and_msgspec() -> None:
    made = Mine("/x", 2)
    assert pickle.loads(pickle.dumps(made)) == made
    assert msgspec.json.decode(msgspec.json.encode(made), type=Mine) == made
    with pytest.raises(msgspec.ValidationError, match=r"\$\[1\]"):
        msgspec.json.decode(b'["/x", "many"]', type=Mine)
