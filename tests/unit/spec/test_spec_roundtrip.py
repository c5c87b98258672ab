"""Encoding and decoding are inverse, for any value of the model."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from aiocontainer.errors import SpecError
from aiocontainer.spec import Features, Spec, State, decode_spec, encode, encode_pretty, verify
from aiocontainer.spec.document import decode_document

UINT64 = 2**64 - 1


def words() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=6)


def values(type: inspect.Type) -> st.SearchStrategy[Any]:
    """Any value of a type of the model, small."""
    match type:
        case inspect.StructType():
            members = {field.name: member(field) for field in type.fields}
            return st.builds(type.cls, **members)
        case inspect.UnionType():
            return st.one_of(*(values(each) for each in type.types))
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.LiteralType():
            return st.sampled_from(type.values)
        case inspect.IntType():
            return st.integers(type.ge, UINT64 if type.le is None else type.le)
        case inspect.StrType(pattern=None):
            return words()
        case inspect.StrType():
            return st.sampled_from(["1KB", "2MB", "1GB"])
        case inspect.VarTupleType():
            return st.lists(values(type.item_type), min_size=type.min_length or 0, max_size=2).map(tuple)
        case inspect.DictType():
            return st.dictionaries(words(), values(type.value_type), max_size=2)
        case _:
            raise NotImplementedError(type)


def member(field: inspect.Field) -> st.SearchStrategy[Any]:
    strategy = st.deferred(lambda: values(field.type))
    if field.required:
        return strategy
    default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return st.one_of(st.just(default), strategy)


@pytest.mark.parametrize("model", [Spec, State, Features])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_decode_inverts_encode(model: type, data: st.DataObject) -> None:
    value = data.draw(values(inspect.type_info(model)))
    verify(value)
    encoded = encode(value)
    assert decode_document(encoded, model) == value
    assert encode(decode_document(encoded, model)) == encoded
    assert decode_document(encode_pretty(value), model) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["ociVersion", "process", "mounts", "linux", "annotations", "x"]), JSON)
)
def test_any_json_is_decoded_or_refused(document: dict[str, Any]) -> None:
    refused = False
    try:
        spec = decode_spec(json.dumps(document))
    except SpecError as exc:
        refused = exc.origin.startswith("$")
    assert refused or decode_spec(encode(spec)) == spec


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SpecError):
        decode_spec(data)


def test_import_is_light() -> None:
    script = "import sys, aiocontainer.spec; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20
    ).stdout.split()
    assert not {"jsonschema", "asyncio", "socket", "subprocess", "dbus_fast", "pyroute2"} & set(loaded)
