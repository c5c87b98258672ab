"""What the installed command finds modules by: the same modules as importlib, or nothing."""

from __future__ import annotations

import compileall
import importlib.util
import os
import py_compile
import shutil
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from aiocontainer._finders import Compiled

PACKAGE = Path(__file__).parents[2] / "aiocontainer"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A package with one module, compiled."""
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "module.py").write_text("value = 1\n")
    mode = py_compile.PycInvalidationMode.TIMESTAMP
    py_compile.compile(str(tmp_path / "module.py"), doraise=True, invalidation_mode=mode)
    return tmp_path


def find(place: Path, name: str = "module") -> importlib.machinery.ModuleSpec | None:
    return Compiled().find_spec(f"aiocontainer.{name}", [str(place)])


def test_it_tells_what_importlib_tells(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE / "store", tmp_path / "store", ignore=shutil.ignore_patterns("__pycache__"))
    path, mode = [str(tmp_path)], py_compile.PycInvalidationMode.TIMESTAMP
    assert compileall.compile_dir(tmp_path, quiet=1, invalidation_mode=mode)
    names = ["store", *(f"store.{each.stem}" for each in tmp_path.glob("store/[a-z]*.py"))]
    assert len(names) > 3
    for name in names:
        place = path if "." not in name else [f"{tmp_path}/store"]
        ours, theirs = (kind.find_spec(f"aiocontainer.{name}", place) for kind in (Compiled(), PathFinder))
        assert ours is not None, name
        assert theirs is not None
        for key in ("name", "origin", "cached", "has_location", "submodule_search_locations", "parent"):
            assert getattr(ours, key) == getattr(theirs, key), key
        assert ours.loader.get_code(ours.name) == theirs.loader.get_code(theirs.name)  # type: ignore[union-attr]
        assert ours.loader.get_source(ours.name)  # type: ignore[union-attr]


def test_what_it_finds_can_be_executed_more_than_once(place: Path) -> None:
    spec = find(place)
    assert spec is not None
    assert spec.loader is not None
    for _ in range(2):
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.value == 1
        assert module.__file__ == str(place / "module.py")


def test_a_newer_source_is_not_its_business(place: Path) -> None:
    source = place / "module.py"
    before = source.stat()
    source.write_text("value = 2\n")  # as long as before
    os.utime(source, (before.st_atime, before.st_mtime + 2))
    assert find(place) is None
    source.write_text("value = 22\n")
    os.utime(source, (before.st_atime, before.st_mtime))
    assert find(place) is None


@pytest.mark.parametrize("damage", ["missing", "short", "empty", "other", "hashed", "source"])
def test_nor_is_anything_else_that_is_not_as_usual(damage: str, place: Path) -> None:
    cached = Path(importlib.util.cache_from_source(str(place / "module.py")))
    data = cached.read_bytes()
    if damage == "hashed":
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(place / "module.py"), invalidation_mode=mode)
    elif damage == "missing":
        cached.unlink()
    elif damage == "source":
        (place / "module.py").unlink()
    else:
        cached.write_bytes({"short": data[:-9], "empty": b"", "other": b"0000" + data[4:]}[damage])
    assert find(place) is None


@pytest.mark.parametrize("name", ["msgspec", "no_such_module_anywhere", "aiocontainer.none", "_cffi_backend"])
def test_others_are_left_to_importlib(name: str) -> None:
    path = [str(PACKAGE)] if "." in name else None
    assert Compiled().find_spec(name, path) is None


def test_a_process_that_uses_it_imports_what_another_one_does(tmp_path: Path) -> None:
    code = """
import os, sys
sys.path.append(sys.argv[1])
if sys.argv[2] == "ours":
    from aiocontainer._finders import install
    install()
import aiocontainer.errors, json.decoder, concurrent.futures, email.message
for name, module in sorted(sys.modules.items()):
    if not name.startswith("_") and name != "aiocontainer._finders":
        print(name, getattr(module, "__file__", ""), getattr(module, "__path__", ""), module.__package__)
"""
    told = [
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, str(PACKAGE.parent), kind],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for kind in ("ours", "theirs")
    ]
    ours, theirs = (set(text.splitlines()) for text in told)
    assert theirs <= ours
    assert {line.split()[0] for line in ours - theirs} <= {"marshal"}
