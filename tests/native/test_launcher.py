"""The installed command: which interpreter it starts, on what, and what of the caller it takes along."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "_native/launch"


pytestmark = [pytest.mark.needs("gcc"), pytest.mark.may_block("it runs other programs")]


def package() -> Path:
    import aiocontainer

    return Path(aiocontainer.__file__).parent


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("launcher") / "aiocontainer"
    found = spec_from_file_location("native_build", ROOT / "_native/build.py")
    assert found is not None
    assert found.loader is not None
    build = module_from_spec(found)
    found.loader.exec_module(build)
    build.build_launcher(target, strict=True)
    return target


@pytest.fixture
def prefix(launcher: Path, tmp_path: Path) -> Path:
    """A place where the package is installed, as an installer leaves it."""
    for name in ("bin", "elsewhere"):
        (tmp_path / name).mkdir()
    packages = tmp_path / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    packages.mkdir(parents=True)
    (packages / "aiocontainer").symlink_to(package())
    shutil.copy(launcher, tmp_path / "bin/aiocontainer")
    write_script(tmp_path, f"#!{sys.executable}")
    return tmp_path


def write_script(prefix: Path, first: str) -> None:
    script = prefix / "bin/aiocontainer-start"
    _, _, rest = (SOURCE / "aiocontainer-start").read_text().partition("\n")
    script.write_text(f"{first}\n{rest}")
    script.chmod(0o755)


def call(path: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(path), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=path.parent.parent / "elsewhere",
        env={**os.environ, **env},
    )


def test_it_is_the_program(prefix: Path) -> None:
    done = call(prefix / "bin/aiocontainer", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("aiocontainer version ")


def test_it_may_be_called_by_a_link(prefix: Path) -> None:
    link = prefix / "elsewhere/runtime"
    link.symlink_to("../bin/aiocontainer")
    done = call(link, "completion", "tcsh")
    assert done.returncode == 1
    assert "bash, zsh, fish" in done.stderr


def test_words_arrive_as_they_are(prefix: Path) -> None:
    done = call(prefix / "bin/aiocontainer", "man", "a b  *\n-c")
    assert "'a b  *\\n-c'" in done.stderr


def test_nothing_of_the_caller_is_loaded(prefix: Path) -> None:
    """Neither by PYTHONPATH, nor from the directory, nor at start-up."""
    place = prefix / "elsewhere"
    for name in ("os", "json", "aiocontainer", "sitecustomize", "usercustomize", "textwrap"):
        (place / f"{name}.py").write_text("raise SystemExit('loaded')")
    (place / "startup.py").write_text("raise SystemExit('loaded')")
    env = {"PYTHONPATH": str(place), "PYTHONSTARTUP": str(place / "startup.py"), "PYTHONHOME": str(place)}
    done = call(prefix / "bin/aiocontainer", "run", "--help", **env)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("first", ["#!/bin/sh", "#!{python} -u", "#!relative/python", "python"])
def test_another_first_line_is_for_the_kernel(first: str, prefix: Path) -> None:
    """As installers write it where the path is long or has spaces: the script is executed as it is."""
    line = first.format(python=sys.executable)
    (prefix / "bin/aiocontainer-start").write_text(f"{line}\nprint('as it is')\n")
    done = call(prefix / "bin/aiocontainer")
    if first.endswith("-u"):
        assert done.stdout == "as it is\n"
    else:
        assert done.returncode != 0
        assert "as it is" not in done.stdout


def test_many_words_and_a_large_environment_arrive(prefix: Path) -> None:
    words = [f"{n:0200}" for n in range(2000)]
    (prefix / "bin/aiocontainer-start").write_text(
        f"#!{sys.executable}\nimport os, sys\nprint(len(sys.argv), sys.argv[-1], len(os.environ['LARGE']))\n"
    )
    done = call(prefix / "bin/aiocontainer", *words, LARGE="x" * 100_000)
    assert done.stdout.split() == ["2001", words[-1], "100000"]


def test_without_its_script_it_says_so(prefix: Path) -> None:
    (prefix / "bin/aiocontainer-start").unlink()
    done = call(prefix / "bin/aiocontainer", "list")
    assert done.returncode == 127
    assert "install it anew" in done.stderr
