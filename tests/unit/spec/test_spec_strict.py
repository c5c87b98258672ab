"""Reading JSON strictly: what two programs could read in two ways is refused, with its address."""

from __future__ import annotations

import json

import pytest

from aiocontainer.errors import SpecError
from aiocontainer.spec import (
    Process,
    Rlimit,
    Root,
    Spec,
    at,
    decode_process,
    decode_resources,
    decode_spec,
    decode_state,
    encode,
    verify,
)


def refused(document: str | bytes) -> SpecError:
    with pytest.raises(SpecError) as caught:
        decode_spec(document)
    return caught.value


def nested(depth: int) -> str:
    return f'{{"ociVersion": "1.0.0", "unknown": {"[" * (depth - 1)}{"]" * (depth - 1)}}}'


def test_depth_is_bounded() -> None:
    assert decode_spec(nested(64)).oci_version == "1.0.0"
    assert "deeper than 64" in str(refused(nested(65)))
    assert refused('{"a":' * 100_000).origin == "$"
    assert refused('{"a": NaN, "b": ' + "[" * 100_000).origin == "$"


def test_size_is_bounded() -> None:
    room = 4 * 2**20 - len('{"ociVersion": "1.0.0", "x": ""}')
    just_fits = '{"ociVersion": "1.0.0", "x": "' + "a" * room + '"}'
    assert decode_spec(just_fits).oci_version == "1.0.0"
    assert "larger than" in str(refused(just_fits + " "))
    assert "larger than" in str(refused((just_fits + " ").encode()))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_number(number: str) -> None:
    assert refused(f'{{"ociVersion": "1.0.0", "x": [1, {number}]}}').origin == "$.x[1]"


@pytest.mark.parametrize(
    "number", ["1.0", "1e0", "true", '"1"', "[1]", "4294967295", "-1", "1" * 30, "1" * 6000]
)
def test_an_id_is_an_integer_in_range(number: str) -> None:
    document = f'{{"ociVersion": "1.0.0", "process": {{"cwd": "/", "user": {{"uid": {number}}}}}}}'
    assert refused(document).origin == "$.process.user.uid"


def test_unknown_properties_may_hold_any_json() -> None:
    text = '{"ociVersion": "1.0.0", "vendor": {"x": 1e999, "y": ' + "1" * 6000 + ', "z": [null, {"": -0.5}]}}'
    assert decode_spec(text) == Spec(oci_version="1.0.0")


def test_uint64_is_exact() -> None:
    text = '{"type": "RLIMIT_CORE", "hard": 18446744073709551615, "soft": 9007199254740993}'
    (limit,) = decode_process(f'{{"cwd": "/", "rlimits": [{text}]}}').rlimits
    assert (limit.hard, limit.soft) == (2**64 - 1, 2**53 + 1)


@pytest.mark.parametrize("number", [2**64, 10**20 - 1, 10**20, -(2**64), -1])
def test_beyond_uint64(number: int) -> None:
    with pytest.raises(SpecError) as caught:
        decode_resources(f'{{"cpu": {{"shares": {number}}}}}')
    assert caught.value.origin == "$.cpu.shares"


@pytest.mark.parametrize(
    ("document", "origin"),
    [
        ('{"a": 1, "a": 1}', "$.a"),
        ('{"x": [{"b": {"c d": 1, "c d": null}}]}', '$.x[0].b["c d"]'),
        ('{"a": null, "a": null}', "$.a"),
        ('{"\\u0061": 1, "a": 2}', "$.a"),
    ],
)
def test_duplicate_keys(document: str, origin: str) -> None:
    found = refused(document)
    assert found.origin == origin
    assert "twice" in found.problem


def test_strings_are_text_without_nul() -> None:
    assert refused('{"ociVersion": "1.0.0", "x\\u0000": 1}').origin == '$["x\\u0000"]'
    assert refused('{"ociVersion": "1.0.0", "hostname": "\\udC00"}').origin == "$.hostname"
    assert refused('{"ociVersion": "1.0.0\ud800"}').origin == "$"
    assert (
        refused(b'{"ociVersion": "1.0.0\xed\xa0\x80"}').origin == "$"
    )  # a surrogate, as UTF-8 would have it
    spec = decode_spec('{"ociVersion": "1.0.0", "hostname": "\\ud83d\\ude00", "domainname": "\\\\u0000"}')
    assert (spec.hostname, spec.domainname) == ("\U0001f600", "\\u0000")


@pytest.mark.parametrize(
    "text", ["", " ", "{", "nul", "{}{}", "{'a': 1}", "[1,]", '"a\nb"', "\ufeff{}", "01", "+1"]
)
def test_not_json(text: str) -> None:
    assert refused(text).origin == "$"


@pytest.mark.parametrize("text", ["null", "1", '"a"', "[]", "true"])
def test_not_an_object(text: str) -> None:
    assert "expected object" in refused(text).problem


def test_the_key_of_a_map_is_found() -> None:
    entries = {f"org.example.{i}": str(i) for i in range(1000)}
    entries["org.example.617"] = 1  # type: ignore[assignment]
    entries["org.example.900"] = None  # type: ignore[assignment]
    found = refused(json.dumps({"ociVersion": "1.0.0", "annotations": entries}))
    assert found.origin == '$.annotations["org.example.617"]'
    rdma = json.dumps({"rdma": {"mlx5_0": {"hcaHandles": 1}, "mlx5_1": {"hcaHandles": "x"}}})
    with pytest.raises(SpecError) as caught:
        decode_resources(rdma)
    assert caught.value.origin == "$.rdma.mlx5_1.hcaHandles"


def test_addresses() -> None:
    assert at("$.linux", "sysctl") == "$.linux.sysctl"
    assert at("$.linux.sysctl", "net.ipv4.ip_forward") == '$.linux.sysctl["net.ipv4.ip_forward"]'
    assert at("$", "") == '$[""]'


def test_other_documents() -> None:
    state = decode_state(b'{"ociVersion": "1.0.2", "id": "a", "status": "running", "pid": 7, "bundle": "/b"}')
    assert (state.status, state.pid, state.annotations) == ("running", 7, {})
    assert decode_state(encode(state)) == state


@pytest.mark.parametrize(
    ("spec", "origin"),
    [
        (Spec(oci_version=1), "$.ociVersion"),  # type: ignore[arg-type]
        (Spec(oci_version="1.0.0", hostname=None), "$.hostname"),  # type: ignore[arg-type]
        (Spec(oci_version="1.0.0", root=Root(path="a\0b")), "$.root.path"),
        (Spec(oci_version="1.0.0", root=Root(path="\ud800")), "$.root.path"),
        (Spec(oci_version="1.0.0", annotations={"a\0": ""}), '$.annotations["a\\u0000"]'),
        (
            Spec(
                oci_version="1.0.0",
                process=Process(cwd="/", rlimits=(Rlimit(type="RLIMIT_CPU", hard=2**64, soft=0),)),
            ),
            "$.process.rlimits[0].hard",
        ),
        (Spec(oci_version="1.0.0", process=Process(cwd="/", oom_score_adj=1.0)), "$.process.oomScoreAdj"),  # type: ignore[arg-type]
    ],
)
def test_values_built_in_python_are_held_to_the_same(spec: Spec, origin: str) -> None:
    with pytest.raises(SpecError) as caught:
        verify(spec)
    assert caught.value.origin == origin


def test_encoding_half_a_pair_names_the_field() -> None:
    with pytest.raises(SpecError) as caught:
        encode(Spec(oci_version="1.0.0", hostname="\udfff"))
    assert caught.value.origin == "$.hostname"
