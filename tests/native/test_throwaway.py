"""Layers that end with the container, made without root; and what is done where the kernel gives none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from mounts_runner import PROC, RSLAVE, Outcome, Rootfs

from aiocontainer.plan import flags, steps

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("mounts_fixtures",)
pytestmark = pytest.mark.needs("root", "gcc", "compiled", "userns", "overlay")


def look(root: Rootfs, path: str, script: str) -> Outcome:
    """Run a shell of the host's over the path, whose programs come from the host."""
    throwaway = steps.Rootfs("", path, how=flags.ROOTFS_THROWAWAY)
    plan = [steps.Propagation("", RSLAVE), throwaway, *root.programs(), PROC, steps.Pivot("")]
    return root.run(*plan, steps.VerifyMounts(""), steps.Exec("", ("/bin/sh", "-ec", script), ()))


def test_writes_end_with_the_container(root: Rootfs, userns: Rootfs) -> None:
    root.make("d/sub")
    root.write("d/file", "lower\n")
    script = (
        "cd /d; cat file; echo upper >file; cat file; rm -r sub; mkdir sub; touch sub/new; ls; "
        "mount | grep -c ' / type overlay'"
    )
    found = look(userns, root.path, script)
    assert found.output.split() == ["lower", "upper", "file", "sub", "1"], found
    with open(root.at("d/file")) as file:
        assert file.read() == "lower\n"
    assert os.listdir(root.at("d/sub")) == []


def test_upper_layer_is_seen_nowhere_else(root: Rootfs, userns: Rootfs) -> None:
    script = "grep -c tmpfs /proc/self/mountinfo || echo none; ls /upper /work 2>/dev/null || echo no"
    found = look(userns, root.path, script)
    assert found.output.split() == ["0", "none", "no"], found


def test_names_with_colons_and_backslashes(root: Rootfs, userns: Rootfs) -> None:
    odd = root.at("a:b\\c")
    os.mkdir(odd)
    other = Rootfs(root.driver, odd, wrapper=root.wrapper)
    other.make("d")
    assert look(other, odd, "touch /d/x && echo made").output == "made\n"
    assert os.listdir(f"{odd}/d") == []


def test_root_of_the_machine_is_read_only(root: Rootfs, userns: Rootfs) -> None:
    """Its mounts are locked together: no overlay can be below them, and nothing is written instead."""
    throwaway = steps.Rootfs("", "/", how=flags.ROOTFS_THROWAWAY)
    script = "touch /tmp/aioc-test-written 2>/dev/null && echo written || echo refused"
    program = steps.Exec("", ("/bin/sh", "-ec", script), ())
    found = root.run(steps.Propagation("", RSLAVE), throwaway, steps.Pivot(""), program)
    assert found.output == "refused\n"


def test_path_too_long_for_the_kernel_is_read_only(root: Rootfs, userns: Rootfs, tmp_path: Path) -> None:
    deep = str(tmp_path / "/".join(["x" * 100] * 3))
    os.makedirs(deep)
    other = Rootfs(root.driver, deep, wrapper=root.wrapper)
    other.make("usr", "proc", "d")
    script = "touch /d/x 2>/dev/null && echo written || echo refused"
    assert look(other, deep, script).output == "refused\n"
