"""What the second disk holds: the package, its dependencies for the guest's Python, and the tests.

Everything is installed on this side: pip under emulation takes minutes.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

from packaging.requirements import Requirement

from tests.vm import debian

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["TREE", "fill", "wheel"]

TREE = Path(__file__).resolve().parents[2]

BUILT = (".git", ".tox", ".*_cache", "__pycache__", "build", "*.egg-info", "*.so", "*.o")

# Published as source only; pure Python, so a wheel made here serves there.
SOURCE_ONLY = ("pyinotify",)
# pip evaluates markers of indirect requirements for the Python that runs it, not for --python-version.
INDIRECT = ("typing-extensions",)

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def pip(*arguments: object) -> None:
    """Run the pip of this interpreter, quietly."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    subprocess.run(command, check=True)


def wheel(directory: Path) -> Path:
    """Build the tree's wheel into *directory*, from a copy: a build leaves files in its source."""
    with tempfile.TemporaryDirectory(prefix="aioc-test-wheel-") as copy:
        source = Path(copy, "source")
        shutil.copytree(TREE, source, ignore=shutil.ignore_patterns(*BUILT))
        pip("wheel", "--no-deps", "--wheel-dir", directory, source)
    return next(directory.glob("aiocontainer-*.whl"))


def requirements(package: Path, python: str) -> list[str]:
    """What *package* and its tests need under *python*, markers resolved."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": "test"}
    with ZipFile(package) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    needed = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    wanted = [need for need in needed if need.marker is None or need.marker.evaluate(environment)]
    return sorted({f"{need.name}{need.specifier}" for need in wanted} | set(INDIRECT))


def install(target: Path, what: Iterable[object], python: str, *options: object) -> None:
    """Put *what* into *target* as if *python* on the guest's platform had installed it."""
    choice = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp", "--no-compile"]
    for platform in PLATFORMS:
        choice += ["--platform", platform]
    pip("install", "--target", target, *choice, *options, *what)


def dependencies(needed: Sequence[str], python: str) -> Path:
    """Directory with *needed* installed, kept between runs."""
    key = hashlib.sha256(repr((needed, python, SOURCE_ONLY)).encode()).hexdigest()[:16]
    target = debian.cache() / "vm" / f"site-{key}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=target.parent) as work:
        wheels, site = Path(work, "wheels"), Path(work, "site")
        pip("wheel", "--no-deps", "--wheel-dir", wheels, *SOURCE_ONLY)
        install(site, needed, python, "--find-links", wheels)
        site.rename(target)
    return target


def fill(directory: Path, package: Path, python: str) -> None:
    """Make *directory* the content of the second disk, without its `run`."""
    site = directory / "site"
    shutil.copytree(dependencies(requirements(package, python), python), site)
    with ZipFile(package) as archive:  # its tag names this machine's C library: pip would refuse it
        for member in archive.infolist():
            path = archive.extract(member, site)
            Path(path).chmod(member.external_attr >> 16 or 0o755)
    # The guest imports the installed package: its source must not stand beside the tests.
    shutil.copytree(TREE, directory / "tree", ignore=shutil.ignore_patterns("aiocontainer", *BUILT))
