"""A program for containers that says what it finds itself to be: ``guest.c``, and what it said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aiocontainer import Container, Process, Runtime, Spec

HERE = os.path.dirname(__file__)
PATH = "/bin/guest"

Found = dict[str, Any]


def compile_program(source: str, target: str) -> str:
    """Compile a static program for a root file system that has no libraries; return its path."""
    command = ["gcc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", target, source]
    subprocess.run(command, check=True)
    return target


@pytest.fixture(scope="session")
def guest_program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of the compiled program on the host."""
    directory = tmp_path_factory.mktemp("guest")
    return compile_program(os.path.join(HERE, "guest.c"), str(directory / "guest"))


@pytest.fixture
def guestfs(rootfs: str, guest_program: str) -> str:
    """The root file system, with the program as ``/bin/guest``."""
    shutil.copy(guest_program, rootfs + PATH)
    return rootfs


async def look(runtime: Runtime, spec: Spec, **options: Any) -> Found:
    """Run the program as the container's, and return what it found."""
    done = await runtime.run(spec.with_args([PATH]), **options)
    assert done.exit.clean, done
    assert done.stdout is not None
    found: Found = json.loads(done.stdout)
    return found


async def look_by_exec(container: Container, **options: Any) -> Found:
    """Run the program in a running container, and return what it found."""
    return await said(await container.exec([PATH], stdout=PIPE, **options))


async def said(process: Process) -> Found:
    """Return what the program found, once it has ended."""
    output, _ = await process.communicate()
    assert (await process.wait()).clean
    assert output is not None
    found: Found = json.loads(output)
    return found


def status_ids(pid: int) -> dict[str, list[int]]:
    """Return uids, gids and groups of a process as the host sees them.  proc_pid_status(5)"""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.rstrip("\n").split(":", 1) for line in file)
    return {name: [int(word) for word in fields[name].split()] for name in ("Uid", "Gid", "Groups")}


def mounts_of(pid: int) -> dict[str, dict[str, str]]:
    """Return the mounts of a process: mount point to its fields; the last of several counts."""
    found = {}
    with open(f"/proc/{pid}/mountinfo") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            fields, rest = left.split(), right.split()
            found[fields[4]] = {
                "root": fields[3],
                "options": fields[5],
                "shared": " ".join(fields[6:]),
                "type": rest[0],
                "source": rest[1],
                "superblock": rest[2],
            }
    return found
