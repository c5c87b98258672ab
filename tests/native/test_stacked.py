"""A root of layers, made by an ordinary user in a user namespace, and by root beforehand."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from mounts_runner import PROC, RSLAVE, Outcome, Rootfs

from aiocontainer import native
from aiocontainer.plan import flags, steps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytest_plugins = ("mounts_fixtures",)
pytestmark = pytest.mark.needs("root", "gcc", "compiled", "userns", "overlay")


def make_layers(tmp_path: Path, count: int) -> list[str]:
    """Directories, the topmost first: each has a file of its own and one that hides those below."""
    found = []
    for index in range(count):
        layer = tmp_path / f"layer-{index}-{'x' * 40}"
        layer.mkdir()
        (layer / f"file-{index}").write_text(str(index))
        (layer / "top").write_text(str(index))
        found.append(str(layer))
    return found


def look(root: Rootfs, layers: Sequence[str], script: str, *upper: str) -> Outcome:
    above, programs = upper or ("", ""), root.programs()
    stack = ("aioc-test", *above, *layers, root.path)  # which has the links to programs
    stacked = steps.Rootfs("", root.path, how=flags.ROOTFS_LAYERS, stack=stack)
    plan = [steps.Propagation("", RSLAVE), stacked, *programs, PROC, steps.Pivot("")]
    return root.run(*plan, steps.VerifyMounts(""), steps.Exec("", ("/bin/sh", "-ec", script), ()))


@pytest.mark.parametrize("count", [1, 3, 90])
def test_layers_hide_each_other(count: int, root: Rootfs, userns: Rootfs, tmp_path: Path) -> None:
    layers = make_layers(tmp_path, count)
    script = "cat /top; ls / | grep -c file-; echo new >/top; mount | grep -c 'aioc-test on / type overlay'"
    found = look(userns, layers, script)
    assert found.output.split() == [f"0{count}", "1"], found
    with open(f"{layers[0]}/top") as file:
        assert file.read() == "0"


def test_whiteouts_and_opaque_directories(root: Rootfs, userns: Rootfs, tmp_path: Path) -> None:
    top, below = make_layers(tmp_path, 2)
    os.mkdir(f"{below}/d")
    for name in ("d/hidden", "gone"):
        with open(f"{below}/{name}", "w"):
            continue
    os.mkdir(f"{top}/d")
    os.setxattr(f"{top}/d", "user.overlay.opaque", b"y")
    os.mknod(f"{top}/gone", stat.S_IFCHR, 0)
    found = look(userns, [top, below], "ls /d; test -e /gone || echo gone")
    assert found.output.split() == ["gone"], found


def test_what_is_written_is_kept_where_it_is_to_be(root: Rootfs, userns: Rootfs, tmp_path: Path) -> None:
    layers = make_layers(tmp_path, 2)
    upper, work = tmp_path / "upper", tmp_path / "work"
    for each in (upper, work):
        each.mkdir()
    assert look(userns, layers, "echo kept >/new", str(upper), str(work)).output == ""
    assert (upper / "new").read_text() == "kept\n"
    assert look(userns, layers, "cat /new", str(upper), str(work)).output == "kept\n"


@pytest.mark.parametrize("count", [1, 3, 200])
def test_by_root(count: int, tmp_path: Path) -> None:
    layers = make_layers(tmp_path, count)
    tree = native.layered(layers, source="aioc-test", owner=(1000, 1001))
    try:
        names = os.listdir(f"/proc/self/fd/{tree}")
        assert sum(name.startswith("file-") for name in names) == count
        fd = os.open("top", os.O_RDWR, dir_fd=tree)
        assert os.read(fd, 10) == b"0"
        os.write(fd, b"written")
        os.close(fd)
    finally:
        os.close(tree)
    assert (tmp_path / os.path.basename(layers[0]) / "top").read_text() == "0"


def test_by_root_and_kept(tmp_path: Path) -> None:
    layers = make_layers(tmp_path, 2)
    upper, work = tmp_path / "upper", tmp_path / "work"
    for each in (upper, work):
        each.mkdir()
    tree = native.layered(layers, source="aioc-test", upper=(str(upper), str(work)))
    try:
        os.close(os.open("new", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=tree))
    finally:
        os.close(tree)
    assert os.listdir(upper) == ["new"]


def test_errors_name_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="aioc-test"):
        native.layered([str(tmp_path / "missing")], source="aioc-test")
