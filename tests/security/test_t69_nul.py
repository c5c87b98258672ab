"""T69: a NUL ends a string for the kernel, but not for who checks it."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json
from msgspec.structs import replace
from support.specs import shell, with_process

from aiocontainer import Mount, Runtime, Spec, SpecError
from aiocontainer.spec import Device, Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "busybox")

ID = f"aioc-test-{secrets.token_hex(4)}"
Path = tuple[str | int, ...]


def document(rootfs: str) -> Any:
    """A specification with something in every string that this version acts on."""
    base = with_process(Spec.default(["true", "argument"], rootfs=rootfs), env=("PATH=/bin", "A=b"))
    base = base.with_mount(Mount.bind("/tmp", "/mnt"), Mount.tmpfs("/t", size="1M"))
    base = base.with_annotation("key", "value").with_hostname("name")
    assert base.linux is not None
    linux = replace(
        base.linux,
        sysctl={"kernel.domainname": "x"},
        cgroups_path=f"/{ID}",
        devices=(Device(path="/dev/fuse", type="c", major=10, minor=229),),
        namespaces=(*base.linux.namespaces, Namespace(type="time", path="/proc/self/ns/time")),
    )
    return json.decode(replace(base, domainname="domain", linux=linux).encode())


def strings(value: Any, path: Path = ()) -> Iterator[tuple[Path, bool]]:
    """Where there are strings: values, and (True) names that the author chose."""
    if isinstance(value, str):
        yield path, False
    elif isinstance(value, dict):
        for name, each in value.items():
            if path in (("annotations",), ("linux", "sysctl")):
                yield (*path, name), True
            yield from strings(each, (*path, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from strings(each, (*path, index))


def changed(value: Any, path: Path, *, name: bool, text: str) -> Any:
    """The document with that string changed."""
    head, *rest = path
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if rest:
        copy[head] = changed(value[head], tuple(rest), name=name, text=text)
    elif name:
        copy[f"{head}{text}"] = copy.pop(head)
    else:
        copy[head] = f"{value[head]}{text}"
    return copy


async def test_every_string(runtime: Runtime, rootfs: str) -> None:
    """Refused for what it is, before anything was made."""
    good = document(rootfs)
    places = list(strings(good))
    assert len(places) > 100
    for path, name in places:
        for text in ("\0", "\0/../../etc"):
            with pytest.raises(SpecError) as caught:
                await runtime.create(ID, json.encode(changed(good, path, name=name, text=text)))
            assert caught.value.origin.startswith("$"), path
            assert os.listdir(runtime.root) == []


async def test_every_string_of_exec(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(shell("sleep 60", rootfs)) as container:
        for args, options in (
            (["true\0"], {}),
            (["true", "a\0b"], {}),
            (["true"], {"env": {"A": "b\0c"}}),
            (["true"], {"env": {"A\0B": "c"}}),
            (["true"], {"cwd": "/\0tmp"}),
            (["true"], {"user": "0\0"}),
        ):
            with pytest.raises(SpecError):
                await container.exec(args, **options)
        assert await container.processes() == [container.pid]


async def test_objects_are_checked_like_documents(runtime: Runtime, rootfs: str) -> None:
    """A `Spec` that was never a document."""
    base = shell("true", rootfs)
    for spec in (
        base.with_mount(Mount(destination="/a\0b", type="tmpfs", source="tmpfs")),
        base.with_mount(Mount(destination="/a", type="tmp\0fs", source="tmpfs")),
        base.with_mount(Mount(destination="/a", type="tmpfs", source="x", options=("mode=755\0,ro",))),
        base.with_args(["true", "\0"]),
        base.with_env({"A": "\0"}),
        base.with_hostname("a\0b"),
        with_process(base, cwd="/\0"),
    ):
        with pytest.raises(SpecError):
            await runtime.create(ID, spec)
        assert os.listdir(runtime.root) == []
