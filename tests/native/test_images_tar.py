"""What GNU tar writes, in each of its formats, is unpacked as GNU tar unpacks it."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from aiocontainer.images.choose import Layer
from aiocontainer.images.files import open_files
from aiocontainer.images.layers import unpack_layer
from aiocontainer.images.limits import Limits
from aiocontainer.images.unpack import Rights

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.needs("root"),
    pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar"),
]

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
TIME_NS = 1_400_000_000_123_456_789


def make_tree(root: bytes) -> None:
    """Everything that a layer may have."""
    for name in (b"etc", b"etc/deep/deeper", b"private", b"n" * 200 + b"/" + b"m" * 200):
        os.makedirs(os.path.join(root, name))
    for name, content in (
        (b"etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
        (b"etc/empty", b""),
        (b"etc/deep/deeper/block", b"b" * 512),
        (b"etc/\xff\xfe not text", b"bytes"),
        (b"n" * 200 + b"/" + b"m" * 200 + b"/" + b"o" * 200, b"long"),
        (b"large", os.urandom(700_001)),
        (b"su", b"x"),
    ):
        with open(os.path.join(root, name), "wb") as file:
            file.write(content)
    with open(os.path.join(root, b"sparse"), "wb") as file:
        for offset in range(0, 40 << 20, 1 << 20):
            file.seek(offset)
            file.write(b"piece %d" % offset)
        file.truncate(64 << 20)
    os.link(os.path.join(root, b"etc/passwd"), os.path.join(root, b"again"))
    os.symlink(b"../../outside", os.path.join(root, b"link"))
    os.symlink(b"t" * 300, os.path.join(root, b"long-link"))
    os.link(os.path.join(root, b"link"), os.path.join(root, b"link-again"), follow_symlinks=False)
    os.mkfifo(os.path.join(root, b"fifo"), 0o640)
    os.mknod(os.path.join(root, b"null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(os.path.join(root, b"disk"), stat.S_IFBLK | 0o660, os.makedev(259, 70000))
    os.chown(os.path.join(root, b"su"), 1000, 3_000_000)
    os.chmod(os.path.join(root, b"su"), 0o6755)
    os.chmod(os.path.join(root, b"private"), 0o1500)
    os.chown(os.path.join(root, b"private"), 12, 34)
    os.lchown(os.path.join(root, b"link"), 5, 6)
    for each, _, names in os.walk(root, topdown=False):
        for name in (*names, b""):
            os.utime(os.path.join(each, name), ns=(TIME_NS, TIME_NS), follow_symlinks=False)


def described(root: bytes) -> dict[bytes, tuple[object, ...]]:
    """Names to everything that can be seen of them; inodes by their first name."""
    found: dict[bytes, tuple[object, ...]] = {}
    first: dict[int, bytes] = {}
    for each, directories, names in os.walk(root):
        for name in sorted([*directories, *names, b"."]):
            path = os.path.join(each, name)
            seen = os.lstat(path)
            key = os.path.relpath(path, root)
            content: object = None
            if stat.S_ISREG(seen.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            elif stat.S_ISLNK(seen.st_mode):
                content = os.readlink(path)
            attributes = {
                attribute: os.getxattr(path, attribute, follow_symlinks=False)
                for attribute in os.listxattr(path, follow_symlinks=False)
            }
            inode = key if stat.S_ISDIR(seen.st_mode) else first.setdefault(seen.st_ino, key)
            owner = (seen.st_uid, seen.st_gid, seen.st_rdev, seen.st_mtime_ns)
            found[key] = (
                oct(seen.st_mode),
                *owner,
                seen.st_rdev,
                seen.st_mtime_ns,
                inode,
                content,
                attributes,
            )
    return found


def unpack(archive: Path, target: Path) -> None:
    diff_id = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    layer = Layer(diff_id, archive.name, diff_id, archive.stat().st_size)
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with open_files(str(archive.parent), Limits()) as files:
            done = unpack_layer(files, layer, fd, Rights(devices=True, owners=True), Limits())
    finally:
        os.close(fd)
    assert done.notes == ()


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=gnu", "--sparse"],
        ["--format=posix"],
        ["--format=posix", "--xattrs", "--xattrs-include=*"],
        ["--format=posix", "--sparse", "--sparse-version=0.0"],
        ["--format=posix", "--sparse", "--sparse-version=0.1"],
        ["--format=posix", "--sparse", "--sparse-version=1.0"],
        ["--format=posix", "--pax-option=delete=atime,delete=ctime", "--no-recursion", "--files-from=names"],
    ],
    ids=" ".join,
)
def test_same_as_tar(options: list[str], tmp_path: Path) -> None:
    source, ours, theirs = (tmp_path / name for name in ("source", "ours", "theirs"))
    for each in (source, ours, theirs):
        each.mkdir(mode=0o755)
    make_tree(bytes(source))
    if "--xattrs" in options:
        os.setxattr(source / "large", "user.comment", b"\0\xff=\n")
        os.setxattr(source / "su", "security.capability", CAPABILITY)
    if "--files-from=names" in options:  # entries without those of their directories
        options = [*options[:-1], "etc/passwd", "etc/deep/deeper/block", "null"]
    archive = tmp_path / "layer.tar"
    names = [] if options[-1] == "null" else ["."]
    subprocess.run(["tar", "-C", source, "--numeric-owner", "-cf", archive, *options, *names], check=True)
    unpack(archive, ours)
    flags = ["--numeric-owner", "-p", "--same-owner", "--xattrs", "--xattrs-include=*"]
    subprocess.run(["tar", "-C", theirs, *flags, "-xf", archive], check=True)
    one, other = described(bytes(ours)), described(bytes(theirs))
    if not names:  # tar gives those that it makes by itself the time of now
        for each in (one, other):
            for key in [key for key, value in each.items() if str(value[0]).startswith("0o4")]:
                del each[key]
    assert one == other
    assert len(one) > 2
    if "--sparse" in options:
        assert (ours / "sparse").stat().st_blocks <= (theirs / "sparse").stat().st_blocks + 8


def test_ustar(tmp_path: Path) -> None:
    """The format that has names of 100 bytes, and those of 155 before a slash."""
    source, ours, theirs = (tmp_path / name for name in ("source", "ours", "theirs"))
    for each in (source, ours, theirs):
        each.mkdir(mode=0o755)
    deep = source / ("a" * 90) / ("b" * 60)
    deep.mkdir(parents=True)
    (deep / ("c" * 99)).write_bytes(b"x" * 513)
    archive = tmp_path / "layer.tar"
    subprocess.run(["tar", "-C", source, "--format=ustar", "-cf", archive, "."], check=True)
    unpack(archive, ours)
    subprocess.run(["tar", "-C", theirs, "-p", "-xf", archive], check=True)
    assert described(bytes(ours)) == described(bytes(theirs))


def test_v7(tmp_path: Path) -> None:
    """The oldest: directories are named with a slash, and nothing says which format it is."""
    source, ours, theirs = (tmp_path / name for name in ("source", "ours", "theirs"))
    for each in (source, ours, theirs):
        each.mkdir(mode=0o755)
    (source / "d").mkdir()
    (source / "d/f").write_bytes(b"x")
    (source / "l").symlink_to("d/f")
    archive = tmp_path / "layer.tar"
    subprocess.run(["tar", "-C", source, "--format=v7", "-cf", archive, "."], check=True)
    unpack(archive, ours)
    subprocess.run(["tar", "-C", theirs, "-p", "-xf", archive], check=True)
    assert described(bytes(ours)) == described(bytes(theirs))
