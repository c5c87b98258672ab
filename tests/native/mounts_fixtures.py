"""A rootfs to mount in, a host directory to keep out of, and what either is run by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mounts_runner import Rootfs, compile_driver, manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Compile a driver at its first use."""
    directory = str(tmp_path_factory.mktemp("drivers"))
    compiled: dict[tuple[str, ...], str] = {}

    def driver(*weaknesses: str) -> str:
        if weaknesses not in compiled:
            compiled[weaknesses] = compile_driver(directory, *weaknesses)
        return compiled[weaknesses]

    return driver


@pytest.fixture
def root(drivers: Callable[..., str], tmp_path: Path) -> Iterator[Rootfs]:
    """An empty rootfs; afterwards the host's mounts are what they were."""
    before = host_mounts()
    path = tmp_path / "rootfs"
    path.mkdir()
    yield Rootfs(drivers(), str(path))
    assert host_mounts() == before


@pytest.fixture
def weak(drivers: Callable[..., str], root: Rootfs) -> Callable[[str], Rootfs]:
    """The same rootfs under a helper without one of its guards."""
    return lambda name: Rootfs(drivers(name), root.path)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A directory of the host that no container may touch."""
    path = tmp_path / "canary"
    path.mkdir()
    (path / "file").write_text("untouched")
    (path / "directory").mkdir()
    return path


@pytest.fixture
def untouched(canary: Path) -> Iterator[Path]:
    """The same, and it is not touched."""
    before = manifest(str(canary))
    yield canary
    assert manifest(str(canary)) == before


def host_mounts() -> str:
    with open("/proc/self/mountinfo") as file:
        return file.read()


@pytest.fixture
def userns(root: Rootfs) -> Rootfs:
    """The same in a user namespace, where all mounts of the host are locked."""
    root.wrapper = ("unshare", "--user", "--map-root-user")
    return root
