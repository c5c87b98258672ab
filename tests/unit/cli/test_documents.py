"""spec and plan: what needs no container."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from aiocontainer.cli import execute

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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
