"""A root file system and a runtime for tests on the real kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from aiocontainer import Runtime

    from .leaks import Leaks

DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n"
GROUP = "root:x:0:\ntty:x:5:\nuser:x:1000:\nextra:x:2000:user\n"


@pytest.fixture(scope="session")
def busybox() -> str:
    """The static busybox of the machine."""
    path = shutil.which("busybox")
    if path is None:
        pytest.skip("needs busybox")
    return path


@pytest.fixture(scope="session")
def applets(busybox: str) -> list[str]:
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    return listed.stdout.split()


@pytest.fixture
def public_tmp() -> Iterator[str]:
    """A directory that every user can pass through, unlike `tmp_path`."""
    path = tempfile.mkdtemp(prefix="aioc-test-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def rootfs(public_tmp: str, busybox: str, applets: list[str]) -> str:
    """A root file system of the test's own: busybox and a handful of files."""
    root = os.path.join(public_tmp, "rootfs")
    for name in DIRECTORIES:
        os.makedirs(os.path.join(root, name))
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    shutil.copy(busybox, os.path.join(root, "bin/busybox"))
    for name in set(applets) - {"busybox"}:
        os.symlink("busybox", os.path.join(root, "bin", name))
    for name, text in (("passwd", PASSWD), ("group", GROUP)):
        with open(os.path.join(root, "etc", name), "w") as file:
            file.write(text)
    return root


@pytest.fixture
def bundle(public_tmp: str, rootfs: str) -> Callable[[Any], str]:
    """Function that writes a `Spec` as the `config.json` beside the root and returns the bundle's path."""

    def write(spec: Any) -> str:
        with open(os.path.join(public_tmp, "config.json"), "wb") as file:
            file.write(spec.encode())
        return public_tmp

    return write


@pytest.fixture
async def runtime(snap: Leaks, tmp_path: Path) -> AsyncIterator[Runtime]:
    """A runtime with a state directory of its own; whatever it leaves behind fails the test."""
    from aiocontainer import Runtime

    root = str(tmp_path / "state")
    snap.watch(root)
    async with Runtime(root=root) as runtime:
        yield runtime
