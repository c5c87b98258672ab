"""A directory that behaves as the resctrl file system does, as far as it matters to its users."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SCHEMATA = "    L3:0=fffff;1=fffff\n    MB:0= 100;1= 100\n"


class FakeResctrl:
    """Making a directory makes its files; removing it takes them away; names of its own are taken."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._mkdir, self._rmdir = os.mkdir, os.rmdir
        for name in ("L3", "MB", "L3_MON"):
            os.makedirs(f"{root}/info/{name}")
        self.status("ok")
        self._fill(self.root, control=True)

    def status(self, text: str) -> None:
        """What the kernel says of the last command."""
        with open(f"{self.root}/info/last_cmd_status", "w") as file:
            file.write(f"{text}\n")

    def group(self, name: str, schemata: str = SCHEMATA) -> str:
        """Make a group that somebody else has made."""
        os.mkdir(f"{self.root}/{name}")
        with open(f"{self.root}/{name}/schemata", "w") as file:
            file.write(schemata)
        return f"{self.root}/{name}"

    def mkdir(self, path: str, *args: Any, **more: Any) -> None:
        self._mkdir(path, *args, **more)
        if str(path).startswith(f"{self.root}/"):
            self._fill(path, control=os.path.dirname(path) == self.root)

    def rmdir(self, path: str, *args: Any, **more: Any) -> None:
        if str(path).startswith(f"{self.root}/"):
            for name in ("tasks", "schemata"):
                if os.path.exists(f"{path}/{name}"):
                    os.unlink(f"{path}/{name}")
            if os.path.isdir(f"{path}/mon_groups"):
                self._rmdir(f"{path}/mon_groups")
        self._rmdir(path, *args, **more)

    def read(self, path: str) -> str:
        with open(f"{self.root}/{path}") as file:
            return file.read()

    def _fill(self, path: str, *, control: bool) -> None:
        for name, text in (("tasks", ""), *((("schemata", SCHEMATA),) if control else ())):
            with open(f"{path}/{name}", "w") as file:
                file.write(text)
        if control:
            self._mkdir(f"{path}/mon_groups")


@pytest.fixture
def fake_resctrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeResctrl:
    root = tmp_path / "resctrl"
    root.mkdir()
    fake = FakeResctrl(root)
    monkeypatch.setattr(os, "mkdir", fake.mkdir)
    monkeypatch.setattr(os, "rmdir", fake.rmdir)
    return fake
