"""OCI runtime.md "Lifecycle", "Operations", "State": V1, V4."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from msgspec import json
from referencing import Registry
from referencing.jsonschema import DRAFT4
from support.specs import shell

from aiocontainer import (
    Container,
    ExistsError,
    Mount,
    NotFoundError,
    NotRunningError,
    Runtime,
    Spec,
    StateError,
    Status,
)
from aiocontainer.spec import encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.needs("root", "busybox")

ID = f"aioc-test-{secrets.token_hex(4)}"


def sleeper(rootfs: str) -> Spec:
    return Spec.default(["sleep", "60"], rootfs=rootfs)


async def document(container: Container) -> dict[str, Any]:
    """The state, as a program would read it."""
    decoded: dict[str, Any] = json.decode(encode(await container.oci_state()))
    return decoded


@pytest.fixture
def validator(schemas: Path) -> Callable[[dict[str, Any]], None]:
    """Function that checks a document against ``state-schema.json``."""
    schema = json.decode((schemas / "state-schema.json").read_bytes())
    store = {name.name: json.decode(name.read_bytes()) for name in schemas.glob("defs*.json")}

    def retrieve(uri: str) -> Any:
        return DRAFT4.create_resource(store[uri.rpartition("/")[2]])

    registry: Any = Registry(retrieve=retrieve)  # type: ignore[call-arg]
    validate: Callable[[dict[str, Any]], None] = jsonschema.Draft4Validator(
        schema, registry=registry
    ).validate
    return validate


@pytest.mark.proves("$.ociVersion", "$.annotations{}")
async def test_state_through_the_lifecycle(
    runtime: Runtime, rootfs: str, bundle: Callable[[Spec], str], validator: Callable[[dict[str, Any]], None]
) -> None:
    directory = bundle(sleeper(rootfs).with_annotation("org.example.key", "value"))
    container = await runtime.create(ID, directory)
    expected = {
        "ociVersion": "1.3.0",
        "id": ID,
        "bundle": os.path.realpath(directory),
        "annotations": {"org.example.key": "value"},
    }
    pid = container.pid

    async def check(**more: Any) -> None:
        found = await document(container)
        validator(found)
        assert found == {**expected, **more}

    await check(status="created", pid=pid)
    await container.start()
    await check(status="running", pid=pid)
    await container.pause()
    found = await document(container)
    assert found == {**expected, "status": "paused", "pid": pid}  # runc's extension
    await container.resume()
    await check(status="running", pid=pid)
    await container.kill("KILL")
    await container.wait()
    await check(status="stopped")
    await container.delete()
    with pytest.raises(NotFoundError):
        await runtime.load(ID)


async def test_create_runs_nothing_of_the_user(runtime: Runtime, rootfs: str, public_tmp: str) -> None:
    os.mkdir(f"{public_tmp}/volume")
    spec = shell("touch /volume/ran; sleep 60", rootfs).with_mount(
        Mount.bind(f"{public_tmp}/volume", "/volume")
    )
    container = await runtime.create(ID, spec)
    await asyncio.sleep(0.2)
    assert os.listdir(f"{public_tmp}/volume") == []
    assert await container.status() is Status.CREATED
    await container.start()
    process = await container.exec(["sh", "-c", "until [ -e /volume/ran ]; do sleep 0.01; done"])
    async with asyncio.timeout(5):
        assert (await process.wait()).clean
    await container.delete(force=True)


async def test_create_needs_a_new_id(runtime: Runtime, rootfs: str) -> None:
    container = await runtime.create(ID, sleeper(rootfs))
    with pytest.raises(ExistsError):
        await runtime.create(ID, sleeper(rootfs))
    assert await container.status() is Status.CREATED
    await container.start()
    with pytest.raises(ExistsError):
        await runtime.create(ID, sleeper(rootfs))
    await container.kill("KILL")
    await container.wait()
    with pytest.raises(ExistsError):
        await runtime.create(ID, sleeper(rootfs))
    await container.delete()
    again = await runtime.create(ID, sleeper(rootfs))
    await again.delete(force=True)


async def test_start_only_what_was_created(runtime: Runtime, rootfs: str) -> None:
    container = await runtime.create(ID, sleeper(rootfs))
    await container.start()
    with pytest.raises(StateError):
        await container.start()
    assert await container.status() is Status.RUNNING
    await container.kill("KILL")
    await container.wait()
    with pytest.raises(StateError):
        await container.start()
    await container.delete()


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", 15, signal.SIGTERM])
async def test_kill_sends_the_signal(runtime: Runtime, rootfs: str, name: Any) -> None:
    script = "trap 'echo got; exit 4' TERM; echo ready; while :; do sleep 0.05; done"
    async with runtime.container(shell(script, rootfs), stdout=PIPE) as container:
        assert container.stdout is not None
        assert await container.stdout.readline() == b"ready\n"
        await container.kill(name)
        assert await container.stdout.read() == b"got\n"
        assert (await container.wait()).code == 4


async def test_kill_of_what_was_only_created(runtime: Runtime, rootfs: str) -> None:
    container = await runtime.create(ID, sleeper(rootfs))
    await container.kill("KILL")
    assert (await container.wait()).signal is signal.SIGKILL
    assert await container.status() is Status.STOPPED
    await container.delete()


async def test_kill_has_no_effect_on_what_has_stopped(runtime: Runtime, rootfs: str) -> None:
    container = await runtime.create(ID, shell("exit 3", rootfs))
    await container.start()
    assert (await container.wait()).code == 3
    with pytest.raises(NotRunningError):
        await container.kill("KILL")
    assert await container.status() is Status.STOPPED
    assert (await container.wait()).code == 3
    await container.delete()


async def test_delete_only_what_has_stopped(runtime: Runtime, rootfs: str) -> None:
    container = await runtime.create(ID, sleeper(rootfs))
    await container.start()
    with pytest.raises(StateError):
        await container.delete()
    assert await container.status() is Status.RUNNING
    await container.delete(force=True)


async def test_delete_only_what_create_made(
    runtime: Runtime, rootfs: str, bundle: Callable[[Spec], str]
) -> None:
    """The bundle stays as it is."""

    def tree() -> dict[str, int]:
        names = [os.path.join(p, n) for p, d, f in os.walk(directory) for n in (*d, *f)]
        return {name: os.lstat(name).st_ino for name in names}

    directory = bundle(sleeper(rootfs))
    before = tree()
    container = await runtime.create(ID, directory)
    await container.start()
    await container.delete(force=True)
    assert tree() == before


async def test_later_changes_of_the_configuration_mean_nothing(
    runtime: Runtime, rootfs: str, bundle: Callable[[Spec], str]
) -> None:
    """V4: for start, for exec, for delete."""
    directory = bundle(shell("echo first; sleep 60", rootfs).with_env(WHICH="first"))
    container = await runtime.create(ID, directory, stdout=PIPE)
    bundle(shell("echo second", rootfs).with_env(WHICH="second").with_user(1000, 1000))
    await container.start()
    assert container.stdout is not None
    assert await container.stdout.readline() == b"first\n"
    os.unlink(f"{directory}/config.json")
    process = await container.exec(["sh", "-c", "echo $WHICH $(id -u)"], stdout=PIPE)
    assert (await process.communicate())[0] == b"first 0\n"
    await container.delete(force=True)


async def test_exit_status(runtime: Runtime, rootfs: str) -> None:
    for script, code in (("true", 0), ("exit 1", 1), ("exit 255", 255), ("sh -c 'kill -9 $$'; exit $?", 137)):
        done = await runtime.run(shell(script, rootfs), stdout=DEVNULL)
        assert (done.exit.code, done.exit.signal) == (code, None)
