"""S74: what a mount of the host has is locked in a user namespace; S105: namespaces out of reach."""

from __future__ import annotations

import os
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from support.aside import aside, mount
from support.guest import mounts_of
from support.strangers import user_namespace
from support.user import become, expose

from aiocontainer import ContainerError, Mount, Runtime, Spec
from aiocontainer.spec import Linux, Namespace, rootless_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "busybox", "compiled", "userns")

USER = 1000


async def attempt(state: str, spec: Spec) -> dict[str, Any]:
    """Say what the mount at /data became, or why it is none."""
    expose(os.path.dirname(state))
    become(USER)
    async with Runtime(state) as runtime:
        try:
            container = await runtime.create(None, spec, stdin=PIPE)
        except ContainerError as exc:
            return {"error": str(exc), "origin": getattr(exc, "origin", "")}
        try:
            found = mounts_of(container.pid).get("/data", {"options": ""})
            return {"options": found["options"].split(",")}
        finally:
            await container.delete(force=True)


async def bind(rootfs: str, state: str, source: str, *options: str) -> dict[str, Any]:
    mount("tmpfs", source, "-o", "ro,nosuid,nodev,noatime")
    spec = rootless_spec(["sleep", "60"], uid=USER, gid=USER, rootfs=rootfs)
    bound = Mount(destination="/data", type="bind", source=source, options=options)
    assert spec.process is not None
    process = replace(spec.process, terminal=False)
    return await attempt(state, replace(spec, process=process, mounts=(*spec.mounts, bound)))


@pytest.fixture
def places(rootfs: str, public_tmp: str) -> tuple[str, str, str]:
    """Root file system, state and source, of the ordinary user."""
    state, source = f"{public_tmp}/state", f"{public_tmp}/source"
    for path in (state, source, f"{rootfs}/data", f"{rootfs}/sys/fs/cgroup"):
        os.makedirs(path, exist_ok=True)
    for parent, directories, files in os.walk(public_tmp):
        for name in (".", *directories, *files):
            os.chown(os.path.join(parent, name), USER, USER, follow_symlinks=False)
    return rootfs, state, source


@pytest.mark.parametrize(
    "options", [("rbind",), ("rbind", "ro"), ("bind", "noexec"), ("rbind", "rro", "nosuid")]
)
def test_what_it_has_is_kept(places: tuple[str, str, str], options: tuple[str, ...]) -> None:
    found = aside(bind, *places, *options)
    assert {"ro", "nosuid", "nodev", "noatime"} <= set(found["options"]), found


@pytest.mark.parametrize("word", ["rw", "suid", "dev", "rdev", "strictatime"])
def test_what_it_has_cannot_be_taken_away(places: tuple[str, str, str], word: str) -> None:
    found = aside(bind, *places, "rbind", word)
    assert "locked in a user namespace" in found["error"]
    assert found["origin"].startswith("$.mounts[")


@pytest.fixture
def roots_namespace() -> Iterator[str]:
    """A user namespace of root's, which nobody else may enter."""
    with user_namespace() as pid:
        yield f"/proc/{pid}/ns/user"


async def join(rootfs: str, state: str, path: str, keep: str) -> dict[str, Any]:
    """A file of the namespace that the user may open, as one bound somewhere is."""
    with open(keep, "w"):
        mount("bind", keep, path)
    spec = rootless_spec(["sleep", "60"], uid=USER, gid=USER, rootfs=rootfs)
    linux = spec.linux or Linux()
    kept = tuple(each for each in linux.namespaces if each.type != "user")
    namespaces = (*kept, Namespace(type="user", path=keep))
    assert spec.process is not None
    return await attempt(
        state,
        replace(
            spec,
            process=replace(spec.process, terminal=False),
            linux=replace(linux, namespaces=namespaces, uid_mappings=(), gid_mappings=()),
        ),
    )


def test_joining_out_of_reach_says_what_is_missing(
    places: tuple[str, str, str], public_tmp: str, roots_namespace: str
) -> None:
    rootfs, state, _ = places
    found = aside(join, rootfs, state, roots_namespace, f"{public_tmp}/namespace")
    assert "CAP_SYS_ADMIN in it" in found["error"]
    assert found["origin"].endswith(".path")
