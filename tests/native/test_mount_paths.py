"""Paths in a rootfs: where links lead, and what is made of missing parts."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest
from mounts_runner import MAKE_DIR, Rootfs, bind, tmpfs

from aiocontainer.plan import flags

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("mounts_fixtures",)
pytestmark = pytest.mark.needs("root", "gcc", "compiled")


@pytest.mark.parametrize("text", ["/inner", "inner", "../../../inner", "./deeper/../inner/."])
def test_links_lead_where_they_would_inside(root: Rootfs, text: str) -> None:
    root.make("inner", "deeper")
    root.link(text, "outer")
    assert root.apply(tmpfs("/outer/new/../made/./x")).worked
    assert os.path.isdir(root.at("inner/made/x"))


@pytest.mark.parametrize("target", ["/../../../up/x", "//up///x/", "/up/../up/x", "/./up/x"])
def test_odd_spellings_stay_inside(root: Rootfs, target: str) -> None:
    root.make("up")
    assert root.apply(tmpfs(target)).worked
    assert os.listdir(root.path) == ["up"]
    assert os.listdir(root.at("up")) == ["x"]


def test_dangling_link_is_made_inside(root: Rootfs, untouched: Path) -> None:
    root.link(f"{untouched}/new/deep", "absolute")
    root.link("../../../../../../relative/deep", "relative-link")
    assert root.apply(tmpfs("/absolute"), tmpfs("/relative-link")).worked
    assert os.path.isdir(root.at(f"{untouched}/new/deep"))
    assert os.path.isdir(root.at("relative/deep"))


def test_dangling_link_as_a_file(root: Rootfs, untouched: Path) -> None:
    root.link(f"{untouched}/new", "config")
    assert root.apply(bind("/etc/passwd", "/config")).worked
    assert os.path.isfile(root.at(f"{untouched}/new"))


@pytest.mark.parametrize(("links", "error"), [(39, 0), (41, errno.ELOOP)])
def test_chain_of_links(root: Rootfs, links: int, error: int) -> None:
    for number in range(links):
        root.link(f"/l{number + 1}", f"l{number}")
    assert root.apply(tmpfs("/l0/x")).error == error


def test_part_and_path_at_their_limits(root: Rootfs) -> None:
    assert root.apply(tmpfs("/" + "n" * 255)).worked
    assert root.apply(tmpfs("/" + "n" * 256)).error == errno.ENAMETOOLONG
    assert os.listdir(root.path) == ["n" * 255]
    longest = f"/{'n' * 255}" * 15 + f"/{'n' * 254}"
    assert root.apply(tmpfs(longest)).worked
    assert root.apply(tmpfs(longest + "n")).error == errno.ENAMETOOLONG


def test_part_that_is_no_directory(root: Rootfs) -> None:
    root.write("file")
    assert root.apply(tmpfs("/file/x")).error == errno.ENOTDIR
    assert root.apply(tmpfs("/file/x", flags=MAKE_DIR | flags.MOUNT_OPTIONAL)).worked


def test_names_of_any_bytes(root: Rootfs) -> None:
    name = "".join(map(chr, range(1, 128))).replace("/", "")
    assert root.apply(tmpfs(f"/x/{name}")).worked
    assert os.listdir(root.at("x")) == [name]


def test_parallel_creates_share_a_rootfs(root: Rootfs) -> None:
    """Several make the same directories at once; none may see EEXIST (runc's regression)."""
    for turn in range(5):
        failed: list[object] = []

        def create(turn: int = turn, failed: list[object] = failed) -> None:
            result = root.apply(*(tmpfs(f"/t{turn}/{n}/a/b/c") for n in range(20)))
            if not result.worked:
                failed.append(result)

        threads = [threading.Thread(target=create) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
