"""What a hostile image or a neighbour does while the root file system is built."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest
from mounts_runner import KERNEL_FS, MAKE_DIR, PROC, Outcome, Rootfs, bind, exchange, make_null, tmpfs

from aiocontainer.plan import steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest_plugins = ("mounts_fixtures",)
pytestmark = pytest.mark.needs("root", "gcc", "compiled")


class Racer:
    """Another container that exchanges two names of a shared volume as fast as it can."""

    def __init__(self, one: str, other: str) -> None:
        self._names = (one, other)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._race)

    def _race(self) -> None:
        while not self._stop.is_set():
            exchange(*self._names)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def attack_by_link(root: Rootfs, canary: Path) -> None:
    """T27 without a race: the link is there from the start."""
    root.link(str(canary), "volume")
    root.apply(tmpfs("/volume/made"), bind("/etc/passwd", "/volume/file-made"))


def test_link_to_the_host_makes_nothing_there(root: Rootfs, untouched: Path) -> None:
    attack_by_link(root, untouched)
    assert os.path.isdir(root.at(f"{untouched}/made"))


def test_link_to_the_host_is_noticed_without_the_guard(weak: Callable[[str], Rootfs], canary: Path) -> None:
    attack_by_link(weak("WEAK_T27"), canary)
    assert (canary / "made").is_dir()


def race_directory(root: Rootfs, canary: Path, turns: int) -> None:
    """T27: a directory on the way becomes a link to the host and back all the time."""
    root.make("volume")
    root.link(str(canary), "trap")
    with Racer(root.at("volume"), root.at("trap")):
        for turn in range(turns):
            root.apply(*(tmpfs(f"/volume/{turn}-{n}/x/y") for n in range(4)))


def test_raced_directory_makes_nothing_on_the_host(root: Rootfs, untouched: Path) -> None:
    race_directory(root, untouched, 30)


def test_raced_directory_is_noticed_without_the_guard(weak: Callable[[str], Rootfs], canary: Path) -> None:
    race_directory(weak("WEAK_T27"), canary, 30)
    assert len(list(canary.iterdir())) > 2


def test_raced_target_is_never_elsewhere(root: Rootfs, canary: Path) -> None:
    """T22: either the mount is where the plan says or the container is refused."""
    root.make("volume/real", "elsewhere/inner")
    root.link("/elsewhere", "volume/trap")
    mount = tmpfs("/volume/real/inner")
    seen = set()
    with Racer(root.at("volume/real"), root.at("volume/trap")):
        for _ in range(40):
            result = root.apply(mount)
            seen.add(result.error)
    assert seen <= {0, errno.EXDEV, errno.ENOENT, errno.EAGAIN}


def swap_after(root: Rootfs, step: steps.Step) -> Outcome:
    """T22: somebody swaps the directory after the mount was made."""
    root.make("v/d", "v/other")
    plan = [*root.begin(), step, steps.VerifyMounts(""), steps.Exec("", ("",), ())]
    return root.swapped(*plan, pause=4, swap=lambda: exchange(root.at("v/d"), root.at("v/other")))


@pytest.mark.parametrize("step", [tmpfs("/v/d"), steps.ReadOnly("", "/v/d"), steps.Mask("", "/v/d")])
def test_target_moved_after_the_mount(root: Rootfs, step: steps.Step) -> None:
    result = swap_after(root, step)
    assert (result.failed, result.error) == (5, errno.EXDEV)


def test_moved_target_passes_without_the_guard(weak: Callable[[str], Rootfs]) -> None:
    assert swap_after(weak("WEAK_T22"), tmpfs("/v/d")).worked


def make_proc(root: Rootfs, kind: str, canary: Path) -> None:
    """Put something else where /proc has to be."""
    root.make("volume", "real")
    links = {
        "absolute": "/volume",
        "relative": "volume",
        "dangling": "/nowhere",
        "host": str(canary),
        "self": "proc",
    }
    if kind in links:
        root.link(links[kind], "proc")
    elif kind == "chained":
        root.link("/volume", "second")
        root.link("second", "proc")
    elif kind == "file":
        root.write("proc")
    elif kind == "fifo":
        os.mkfifo(root.at("proc"))


KINDS = ("absolute", "relative", "dangling", "host", "self", "chained", "file", "fifo")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["mount", "bind"])
def test_proc_is_no_link(root: Rootfs, untouched: Path, kind: str, source: str) -> None:
    """T21: procfs goes to a real directory or nowhere."""
    make_proc(root, kind, untouched)
    step = PROC if source == "mount" else bind("/proc", "/proc", KERNEL_FS)
    result = root.apply(step)
    assert result.failed == 3
    assert result.error in {errno.ELOOP, errno.ENOTDIR}
    assert os.listdir(root.at("volume")) == []


def test_proc_link_is_followed_without_the_guard(weak: Callable[[str], Rootfs], canary: Path) -> None:
    root = weak("WEAK_T21")
    make_proc(root, "absolute", canary)
    assert root.apply(PROC).worked


def test_proc_below_a_link(root: Rootfs) -> None:
    root.make("volume/proc")
    root.link("volume", "alias")
    step = steps.Mount("", "proc", "proc", "/alias/proc", flags=KERNEL_FS)
    assert root.apply(step).error == errno.ELOOP


def test_only_the_whole_procfs_counts_as_procfs(root: Rootfs) -> None:
    assert root.apply(bind("/proc", "/proc", KERNEL_FS)).worked
    assert root.apply(bind("/proc/sys", "/proc", KERNEL_FS)).error == errno.EXDEV
    assert root.apply(bind("/tmp", "/proc", KERNEL_FS)).error == errno.EXDEV


@pytest.mark.parametrize("link", ["/proc/self", "/proc/thread-self"])
def test_no_link_leads_a_mount_into_procfs(root: Rootfs, link: str) -> None:
    """T09: the plan refuses such names, the helper the links to them."""
    root.link(link, "lnk")
    root.make("empty")
    result = root.apply(PROC, bind(root.at("empty"), "/lnk/attr", 0))
    assert (result.failed, result.error) == (4, errno.ELOOP)


def test_allowed_name_in_procfs(root: Rootfs) -> None:
    root.write("uptime", "1.00 1.00\n")
    result = root.look(PROC, bind(root.at("uptime"), "/proc/uptime", 0), script="cat /proc/uptime")
    assert result.output == "1.00 1.00\n"


NULLS = ("link", "dangling", "missing", "file", "fifo", "zero", "block")


@pytest.mark.parametrize("kind", NULLS)
def test_mask_is_the_real_null(root: Rootfs, kind: str) -> None:
    """T28: what the container has at /dev/null does not matter."""
    make_null(root, kind)
    volume = bind(root.at("volume"), "/dev", MAKE_DIR)
    masks = [steps.Mask("", "/secret"), steps.Mask("", "/decoy")]
    result = root.look(volume, script="stat -c %t:%T /secret /decoy; cat /secret", before=masks)
    assert result.output.split() == ["1:3", "1:3"]


def test_mask_is_the_decoy_without_the_guard(weak: Callable[[str], Rootfs]) -> None:
    root = weak("WEAK_T28")
    make_null(root, "link")
    volume = bind(root.at("volume"), "/dev", MAKE_DIR)
    result = root.look(volume, script="cat /secret", before=[steps.Mask("", "/secret")])
    assert result.output == "decoy"
