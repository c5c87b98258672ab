"""The model against the JSON schemas and sample documents of the runtime specification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import inspect

from aiocontainer.errors import SpecError
from aiocontainer.spec import Features, Spec, State, decode_features, decode_spec, decode_state, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMAS = Path(__file__).parents[4] / "shared" / "data" / "oci-runtime-spec-1.3"

pytestmark = pytest.mark.skipif(
    not SCHEMAS.is_dir(), reason="the runtime-spec schemas are not beside the tree"
)

DECODERS: dict[str, Callable[[bytes], Any]] = {
    "config": decode_spec,
    "features": decode_features,
    "state": decode_state,
}

# Other platforms' members, and what only Windows has in the common ones: ignored like any unknown.
NOT_LINUX = {
    *("$.solaris", "$.windows", "$.vm", "$.zos", "$.freebsd"),
    *("$.process.commandLine", "$.process.user.username"),
}

OTHER_PLATFORMS = ("freebsd-vnet-disable",)  # bad in what is ignored here

Schema = dict[str, Any]


def samples(quality: str) -> list[Path]:
    return sorted(SCHEMAS.glob(f"test/*/{quality}/*.json"))


def resolve(schema: Schema, file: str) -> tuple[Schema, str]:
    """Follow references; they may lead into another file."""
    while "$ref" in schema:
        target, _, pointer = schema["$ref"].partition("#")
        file = target or file
        schema = json.loads((SCHEMAS / file).read_text())
        for part in pointer.strip("/").split("/"):
            schema = schema[part]
    return schema, file


def parts(schema: Schema, file: str) -> Iterator[tuple[Schema, str]]:
    """A schema and everything it is combined of."""
    schema, file = resolve(schema, file)
    yield schema, file
    for each in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        yield from parts(each, file)


def strip_null(type: inspect.Type) -> inspect.Type:
    if isinstance(type, inspect.UnionType):
        (type,) = (each for each in type.types if not isinstance(each, inspect.NoneType))
    return type


def gaps(schema: Schema, file: str, type: inspect.Type, address: str) -> Iterator[str]:
    """Everything in the schema that the model lacks, or has of another kind."""
    type = strip_null(type)
    for part, home in parts(schema, file):
        if "properties" in part:
            yield from property_gaps(part, home, type, address)
        elif isinstance(part.get("additionalProperties"), dict):
            if isinstance(type, inspect.DictType):
                yield from gaps(part["additionalProperties"], home, type.value_type, f"{address}[...]")
            else:
                yield f"{address}: not a map"
        elif "items" in part:
            if isinstance(type, inspect.VarTupleType):
                yield from gaps(part["items"], home, type.item_type, f"{address}[]")
            else:
                yield f"{address}: not a tuple"
        else:
            yield from value_gaps(part, type, address)


def property_gaps(part: Schema, file: str, type: inspect.Type, address: str) -> Iterator[str]:
    if not isinstance(type, inspect.StructType):
        yield f"{address}: not an object"
        return
    fields = {field.encode_name: field for field in type.fields}
    for name, schema in part["properties"].items():
        place = f"{address}.{name}"
        if place in NOT_LINUX:
            continue
        if name in fields:
            yield from gaps(schema, file, fields[name].type, place)
        else:
            yield f"{place}: missing"


def value_gaps(part: Schema, type: inspect.Type, address: str) -> Iterator[str]:
    if "enum" in part and not (
        isinstance(type, inspect.LiteralType) and set(part["enum"]) <= set(type.values)
    ):
        yield f"{address}: not these words"
    if "type" not in part:
        return
    kinds = {
        "string": (inspect.StrType, inspect.LiteralType),
        "integer": (inspect.IntType,),
        "boolean": (inspect.BoolType,),
        "object": (inspect.StructType, inspect.DictType),
        "array": (inspect.VarTupleType,),
    }
    if not isinstance(type, kinds[part["type"]]):
        yield f"{address}: not a {part['type']}"


@pytest.mark.parametrize(
    ("file", "model"),
    [("config-schema.json", Spec), ("state-schema.json", State), ("features-schema.json", Features)],
)
def test_every_property_is_modelled(file: str, model: type) -> None:
    schema = json.loads((SCHEMAS / file).read_text())
    assert list(gaps(schema, file, inspect.type_info(model), "$")) == []


def test_the_comparison_finds_what_is_missing() -> None:
    class Poor(msgspec.Struct, rename="camel"):
        oci_version: int

    found = list(
        gaps(
            json.loads((SCHEMAS / "state-schema.json").read_text()),
            "state-schema.json",
            inspect.type_info(Poor),
            "$",
        )
    )
    assert "$.ociVersion: not a string" in found
    assert "$.bundle: missing" in found


@pytest.mark.parametrize("path", samples("good"), ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_good_documents(path: Path) -> None:
    decode = DECODERS[path.parts[-3]]
    value = decode(path.read_bytes())
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "path",
    [path for path in samples("bad") if path.stem not in OTHER_PLATFORMS],
    ids=lambda path: f"{path.parts[-3]}-{path.stem}",
)
def test_bad_documents(path: Path) -> None:
    with pytest.raises(SpecError):
        DECODERS[path.parts[-3]](path.read_bytes())


def test_what_we_encode_satisfies_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    specification = pytest.importorskip("referencing.jsonschema").DRAFT4
    files = {
        path.name: specification.create_resource(json.loads(path.read_text()))
        for path in SCHEMAS.glob("*.json")
    }
    registry = referencing.Registry().with_resources(files.items())
    schema = json.loads((SCHEMAS / "config-schema.json").read_text())
    validator = jsonschema.Draft4Validator({**schema, "id": "config-schema.json"}, registry=registry)
    for path in samples("good"):
        if path.parts[-3] == "config":
            validator.validate(json.loads(encode(decode_spec(path.read_bytes()))))
