"""T02: a tmpfs is filled with what it covers, and the image decides nothing but its content."""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from mounts_runner import MAKE_DIR, PROC, Rootfs, bind, exchange, tmpfs

from aiocontainer.plan import flags, steps

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("mounts_fixtures",)
pytestmark = pytest.mark.needs("root", "gcc", "compiled")

COPY = MAKE_DIR | flags.MOUNT_COPY_UP | flags.MOUNT_KEEP_MODE | flags.MOUNT_KEEP_OWNER


def filled(target: str, *data: str, extra: int = COPY) -> steps.Mount:
    return tmpfs(target, *data, flags=extra)


def seen(root: Rootfs, script: str, *some: steps.Step, target: str = "/d") -> list[str]:
    """Lines that a shell prints which looks at the copy, in /d."""
    result = root.look(PROC, *some, filled(target), script=f"cd {target}; {script}")
    assert result.worked, result
    return result.output.splitlines()


def test_files_come_with_content_owner_mode_and_times(root: Rootfs) -> None:
    root.make("d/sub/deep")
    root.write("d/file", "content")
    root.write("d/sub/deep/empty")
    os.chown(root.at("d/file"), 12, 34)
    os.chmod(root.at("d/file"), 0o6751)
    os.utime(root.at("d/file"), (1000, 2000))
    os.chown(root.at("d/sub"), 56, 78)
    os.chmod(root.at("d/sub"), 0o1700)
    os.utime(root.at("d/sub"), (3000, 4000))
    os.chmod(root.at("d"), 0o2770)
    os.chown(root.at("d"), 1, 2)
    lines = seen(
        root, "stat -c '%n %a %u:%g %Y' file sub .; cat file; echo; find . -type f; stat -f -c %T file"
    )
    assert lines[0] == "file 6751 12:34 2000"
    assert lines[1] == "sub 1700 56:78 4000"
    assert lines[2].startswith(". 2770 1:2 ")
    assert lines[3] == "content"
    assert sorted(lines[4:6]) == ["./file", "./sub/deep/empty"]
    assert lines[6] == "tmpfs"


def test_owner_and_mode_of_the_options_win(root: Rootfs) -> None:
    root.make("d")
    os.chmod(root.at("d"), 0o700)
    os.chown(root.at("d"), 1, 2)
    asked = filled("/d", "mode=751", "uid=5", "gid=6", extra=MAKE_DIR | flags.MOUNT_COPY_UP)
    assert root.look(asked, script="stat -c '%a %u:%g' /d").output == "751 5:6\n"


def test_links_are_copied_and_never_followed(root: Rootfs, untouched: Path) -> None:
    root.make("d", "inside")
    root.write("inside/secret", "inside")
    texts = {
        "absolute": str(untouched),
        "relative": "../inside",
        "up": "../../../../../.." + str(untouched),
        "dangling": "/nowhere",
        "loop": "loop",
        "file": f"{untouched}/file",
    }
    for name, text in texts.items():
        root.link(text, f"d/{name}")
        os.lchown(root.at(f"d/{name}"), 3, 4)
    script = "for l in *; do echo $l $(stat -c '%u:%g' $l) $(readlink $l); done; find . -type f"
    assert dict(line.split(" 3:4 ") for line in seen(root, script)) == texts


def test_hard_links_become_files_of_their_own(root: Rootfs) -> None:
    root.make("d", "outside")
    root.write("outside/file", "shared")
    root.link("file", "outside/link")
    os.link(root.at("outside/file"), root.at("d/file"))
    os.link(root.at("outside/file"), root.at("d/again"))
    os.link(root.at("outside/link"), root.at("d/link"), follow_symlinks=False)
    lines = seen(root, "echo more >>file; cat again; echo; stat -c %h file again; readlink link")
    assert lines == ["shared", "1", "1", "file"]
    assert os.path.getsize(root.at("outside/file")) == len("shared")


@pytest.mark.timeout(20)
def test_nothing_is_opened_that_could_wait_or_act(root: Rootfs) -> None:
    root.make("d")
    os.mkfifo(root.at("d/fifo"))
    os.chmod(root.at("d/fifo"), 0o620)
    os.mknod(root.at("d/null"), stat.S_IFCHR | 0o604, os.makedev(1, 3))
    os.mknod(root.at("d/block"), stat.S_IFBLK | 0o600, os.makedev(7, 200))
    os.chown(root.at("d/fifo"), 7, 8)
    os.mknod(root.at("d/socket"), stat.S_IFSOCK | 0o600)
    lines = seen(root, "stat -c '%n %F %t:%T %a %u:%g' *")
    assert lines == [
        "block block special file 7:c8 600 0:0",
        "fifo fifo 0:0 620 7:8",
        "null character special file 1:3 604 0:0",
    ]


def test_extended_attributes_come_along(root: Rootfs) -> None:
    root.make("d/sub")
    root.write("d/file")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")  # CAP_NET_RAW, permitted
    os.setxattr(root.at("d/file"), "security.capability", capability)
    os.setxattr(root.at("d/file"), "trusted.own", b"\0binary")
    os.setxattr(root.at("d/sub"), "trusted.own", b"directory")
    script = (
        'python3 -c \'import os; print([(n, os.getxattr(p, n).hex()) for p in ("file", "sub") '
        "for n in sorted(os.listxattr(p))])'"
    )
    found = [
        ("security.capability", capability.hex()),
        ("trusted.own", b"\0binary".hex()),
        ("trusted.own", b"directory".hex()),
    ]
    assert seen(root, script) == [str(found)]


def test_holes_stay_holes(root: Rootfs) -> None:
    root.make("d")
    with open(root.at("d/sparse"), "wb") as file:
        file.seek(1 << 30)
        file.write(b"end")
        file.truncate((1 << 30) + 100000)
    mount = filled("/d", "size=1m")
    result = root.look(mount, script="stat -c %s /d/sparse; tail -c 100000 /d/sparse | head -c 3")
    assert result.output == f"{(1 << 30) + 100000}\nend"


def test_what_is_mounted_in_it_stays_behind(root: Rootfs, canary: Path) -> None:
    root.make("d/mounted")
    root.write("d/mounted/below", "covered")
    root.write("d/file", "covered")
    some = (bind(str(canary), "/d/mounted"), bind(f"{canary}/file", "/d/file"))
    assert seen(root, "find . | sort; cat file", *some) == [".", "./file", "./mounted"]


def test_missing_directory_gives_an_empty_one(root: Rootfs) -> None:
    assert seen(root, "find .") == ["."]


def test_size_of_the_file_system_is_the_bound(root: Rootfs) -> None:
    root.make("d")
    root.write("d/big", "x" * 200000)
    result = root.apply(filled("/d", "size=64k"))
    assert result.error == errno.ENOSPC


def test_depth_is_bounded(root: Rootfs) -> None:
    root.make("d/" + "/".join("x" * 98))
    assert seen(root, "find . | wc -l") == ["99"]
    root.make("d/" + "/".join("x" * 150))
    assert root.apply(filled("/d")).error == errno.ENAMETOOLONG


def test_many_names(root: Rootfs) -> None:
    root.make("d")
    for number in range(3000):
        root.write(f"d/{'n' * 60}{number}", str(number))
    assert seen(root, f"ls | wc -l; cat {'n' * 60}2999; echo") == ["3000", "2999"]


def test_target_through_a_link_stays_in_the_root(root: Rootfs, untouched: Path) -> None:
    root.link(str(untouched), "d")
    result = root.look(filled("/d"), script="find /d/; echo made >/d/made")
    assert result.output.split() == ["/d/"]


def test_unmapped_owner_gives_nobody_rights(root: Rootfs, userns: Rootfs) -> None:
    root.make("d")
    root.write("d/program", "x")
    os.chown(root.at("d/program"), 4000, 4000)
    os.chmod(root.at("d/program"), 0o6755)
    result = root.look(filled("/d"), script="stat -c '%a %u:%g' /d/program")
    assert result.output == "755 0:0\n"


REFUSED = {errno.ELOOP, errno.EXDEV, errno.ENOTDIR, errno.ENXIO}


class Racer(threading.Thread):
    """Swaps a directory of the volume for a link to the host as fast as it can."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__()
        self._names = (one, other)
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.is_set():
            exchange(*self._names)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def test_raced_names_lead_nowhere(root: Rootfs, untouched: Path) -> None:
    """T14: a directory is a link to the host every other moment, and a file is a fifo."""
    root.make("d/name", "spare")
    root.write("d/name/inside", "inside")
    root.link(str(untouched), "spare/link")
    root.write("d/file", "inside")
    os.mkfifo(root.at("spare/fifo"))
    racers = [
        Racer(root.at("d/name"), root.at("spare/link")),
        Racer(root.at("d/file"), root.at("spare/fifo")),
    ]
    for racer in racers:
        racer.start()
    worked = 0
    try:
        for _ in range(40):
            result = root.look(filled("/d"), script="find /d -type f -exec cat {} +; find /d -name directory")
            assert "untouched" not in result.output
            assert "/directory" not in result.output
            worked += result.worked
            assert result.worked or result.error in REFUSED, result
    finally:
        for racer in racers:
            racer.stop()
    assert worked
