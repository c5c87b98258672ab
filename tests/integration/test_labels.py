"""AppArmor and SELinux: what confines a payload, as the kernel says; and machines without them."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from support import needs

from aiocontainer import BootstrapError, Mount, Runtime, Spec, UnsupportedError
from aiocontainer.container import environment
from aiocontainer.probe import probe
from aiocontainer.spec import IDMapping, Namespace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from support.leaks import Leaks

    from aiocontainer import Process

pytestmark = pytest.mark.needs("root", "busybox")

# Everything but one file; nothing may be gained by a change of profile.
POLICY = """
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  mount,
  umount,
  signal,
  unix,
  ptrace,
  deny /tmp/{denied} rwklx,
}}
"""
NAMES = ("aioc-test-one", "aioc-test-two")


def parser(*options: str, policy: str) -> None:
    command = ["apparmor_parser", "--skip-cache", *options]
    subprocess.run(command, input=policy.encode(), check=True, capture_output=True)


@pytest.fixture(scope="module")
def profiles() -> Iterator[tuple[str, str]]:
    """Two loaded profiles: each forbids a file of its own, /tmp/NAME."""
    if needs.missing("apparmor"):
        pytest.skip("needs AppArmor")
    text = "".join(POLICY.format(name=name, denied=name) for name in NAMES)
    parser("--replace", policy=text)
    yield NAMES
    parser("--remove", policy=text)


def confined(rootfs: str, script: str, **changes: Any) -> Spec:
    spec = Spec.default(["sh", "-c", script], rootfs=rootfs).with_mount(Mount.tmpfs("/tmp"))
    assert spec.process is not None
    return replace(spec, process=replace(spec.process, **changes))


LABEL = "system_u:object_r:container_file_t:s0"

LOOK = "cat /proc/self/attr/current; touch /tmp/aioc-test-one; touch /tmp/aioc-test-two; ls /tmp"


async def output(process: Process) -> list[str]:
    out, _ = await process.communicate()
    assert out is not None
    return out.decode().splitlines()


@pytest.mark.proves("$.process.apparmorProfile")
@pytest.mark.needs("apparmor")
@pytest.mark.parametrize("nnp", [True, False])
async def test_a_program_is_confined(
    runtime: Runtime, rootfs: str, profiles: tuple[str, str], nnp: bool
) -> None:
    spec = confined(rootfs, LOOK, apparmor_profile=profiles[0], no_new_privileges=nnp)
    done = await runtime.run(spec)
    assert done.stdout is not None
    assert done.stdout.decode().splitlines() == ["aioc-test-one (enforce)", "aioc-test-two"]


@pytest.mark.needs("apparmor")
@pytest.mark.parametrize("user", [None, "1000:1000"])
async def test_an_exec_is_confined(
    runtime: Runtime, rootfs: str, profiles: tuple[str, str], user: str | None
) -> None:
    spec = confined(rootfs, "sleep 60", apparmor_profile=profiles[0])
    async with runtime.container(spec) as container:
        same = await container.exec(["sh", "-c", LOOK], stdout=PIPE, user=user)
        assert await output(same) == ["aioc-test-one (enforce)", "aioc-test-two"]
        other = await container.exec(["cat", "/proc/self/attr/current"], stdout=PIPE, apparmor=profiles[1])
        assert await output(other) == ["aioc-test-two (enforce)"]
        free = await container.exec(["cat", "/proc/self/attr/current"], stdout=PIPE, apparmor="unconfined")
        assert await output(free) == ["unconfined"]


@pytest.mark.needs("apparmor", "userns")
async def test_in_a_user_namespace(runtime: Runtime, rootfs: str, profiles: tuple[str, str]) -> None:
    """T64: there crun once went without."""
    spec = confined(rootfs, "cat /proc/self/attr/current; sleep 60", apparmor_profile=profiles[0])
    assert spec.linux is not None
    whole = (IDMapping(container_id=0, host_id=0, size=65536),)
    linux = replace(
        spec.linux,
        namespaces=(*spec.linux.namespaces, Namespace(type="user")),
        uid_mappings=whole,
        gid_mappings=whole,
    )
    async with runtime.container(replace(spec, linux=linux), stdout=PIPE) as container:
        assert container.stdout is not None
        assert await container.stdout.readline() == b"aioc-test-one (enforce)\n"
        process = await container.exec(["cat", "/proc/self/attr/current"], stdout=PIPE)
        assert await output(process) == ["aioc-test-one (enforce)"]


@pytest.mark.needs("apparmor")
async def test_a_profile_that_is_not_loaded(runtime: Runtime, rootfs: str) -> None:
    spec = confined(rootfs, "true", apparmor_profile="aioc-test-none")
    with pytest.raises(BootstrapError, match="no such profile is loaded") as caught:
        await runtime.create(None, spec)
    assert caught.value.origin == "$.process.apparmorProfile"


@pytest.mark.parametrize(
    ("module", "changes"),
    [
        ("apparmor", {"apparmor_profile": "aioc-test-none"}),
        ("selinux", {"selinux_label": "system_u:system_r:container_t:s0"}),
    ],
)
async def test_a_machine_without_the_module(
    runtime: Runtime, rootfs: str, module: str, changes: dict[str, str]
) -> None:
    if needs.missing(module) is None:
        pytest.skip(f"needs a machine without {module}")
    with pytest.raises(UnsupportedError) as caught:
        await runtime.create(None, confined(rootfs, "true", **changes))
    assert next(iter(changes.values())) in str(caught.value)


@pytest.fixture
async def believer(monkeypatch: pytest.MonkeyPatch, snap: Leaks, tmp_path: Path) -> AsyncIterator[Runtime]:
    """A runtime that takes this machine for one with SELinux."""
    if needs.missing("selinux") is None:
        pytest.skip("needs a machine without SELinux")
    monkeypatch.setattr(environment, "probe", lambda: replace(probe(), selinux=True))
    snap.watch(root := str(tmp_path / "believer"))
    async with Runtime(root=root) as runtime:
        yield runtime


@pytest.mark.proves("$.process.selinuxLabel")
async def test_a_label_of_a_process_reaches_the_kernel(believer: Runtime, rootfs: str) -> None:
    """Which has no module that would take it: nothing runs without what confines it."""
    with pytest.raises(BootstrapError) as caught:
        await believer.create(None, confined(rootfs, "true", selinux_label=LABEL))
    assert (caught.value.origin, caught.value.errno) == ("$.process.selinuxLabel", errno.EINVAL)


@pytest.mark.proves("$.linux.mountLabel")
async def test_a_label_of_mounts_reaches_the_kernel(believer: Runtime, rootfs: str) -> None:
    """As an option of the file system, which the kernel then knows nothing of."""
    spec = confined(rootfs, "true")
    assert spec.linux is not None
    labelled = replace(spec, linux=replace(spec.linux, mount_label=LABEL))
    with pytest.raises(BootstrapError, match="context") as caught:
        await believer.create(None, labelled)
    assert caught.value.errno == errno.EINVAL


async def test_an_exec_on_a_machine_without_the_module(runtime: Runtime, rootfs: str) -> None:
    if needs.missing("apparmor") is None:
        pytest.skip("needs a machine without apparmor")
    async with runtime.container(confined(rootfs, "sleep 60")) as container:
        with pytest.raises(UnsupportedError, match="aioc-test-none"):
            await container.exec(["true"], apparmor="aioc-test-none")


@pytest.mark.needs("apparmor")
async def test_by_the_command_line(runtime: Runtime, rootfs: str, profiles: tuple[str, str]) -> None:
    async with runtime.container(confined(rootfs, "sleep 60")) as container:
        command = [sys.executable, "-m", "aiocontainer", "--root", runtime.root, "exec"]
        command += ["--apparmor", profiles[1], container.id, "cat", "/proc/self/attr/current"]
        program = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        out, _ = await program.communicate()
    assert out == b"aioc-test-two (enforce)\n"
