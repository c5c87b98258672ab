"""What an image says of itself, as a specification; and files seen through its layers."""

from __future__ import annotations

import io
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from support.images import image_config
from support.tars import Member, archive, member

from aiocontainer._aio import OwnedFd
from aiocontainer.errors import SpecError
from aiocontainer.images.archive import Archive
from aiocontainer.images.convert import annotations_of, image_spec, overlay_mount, unsafe_labels
from aiocontainer.images.documents import decode_config
from aiocontainer.images.limits import Limits
from aiocontainer.images.merged import read_merged
from aiocontainer.images.unpack import Rights, Unpacker

if TYPE_CHECKING:
    from pathlib import Path

    from aiocontainer.spec import Spec

PASSWD = b"root:x:0:0:root:/root:/bin/sh\napp:x:100:101::/home/app:/bin/sh\n"
GROUP = b"root:x:0:\napp:x:101:\nextra:x:7:app\n"
ROOT = overlay_mount(["/c/layers/b", "/c/layers/a:x"], "/c/roots/r", None)


def converted(config: dict[str, Any] | None = None, args: tuple[str, ...] = (), **options: Any) -> Spec:
    options = {"passwd": PASSWD, "group": GROUP, "ids": None, **options}
    return image_spec(decode_config(image_config((), config)), ROOT, args, **options)


def process_of(spec: Spec) -> Any:
    assert spec.process is not None
    return spec.process


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "args", "given", "words"),
    [
        (["e"], ["c"], (), None, ("e", "c")),
        (["e"], ["c"], ("a",), None, ("e", "a")),
        (None, ["c"], (), None, ("c",)),
        (None, ["c"], ("a", "b"), None, ("a", "b")),
        (["e"], ["c"], (), ["x"], ("x",)),
        (["e"], ["c"], ("a",), ["x"], ("x", "a")),
        (["e"], ["c"], ("a",), [], ("a",)),
    ],
)
def test_commands(entrypoint: Any, cmd: Any, args: Any, given: Any, words: tuple[str, ...]) -> None:
    spec = converted({"Entrypoint": entrypoint, "Cmd": cmd}, args, entrypoint=given)
    assert process_of(spec).args == words


def test_nothing_to_run() -> None:
    with pytest.raises(SpecError, match="no command"):
        converted({})


@pytest.mark.parametrize(
    ("user", "ids", "groups", "home"),
    [
        ("", (0, 0), (), "/root"),
        ("app", (100, 101), (7,), "/home/app"),
        ("100", (100, 101), (7,), "/home/app"),
        ("app:extra", (100, 7), (), "/home/app"),
        ("5000:6000", (5000, 6000), (), "/"),
    ],
)
def test_users(user: str, ids: tuple[int, int], groups: tuple[int, ...], home: str) -> None:
    process = process_of(converted({"Cmd": ["x"], "User": user}))
    assert (process.user.uid, process.user.gid) == ids
    assert process.user.additional_gids == groups
    assert f"HOME={home}" in process.env


@pytest.mark.parametrize("user", ["nobody-here", "app:nothing", "-1", "+5", "0x0", "99999999999"])
def test_users_that_there_are_not(user: str) -> None:
    with pytest.raises(SpecError) as caught:
        converted({"Cmd": ["x"], "User": user})
    assert caught.value.origin == "user"


def test_environment_and_directory() -> None:
    config = {"Cmd": ["x"], "Env": ["PATH=/bin", "A=1", "B=x=y"], "WorkingDir": "/srv"}
    process = process_of(converted(config, env={"A": "2"}))
    assert process.env == ("HOME=/root", "PATH=/bin", "A=2", "B=x=y")
    assert process.cwd == "/srv"
    assert process_of(converted(config, cwd="/other")).cwd == "/other"
    assert process_of(converted({"Cmd": ["x"]})).env[1].startswith("PATH=/usr/local/sbin:")
    with pytest.raises(SpecError, match="variable"):
        converted({"Cmd": ["x"], "Env": ["no equals"]})


def test_annotations_but_no_orders() -> None:
    config = decode_config(
        image_config(
            (),
            {
                "Labels": {
                    "org.opencontainers.image.os": "mine",
                    "maintainer": "me",
                    "org.systemd.property.SuccessAction": "'reboot'",
                    "run.oci.hooks.stdout": "/etc/passwd",
                    "run.oci.handler": "krun",
                    "org.criu.config": "/tmp/x",
                    "bundle": "/",
                    "": "nameless",
                },
                "StopSignal": "SIGQUIT",
                "ExposedPorts": {"80/tcp": {}, "443": {}},
            },
            author="somebody",
        )
    )
    assert annotations_of(config) == {
        "org.opencontainers.image.os": "mine",
        "org.opencontainers.image.architecture": "amd64",
        "org.opencontainers.image.author": "somebody",
        "org.opencontainers.image.stopSignal": "SIGQUIT",
        "org.opencontainers.image.exposedPorts": "443,80/tcp",
        "maintainer": "me",
    }
    assert set(unsafe_labels(config)) == {
        "org.systemd.property.SuccessAction",
        "run.oci.hooks.stdout",
        "run.oci.handler",
        "org.criu.config",
        "bundle",
    }


def test_the_root_and_an_ordinary_user() -> None:
    spec = converted({"Cmd": ["x"]}, ids=(1000, 1001))
    assert spec.mounts[0].destination == "/"
    assert spec.mounts[0].options == ("lowerdir+=/c/layers/b", "lowerdir+=/c/layers/a:x")
    assert spec.linux is not None
    assert spec.linux.namespace("user") is not None
    assert [each.host_id for each in (*spec.linux.uid_mappings, *spec.linux.gid_mappings)] == [1000, 1001]
    assert process_of(spec).no_new_privileges
    kept = overlay_mount(["/a"], "/r", ("/u/upper", "/u/work"))
    assert kept.options == ("lowerdir+=/a", "upperdir=/u/upper", "workdir=/u/work")


# Files through layers.


def directory(name: bytes) -> Member:
    return member(name, type=b"5", mode=0o755)


def link(name: bytes, target: bytes) -> Member:
    return member(name, type=b"2", link=target)


ETC = (directory(b"etc"), member(b"etc/passwd", b"lower"))


@pytest.mark.parametrize(
    ("layers", "content"),
    [
        ([ETC], b"lower"),
        ([(member(b"etc/passwd", b"upper"),), ETC], b"upper"),
        ([(member(b"etc/.wh.passwd"),), ETC], None),
        ([(member(b".wh.etc"),), ETC], None),
        ([(directory(b"etc"), member(b"etc/.wh..wh..opq")), ETC], None),
        ([(directory(b"etc"),), ETC], b"lower"),
        ([(member(b"etc", b"a file"),), ETC], None),
        ([(link(b"etc", b"conf"),), (directory(b"conf"), member(b"conf/passwd", b"linked")), ETC], b"linked"),
        ([(link(b"etc/passwd", b"/lib/passwd"),), (member(b"lib/passwd", b"absolute"),)], b"absolute"),
        ([(link(b"etc/passwd", b"../../../../x"),), (member(b"x", b"up"),)], b"up"),
        ([(link(b"etc/passwd", b"passwd"),)], None),
        ([(link(b"etc/passwd", b"/etc/shadow-of-host"),)], None),
        ([(member(b"etc/passwd", type=b"6"),)], None),
        ([(member(b"etc/passwd", b"x" * 100),)], None),
        ([()], None),
    ],
)
def test_what_is_seen_through_layers(
    layers: list[tuple[Member, ...]], content: bytes | None, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        opened = []
        for index, members in enumerate(layers):
            path = tmp_path / str(index)
            path.mkdir()
            fd = stack.enter_context(OwnedFd(os.open(path, os.O_RDONLY | os.O_DIRECTORY))).fileno()
            rights = Rights(devices=False, owners=False)
            Unpacker(fd, rights).unpack(Archive(io.BytesIO(archive(*members)).read, Limits()))
            opened.append(fd)
        assert read_merged(opened, b"/etc/passwd", 50) == content
