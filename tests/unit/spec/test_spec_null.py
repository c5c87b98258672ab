"""Null is the same as absent, for every member of every object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import inspect

from aiocontainer.errors import SpecError
from aiocontainer.spec import Features, Spec, State, decode_spec
from aiocontainer.spec.document import decode_document

if TYPE_CHECKING:
    from collections.abc import Iterator


def structs(type: inspect.Type, seen: dict[type, inspect.StructType]) -> None:
    """Every object type that can occur in a document."""
    if isinstance(type, inspect.StructType):
        if type.cls not in seen:
            seen[type.cls] = type
            for field in type.fields:
                structs(field.type, seen)
    elif isinstance(type, inspect.UnionType):
        for each in type.types:
            structs(each, seen)
    elif isinstance(type, inspect.VarTupleType):
        structs(type.item_type, seen)
    elif isinstance(type, inspect.DictType):
        structs(type.value_type, seen)


def members() -> Iterator[tuple[inspect.StructType, inspect.Field]]:
    seen: dict[type, inspect.StructType] = {}
    for root in (Spec, State, Features):
        structs(inspect.type_info(root), seen)
    for type in seen.values():
        for field in type.fields:
            yield type, field


SAMPLE: dict[type, Any] = {
    inspect.StrType: "1MB",
    inspect.IntType: 1,
    inspect.BoolType: True,
    inspect.VarTupleType: ["x"],
}


def sample(type: inspect.Type) -> Any:
    if isinstance(type, inspect.LiteralType):
        return type.values[0]
    if isinstance(type, inspect.StructType):
        return required(type)
    return SAMPLE[type.__class__]


def required(type: inspect.StructType) -> dict[str, Any]:
    return {field.encode_name: sample(field.type) for field in type.fields if field.required}


@pytest.mark.parametrize(
    ("type", "field"), list(members()), ids=[f"{t.cls.__name__}.{f.encode_name}" for t, f in members()]
)
def test_null_is_absent(type: inspect.StructType, field: inspect.Field) -> None:
    absent = required(type)
    absent.pop(field.encode_name, None)
    null = {**absent, field.encode_name: None}
    if field.required:
        with pytest.raises(SpecError) as caught:
            decode_document(json.dumps(null), type.cls)
        assert caught.value.origin == f"$.{field.encode_name}"
        assert "missing" in caught.value.problem
    else:
        assert decode_document(json.dumps(null), type.cls) == decode_document(json.dumps(absent), type.cls)


def test_null_in_a_map_is_absent() -> None:
    spec = decode_spec('{"ociVersion": "1.0.0", "annotations": {"a": null, "b": "1"}}')
    assert spec.annotations == {"b": "1"}


def test_null_in_a_list_is_an_error() -> None:
    with pytest.raises(SpecError) as caught:
        decode_spec('{"ociVersion": "1.0.0", "mounts": [null]}')
    assert caught.value.origin == "$.mounts[0]"


def test_unset_is_not_zero() -> None:
    def decode(hook: str) -> tuple[str, ...] | None:
        hooks = decode_spec(f'{{"ociVersion": "1.0.0", "hooks": {{"poststop": [{hook}]}}}}').hooks
        assert hooks
        return hooks.poststop[0].env

    assert decode('{"path": "/x"}') is None
    assert decode('{"path": "/x", "env": []}') == ()
