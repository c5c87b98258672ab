"""The features document: made of the parsers' own tables, and the schema takes it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aiocontainer
from aiocontainer import Runtime, features
from aiocontainer.errors import UnsupportedError
from aiocontainer.plan.flags import CAPABILITIES, NAMESPACES, SECCOMP_ACTIONS, SECCOMP_FLAGS
from aiocontainer.plan.mount_options import MOUNT_OPTIONS, parse_options
from aiocontainer.plan.tuning_tables import MEMORY_FLAGS, MEMORY_MODES
from aiocontainer.spec import UNSAFE_ANNOTATIONS, Hooks, decode_features, encode

SCHEMAS = Path(__file__).parents[3] / "shared" / "data" / "oci-runtime-spec-1.3"
PACKAGE = Path(aiocontainer.__file__).parent


def test_it_is_what_the_schema_wants() -> None:
    if not SCHEMAS.is_dir():
        pytest.skip("the runtime-spec schemas are not beside the tree")
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    specification = pytest.importorskip("referencing.jsonschema").DRAFT4
    files = {
        path.name: specification.create_resource(json.loads(path.read_text()))
        for path in SCHEMAS.glob("*.json")
    }
    registry = referencing.Registry().with_resources(files.items())
    schema = json.loads((SCHEMAS / "features-schema.json").read_text())
    validator = jsonschema.Draft4Validator({**schema, "id": "features-schema.json"}, registry=registry)
    validator.validate(json.loads(encode(features())))


def test_it_can_be_read_back() -> None:
    assert decode_features(encode(features())) == features() == Runtime.features()


def test_words_are_those_of_the_parsers() -> None:
    document = features()
    assert document.linux is not None
    assert document.hooks == tuple(Hooks.__struct_encode_fields__)
    assert set(document.linux.namespaces or ()) == set(NAMESPACES)
    assert document.linux.capabilities == tuple(CAPABILITIES)
    assert document.linux.seccomp is not None
    assert set(document.linux.seccomp.actions) == set(SECCOMP_ACTIONS)
    assert document.linux.seccomp.known_flags == tuple(SECCOMP_FLAGS)
    assert document.linux.memory_policy is not None
    assert set(document.linux.memory_policy.modes) == set(MEMORY_MODES)
    assert set(document.linux.memory_policy.flags) == set(MEMORY_FLAGS)


def test_flags_of_filters_are_those_that_the_kernel_knows() -> None:
    from aiocontainer.probe import probe

    document = features()
    assert document.linux is not None
    assert document.linux.seccomp is not None
    known = probe().seccomp_flags
    assert document.linux.seccomp.supported_flags == tuple(
        name for name, flag in SECCOMP_FLAGS.items() if flag & known
    )


@pytest.mark.parametrize("word", MOUNT_OPTIONS)
def test_a_mount_option_is_listed_if_it_is_taken(word: str) -> None:
    try:
        parse_options((word,), "$")
    except UnsupportedError:
        assert word not in (features().mount_options or ())
    else:
        assert word in (features().mount_options or ())


def literals() -> set[str]:
    """Every text in the package that could be the name of an annotation."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    pattern = r"(run\.oci|org\.systemd|org\.criu|io\.kubernetes|org\.opencontainers)\.[\w.-]+"
    return {text for text in found if re.fullmatch(pattern, text)}


def test_every_annotation_that_is_read_is_listed() -> None:
    """Invariant 41."""

    def is_listed(name: str) -> bool:
        return any(name == each or (each[-1] == "." and name.startswith(each)) for each in UNSAFE_ANNOTATIONS)

    # Those of the image-spec are what an image says of itself: none of them does anything.
    names = {name for name in literals() if not name.startswith("org.opencontainers.image.")}
    assert {name for name in names if not is_listed(name)} == set()
    assert features().potentially_unsafe_config_annotations == UNSAFE_ANNOTATIONS


def test_the_command_stays_light() -> None:
    """No loop, no helper, no probe: it is asked for by engines at every start."""
    code = "import sys; from aiocontainer.cli import execute; execute(['features']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    document, _, modules = done.stdout.rpartition("}\n")
    assert json.loads(document + "}") == json.loads(encode(features()))
    loaded = {name.split(".")[0] for name in modules.split()}
    assert not {"asyncio", "pyroute2", "dbus_fast", "cffi", "_cffi_backend"} & loaded
    assert "aiocontainer.probe" not in modules.split()
