"""spec and plan: what needs no container."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from aiocontainer import SpecError
from aiocontainer.cli import execute
from aiocontainer.container.source import load_source
from aiocontainer.probe import probe

if TYPE_CHECKING:
    from pathlib import Path

RUNC_MOUNTS = {
    "/proc": "proc",
    "/dev": "tmpfs",
    "/dev/pts": "devpts",
    "/dev/shm": "tmpfs",
    "/dev/mqueue": "mqueue",
    "/sys": "sysfs",
    "/sys/fs/cgroup": "cgroup",
}


def written(directory: Path, *options: str) -> dict[str, Any]:
    assert execute(["spec", "--bundle", str(directory), *options]) == 0
    document: dict[str, Any] = json.loads((directory / "config.json").read_text())
    return document


def types(document: dict[str, Any]) -> set[str]:
    return {namespace["type"] for namespace in document["linux"]["namespaces"]}


def test_spec_is_that_of_runc(tmp_path: Path) -> None:
    document = written(tmp_path)
    assert document["process"]["args"] == ["sh"]
    assert document["process"]["terminal"] is True
    assert document["root"] == {"path": "rootfs", "readonly": True}
    assert {mount["destination"]: mount["type"] for mount in document["mounts"]} == RUNC_MOUNTS
    assert types(document) == {"pid", "network", "ipc", "uts", "mount", "cgroup"}
    assert "/proc/kcore" in document["linux"]["maskedPaths"]
    assert (tmp_path / "config.json").read_text().startswith('{\n\t"ociVersion"')


def test_rootless_spec(tmp_path: Path) -> None:
    document = written(tmp_path, "--rootless")
    linux = document["linux"]
    assert "user" in types(document)
    assert "network" not in types(document)
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    assert "resources" not in linux


def test_spec_goes_to_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert execute(["spec"]) == 0
    assert (tmp_path / "config.json").exists()


def test_spec_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    file.write_text("mine")
    assert execute(["spec", "-b", str(tmp_path)]) == 1
    assert file.read_text() == "mine"
    assert "exists" in capsys.readouterr().err


def test_plan_trusts_annotations_as_far_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from aiocontainer import runtime
    from aiocontainer.plan.host import CgroupMode, Host

    host = Host(
        kernel=(6, 1),
        euid=0,
        egid=0,
        capabilities=(1 << 41) - 1,
        cgroup_mode=CgroupMode.V2,
        cgroup_hierarchies={"": "/sys/fs/cgroup"},
        cgroup_delegated=True,
        systemd=257,
    )
    monkeypatch.setattr(runtime, "has_systemd", lambda: True)
    monkeypatch.setattr(runtime, "probe", lambda: host)
    document = written(tmp_path)
    (tmp_path / "rootfs").mkdir()
    words = ["plan", "--systemd-cgroup", "--property-policy"]
    for name, value, taken in (
        ("TimeoutStopUSec", "5", {"careful", "untrusted", "any"}),
        ("KillMode", "'mixed'", {"careful", "any"}),
        ("SuccessAction", "'none'", {"any"}),
    ):
        document["annotations"] = {f"org.systemd.property.{name}": value}
        (tmp_path / "config.json").write_text(json.dumps(document))
        for policy in ("careful", "untrusted", "any"):
            assert execute([*words, policy, str(tmp_path)]) == (0 if policy in taken else 1), policy
            captured = capsys.readouterr()
            assert name in (captured.out if policy in taken else captured.err)


def test_another_name_than_config_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["spec", "-b", str(tmp_path), "-f", "web.json"]) == 0
    assert os.listdir(tmp_path) == ["web.json"]
    assert execute(["spec", "-b", str(tmp_path), "--config", "web.json"]) == 1
    assert "exists" in capsys.readouterr().err
    found = load_source(str(tmp_path), probe(), config="web.json")
    assert found.spec.root is not None
    assert found.bundle == os.path.realpath(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_source(str(tmp_path), probe())
    with pytest.raises(SpecError, match="config"):
        load_source(found.spec, probe(), config="web.json")


def test_no_bundle_no_file_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["run", "-f", "x.json", "--", "true"]) == 1
    assert "--config" in capsys.readouterr().err
