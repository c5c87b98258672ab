"""Links as sources and targets of mounts: copy-symlink, src-nofollow, dest-nofollow; and remounts."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from mounts_runner import MAKE, NOEXEC, PROC, RO, Rootfs, bind, tmpfs

from aiocontainer.plan import flags, steps

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("mounts_fixtures",)
pytestmark = pytest.mark.needs("root", "gcc", "compiled")

COPY = MAKE | flags.MOUNT_COPY_LINK | flags.MOUNT_SOURCE_NOFOLLOW
SOURCE = MAKE | flags.MOUNT_SOURCE_NOFOLLOW
TARGET = MAKE | flags.MOUNT_TARGET_NOFOLLOW


@pytest.fixture
def link(tmp_path: Path, canary: Path) -> str:
    """A link of the host."""
    path = str(tmp_path / "link")
    os.symlink(f"{canary}/file", path)
    return path


def test_link_is_copied(root: Rootfs, untouched: Path, link: str) -> None:
    root.make("x")
    result = root.look(
        PROC, bind(link, "/x/y/copy", COPY), script="readlink /x/y/copy; mountpoint -q /x/y/copy || :"
    )
    assert result.output == f"{untouched}/file\n"


def test_copied_link_may_be_there(root: Rootfs, untouched: Path, link: str) -> None:
    root.link(f"{untouched}/file", "same")
    root.write("other")
    assert root.apply(bind(link, "/same", COPY)).worked
    assert root.apply(bind(link, "/other", COPY)).error == errno.EEXIST


def test_what_is_no_link_is_bound(root: Rootfs, untouched: Path) -> None:
    result = root.look(bind(f"{untouched}/file", "/f", COPY), script="cat /f")
    assert result.output == "untouched"


def test_copied_link_leads_nowhere_on_the_host(root: Rootfs, untouched: Path, link: str) -> None:
    """The parent of the copy is a link to the host: it is made inside."""
    root.link(str(untouched), "out")
    assert root.apply(bind(link, "/out/copy", COPY)).worked
    assert os.path.islink(root.at(f"{untouched}/copy"))


def test_source_link_is_followed_unless_told(root: Rootfs, untouched: Path, link: str) -> None:
    assert root.look(bind(link, "/f"), script="cat /f").output == "untouched"
    result = root.look(PROC, bind(link, "/g", SOURCE), script="readlink /g")
    assert result.output == f"{untouched}/file\n"


def test_target_link_is_covered_unless_followed(root: Rootfs, untouched: Path) -> None:
    root.write("real", "real")
    root.link("real", "name")
    source = f"{untouched}/file"
    result = root.look(
        PROC,
        bind(source, "/name", TARGET),
        script="cat /real; cat /name; grep -c ' /name ' /proc/self/mountinfo",
    )
    assert result.output == "realuntouched1\n"
    assert root.look(bind(source, "/name"), script="cat /real").output == "untouched"


def test_covered_link_may_lead_out(root: Rootfs, untouched: Path) -> None:
    root.link(str(untouched), "name")
    result = root.look(bind(f"{untouched}/file", "/name", TARGET), script="cat /name")
    assert result.output == "untouched"


def test_missing_target_is_made(root: Rootfs, untouched: Path) -> None:
    result = root.look(bind(str(untouched), "/a/b", TARGET), script="ls /a/b")
    assert result.output.split() == ["directory", "file"]


def test_procfs_never_covers_a_link(root: Rootfs, untouched: Path) -> None:
    root.link(str(untouched), "proc")
    proc = steps.Mount("", "proc", "proc", "/proc", flags=flags.MOUNT_PROCFS | TARGET)
    assert root.apply(proc).error == errno.ELOOP


def test_remount_changes_mount_and_file_system(root: Rootfs) -> None:
    again = steps.SetAttr("", "/t", NOEXEC | RO, data=("size=2m",))
    script = "grep ' /t ' /proc/self/mountinfo"
    result = root.look(PROC, tmpfs("/t", "size=1m"), again, script=script)
    assert "ro,noexec" in result.output
    assert "size=2048k" in result.output


def test_nothing_that_we_did_not_make_is_reconfigured(root: Rootfs) -> None:
    result = root.apply(steps.SetAttr("", "/proc", 0, data=("hidepid=2",)))
    assert result.error in {errno.ENOENT, errno.EXDEV}
    root.make("d")
    assert root.apply(steps.SetAttr("", "/d", 0, data=("sync",))).error == errno.EXDEV
