"""Device nodes, links and the console, on a real kernel."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest
from mounts_runner import DEV, MAKE_DIR, NULL, PROC, PTS, RO, TTY_DATA, Rootfs, bind, make_null, tmpfs

from aiocontainer.plan import steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest_plugins = ("mounts_fixtures",)
pytestmark = pytest.mark.needs("root", "gcc", "compiled")


def make_fake_pts(root: Rootfs) -> list[steps.Step]:
    """A volume at /dev/pts whose names lead to a real pty here and to a file there."""
    root.make("volume")
    root.write("decoy", "decoy")
    root.link("../real/ptmx", "volume/ptmx")
    root.link("/decoy", "volume/0")
    real = steps.Mount("", "devpts", "devpts", "/dev/real", flags=MAKE_DIR, data=TTY_DATA)
    return [DEV, real, bind(root.at("volume"), "/dev/pts", MAKE_DIR), console()]


def console(rows: int = 24, columns: int = 80) -> steps.Console:
    return steps.Console("", rows, columns, True, 7, 5)


def test_console_of_a_fake_devpts(root: Rootfs) -> None:
    """T29: the container's names for terminals prove nothing."""
    result = root.apply(*make_fake_pts(root))
    assert (result.failed, result.error) == (6, errno.EXDEV)


def test_console_is_the_decoy_without_the_guard(weak: Callable[[str], Rootfs]) -> None:
    root = weak("WEAK_T29")
    assert root.look(*make_fake_pts(root), script="cat /dev/console").output == "decoy"


def test_console(root: Rootfs) -> None:
    script = (
        "stty size <&4; tty <&4; stat -c '%t:%T %u:%g' /dev/console; echo up >/dev/console\n"
        "head -n1 <&3 | tr -d '\\r'; ps -o tty= -p $$"
    )
    result = root.look(PROC, DEV, PTS, console(), script=script)
    assert result.output.split() == ["24", "80", "/dev/pts/0", "88:0", "7:5", "up", "pts/0"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [("none", 0), ("file", 0), ("node", 0), ("link", 17), ("directory", 17), ("fifo", 17)],
)
def test_what_may_be_at_dev_console(root: Rootfs, untouched: Path, kind: str, error: int) -> None:
    root.make("dev/pts")
    if kind == "file":
        root.write("dev/console", "old")
    elif kind == "node":
        os.mknod(root.at("dev/console"), stat.S_IFCHR | 0o600, os.makedev(5, 1))
    elif kind == "link":
        root.link(f"{untouched}/file", "dev/console")
    elif kind == "directory":
        root.make("dev/console")
    elif kind == "fifo":
        os.mkfifo(root.at("dev/console"))
    result = root.look(PTS, console(), script="stat -c %t:%T /dev/console")
    assert result.error == error
    assert error or result.output == "88:0\n"


def test_console_in_a_root_that_was_joined(root: Rootfs) -> None:
    """exec has no root to build: the terminal comes from the devpts at "/" as it is."""
    script = "stty size <&4; stat -L -c %t /proc/self/fd/4"
    result = root.run(steps.Console("", 5, 6, False, 0, 5), steps.Exec("", ("/bin/sh", "-c", script), ()))
    assert result.output.split() == ["5", "6", "88"]


def test_console_in_a_read_only_dev(root: Rootfs) -> None:
    root.make("dev/pts")
    read_only = bind(root.at("dev"), "/dev", 0, attrs=RO)
    assert root.apply(read_only, PTS, console()).error == errno.EROFS


def test_node_has_its_owner_and_mode(root: Rootfs) -> None:
    nodes = (
        steps.Device("", "/dev/a", stat.S_IFCHR | 0o640, 1, 7, 7, 8),
        steps.Device("", "/dev/sub/b", stat.S_IFBLK | 0o600, 7, 300),
        steps.Device("", "/dev/c", stat.S_IFIFO | 0o622, 0, 0, 0, 9),
        steps.Device("", "/dev/d", stat.S_IFIFO | 0o6711, 0, 0, 7, 9),  # chown(2) alone would clear bits
    )
    result = root.look(DEV, *nodes, script="cd dev; stat -c '%F %a %t:%T %u:%g' a sub/b c d")
    assert result.output.splitlines() == [
        "character special file 640 1:7 7:8",
        "block special file 600 7:12c 0:0",
        "fifo 622 0:0 0:9",
        "fifo 6711 0:0 7:9",
    ]


def test_owner_in_a_setgid_directory(root: Rootfs) -> None:
    """A setgid directory gives the node its group; the plan's group wins."""
    root.make("dev")
    os.chown(root.at("dev"), 0, 50)
    os.chmod(root.at("dev"), 0o2755)
    assert root.apply(NULL).worked
    assert os.stat(root.at("dev/null")).st_gid == 0


def test_node_that_is_there_is_fine_if_it_is_the_same(root: Rootfs) -> None:
    root.make("dev")
    os.mknod(root.at("dev/null"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert root.apply(NULL).worked
    assert stat.S_IMODE(os.stat(root.at("dev/null")).st_mode) == 0o600


@pytest.mark.parametrize("kind", ["link", "dangling", "file", "fifo", "zero", "block"])
def test_something_else_is_in_the_way_of_a_node(root: Rootfs, kind: str) -> None:
    make_null(root, kind)
    volume = bind(root.at("volume"), "/dev", MAKE_DIR)
    result = root.apply(volume, NULL)
    assert (result.failed, result.error) == (4, errno.EEXIST)


@pytest.mark.parametrize("target", ["/dev/", "/dev/.", "/dev/..", "/"])
def test_node_needs_a_name(root: Rootfs, target: str) -> None:
    assert root.apply(steps.Device("", target, stat.S_IFCHR | 0o600, 1, 3)).error == errno.EINVAL


def test_link_that_is_there(root: Rootfs) -> None:
    root.make("dev/fd")
    root.link("same", "dev/a")
    root.link("other", "dev/b")
    assert root.apply(steps.Symlink("", "same", "/dev/a")).worked
    assert root.apply(steps.Symlink("", "same", "/dev/b")).error == errno.EEXIST
    assert root.apply(steps.Symlink("", "/proc/self/fd", "/dev/fd")).error == errno.EEXIST
    assert root.apply(steps.Symlink("", "/proc/self/fd", "/dev/fd", optional=True)).worked


@pytest.mark.parametrize("name", ["dev", "dev/pts", "dev/shm"])
def test_dev_that_leads_to_the_host(root: Rootfs, untouched: Path, name: str) -> None:
    """T43, T31: nodes, links and mount points go where the link leads inside the rootfs."""
    root.make(os.path.dirname(name))
    root.link(f"{untouched}/directory", name)
    made = (NULL, steps.Symlink("", "pts/ptmx", "/dev/ptmx"), PTS, tmpfs("/dev/shm"))
    assert root.apply(*made).worked
    assert os.path.isdir(root.at(f"{untouched}/directory"))
