"""The default configuration, against runc's own, and the small changes that Spec offers."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiocontainer.errors import SpecError
from aiocontainer.spec import (
    DEFAULT_CAPABILITIES,
    Mount,
    Process,
    Spec,
    check,
    decode_spec,
    default_spec,
    encode_pretty,
    rootless,
    rootless_spec,
)

if TYPE_CHECKING:
    from pathlib import Path


def runc_spec(directory: Path, *options: str) -> dict[str, Any]:
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if runc is None:
        pytest.skip("runc is not installed")
    subprocess.run([runc, "spec", *options], cwd=directory, check=True, timeout=20)
    return json.loads((directory / "config.json").read_text())  # type: ignore[no-any-return]


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """Take away what differs on purpose: names, and what versions of runc do not agree about."""
    del document["ociVersion"], document["hostname"]
    document["process"]["capabilities"].pop("ambient", None)  # until 1.1, never inheritable
    document["process"]["capabilities"].pop("inheritable", None)  # until 1.1.1
    namespaces = {each["type"] for each in document["linux"]["namespaces"]}
    document["linux"]["namespaces"] = sorted(namespaces - {"cgroup"})  # by the host's cgroup version
    return document


def test_default_is_that_of_runc(tmp_path: Path) -> None:
    ours = json.loads(encode_pretty(default_spec()))
    assert comparable(ours) == comparable(runc_spec(tmp_path))


def test_rootless_is_that_of_runc(tmp_path: Path) -> None:
    theirs = runc_spec(tmp_path, "--rootless")
    uid, gid = (theirs["linux"][f"{kind}Mappings"][0]["hostID"] for kind in ("uid", "gid"))
    ours = json.loads(encode_pretty(rootless_spec(uid=uid, gid=gid)))
    assert comparable(ours) == comparable(theirs)


def test_runc_documents_are_accepted(tmp_path: Path) -> None:
    runc_spec(tmp_path)
    spec = Spec.load(tmp_path)
    assert spec.root
    assert spec.root.path == "rootfs"
    check(spec)


def test_defaults_are_right() -> None:
    for spec in (default_spec(), rootless_spec(uid=1000, gid=1000), Spec.default(["true"], rootfs="/srv")):
        assert check(spec) == []
        assert decode_spec(encode_pretty(spec)) == spec


def test_default_for_embedding() -> None:
    spec = Spec.default(["sleep", "60"], rootfs="/srv/rootfs")
    assert spec.process
    assert spec.root
    assert spec.process.args == ("sleep", "60")
    assert spec.process.terminal is False
    assert spec.process.no_new_privileges is True
    assert spec.process.capabilities
    assert spec.process.capabilities.bounding == DEFAULT_CAPABILITIES
    assert spec.process.capabilities.ambient == spec.process.capabilities.inheritable == ()
    assert spec.root.path == "/srv/rootfs"
    assert spec.root.readonly is True


def test_one_string_is_not_a_command() -> None:
    with pytest.raises(TypeError):
        Spec.default("sleep 60", rootfs="/")
    with pytest.raises(TypeError):
        default_spec().with_args("ls")


def test_rootless_twice_is_rootless_once() -> None:
    once = rootless(default_spec(), 1000, 1000)
    assert rootless(once, 1000, 1000) == once
    assert rootless(Spec(oci_version="1.0.0"), 1, 2).linux is not None


def test_pretty_is_indented_by_tabs() -> None:
    text = encode_pretty(default_spec()).decode()
    assert text.startswith('{\n\t"ociVersion": "1.3.0",\n\t"process": {\n\t\t"terminal": true')
    assert text.endswith("}\n")


def test_changes_return_copies() -> None:
    spec = default_spec()
    changed = (
        spec.with_args(["env"])
        .with_env({"TERM": "dumb", "A.B": "1"}, C="=")
        .with_user(1000, 1001, additional_gids=[5])
        .with_hostname("box")
        .with_mount(Mount.bind("/srv", "/data", read_only=True), Mount.tmpfs("/tmp", size="64M"))
        .with_annotation("a", "b")
    )
    assert spec == default_spec()
    process = changed.process
    assert process
    assert process.args == ("env",)
    assert process.env[1:] == ("TERM=dumb", "A.B=1", "C==")
    assert (process.user.uid, process.user.gid, process.user.additional_gids) == (1000, 1001, (5,))
    assert changed.hostname == "box"
    assert changed.mounts[-2].options == ("rbind", "rro")
    assert changed.mounts[-1].options == ("nosuid", "nodev", "size=64M")
    assert changed.annotations == {"a": "b"}
    assert check(changed) == []
    assert Spec(oci_version="1.0.0").with_args(["a"]).process == Process(args=("a",), cwd="/")


def test_systemd_properties() -> None:
    """What becomes of values is told in the tests of units."""
    spec = default_spec().with_systemd_property("CollectMode", "inactive-or-failed")
    assert spec.annotations == {"org.systemd.property.CollectMode": "'inactive-or-failed'"}
    with pytest.raises(SpecError, match=r"systemd_properties\.CollectMode"):
        spec.with_systemd_property("CollectMode", 5)


@given(st.dictionaries(st.from_regex(r"[A-Z]{1,3}", fullmatch=True), st.text(max_size=5), max_size=5))
def test_each_variable_once(variables: dict[str, str]) -> None:
    process = default_spec().with_env(variables).with_env(variables).process
    assert process
    for name, value in variables.items():
        assert [each for each in process.env if each.startswith(name + "=")] == [f"{name}={value}"]


def test_load_reads_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(encode_pretty(default_spec()))
    assert Spec.load(str(tmp_path)) == default_spec()
    with pytest.raises(FileNotFoundError):
        Spec.load(tmp_path / "absent")
