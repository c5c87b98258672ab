"""Containers of images: layers over each other, what the image says of itself, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.aside import aside
from support.images import docker_archive, oci_layout
from support.tars import archive, member
from support.user import become, expose

from aiocontainer import Image, Runtime
from aiocontainer.images.choose import find_image, parse_platform, parse_reference
from aiocontainer.images.files import open_files
from aiocontainer.images.limits import Limits
from aiocontainer.images.worker import Request, unpack_missing

if TYPE_CHECKING:
    from support.leaks import Leaks

pytestmark = [
    pytest.mark.needs("root", "busybox", "compiled", "overlay"),
    pytest.mark.may_block("images are made in the test"),
]

USER = 1000
NAMES = (b"sh", b"id", b"ls", b"cat", b"pwd", b"echo", b"test", b"stat")
CONFIG = {
    "Env": ["GREETING=hello"],
    "Entrypoint": ["/bin/sh", "-c"],
    "Cmd": ["id; pwd; echo $GREETING $HOME; ls /data; cat /data/new"],
    "WorkingDir": "/work",
    "User": "app",
    "Labels": {"maintainer": "me", "org.criu.config": "/etc/passwd"},
}
SAID = [
    "uid=100(app) gid=101(app) groups=7(more)",
    "/work",
    "hello /home/app",
    "new",
    "upper",
]


def layers() -> list[bytes]:
    busybox = Path("/bin/busybox").read_bytes()
    return [
        archive(
            member(b"bin/busybox", busybox, mode=0o755),
            *(member(b"bin/" + name, type=b"2", link=b"busybox") for name in NAMES),
            member(b"etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:100:101::/home/app:/bin/sh\n"),
            member(b"etc/group", b"root:x:0:\napp:x:101:\nmore:x:7:app\n"),
            member(b"data/old", b"lower"),
            member(b"data/gone", b"lower"),
        ),
        archive(member(b"data/.wh.gone"), member(b"data/.wh..wh..opq"), member(b"data/new", b"upper\n")),
    ]


async def test_an_image_runs(tmp_path: Path, snap: Leaks) -> None:
    layout = oci_layout(tmp_path / "layout", layers(), CONFIG, tag="1.0")
    async with Runtime(str(tmp_path / "state")) as runtime:
        image = await runtime.image(f"{layout}:1.0", cache=tmp_path / "cache", platform="linux/amd64")
        assert image.left_out == ("org.criu.config",)
        async with runtime.container(image.spec(), stdout=-1) as container:
            assert container.process is not None
            out, _ = await container.process.communicate()
            assert out is not None
            assert out.decode().splitlines() == SAID
            assert (await container.config()).annotations["maintainer"] == "me"  # type: ignore[index]
        kept = image.spec(["echo kept >/data/more"], user="root", upper=tmp_path / "kept")
        assert (await runtime.run(kept)).exit.clean
        assert (await runtime.run(image.spec(["cat /data/more"]))).exit.code == 1
        again = image.spec(["cat /data/more"], user="root", upper=tmp_path / "kept")
        assert (await runtime.run(again)).stdout == b"kept\n"


async def test_layers_of_a_container_are_not_pruned(tmp_path: Path, snap: Leaks) -> None:
    """Whoever unpacked them has gone; what tells of them is the mount."""
    cache = tmp_path / "cache"
    layout = oci_layout(tmp_path / "layout", layers(), CONFIG)
    async with Runtime(str(tmp_path / "state")) as runtime:
        with await Image.open(layout, cache=cache, platform="linux/amd64") as image:
            spec = image.spec(["read line; cat /data/new"])
        async with runtime.container(spec, stdin=-1, stdout=-1) as container:
            assert await Image.prune(cache) == (0, 0)
            assert container.process is not None
            out, _ = await container.process.communicate(b"go\n")
            assert out == b"upper\n"
    assert (await Image.prune(cache))[0] == 2


def test_the_command_line(tmp_path: Path) -> None:
    saved = docker_archive(tmp_path / "saved.tar", layers(), CONFIG, tag="app:1.0")
    program = [sys.executable, "-m", "aiocontainer", "--root", str(tmp_path / "state")]
    run = [*program, "run", "--image-cache", str(tmp_path / "cache"), "--image", f"{saved}:app:1.0"]
    for words, said in (
        ([], "\n".join(SAID)),
        (["--user", "root", "--env", "GREETING=you", "--", "echo $GREETING; pwd"], "you\n/work"),
        (["echo short"], "short"),
    ):
        done = subprocess.run([*run, *words], capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout.strip(), done.stderr, done.returncode) == (said, "", 0)
    done = subprocess.run([*run, "--bundle", "x"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "--image" in done.stderr) == (1, True)
    pruning = [*program, "prune", "--images", "--image-cache", str(tmp_path / "cache")]
    done = subprocess.run(pruning, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("2 layers of images, ")


async def run_as_user(base: str) -> list[str]:
    """Unpack here, since the user has no way to the interpreter; then do the rest as the user."""
    expose(base)
    become(USER)
    layout, cache = f"{base}/layout", f"{base}/cache"
    with open_files(layout, Limits()) as files:
        found = find_image(files, parse_reference(layout), parse_platform("linux/amd64"))
    unpack_missing(Request(layout, cache, found.layers, Limits()))
    async with Runtime(f"{base}/state") as runtime:
        image = await runtime.image(layout, cache=cache, platform="linux/amd64")
        lines = ["id -u; ls /data; echo x >/data/x; stat -c %u /bin/busybox"]
        done = await runtime.run(image.spec(lines, user="root"))
        return [(done.stdout or b"").decode(), (done.stderr or b"").decode(), str(os.geteuid())]


@pytest.mark.needs("userns")
def test_an_ordinary_user_runs_one() -> None:
    with tempfile.TemporaryDirectory(dir="/srv", prefix="aioc-test-") as base:
        os.chmod(base, 0o755)
        os.chown(base, USER, USER)
        oci_layout(Path(base, "layout"), layers(), CONFIG)
        assert json.loads(json.dumps(aside(run_as_user, base))) == ["0\nnew\n0\n", "", str(USER)]
