"""Containers of an ordinary user: with one id, with subordinate ids, and with neither root nor its rights."""

from __future__ import annotations

import os
import signal
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from aiocontainer import Command, ContainerError, Mount, Runtime, Spec, UnsupportedError
from aiocontainer.spec import Device, Hook, Hooks, Linux, Namespace, Rlimit, User

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Spec]

pytestmark = pytest.mark.needs("userns", "busybox", "compiled")


async def said(runtime: Runtime, spec: Spec) -> list[str]:
    """What a container writes, by words."""
    done = await runtime.run(spec)
    assert done.exit.clean, (done.exit, done.stderr)
    assert done.stdout is not None
    return done.stdout.decode().split()


def shell(make: Make, *lines: str) -> Spec:
    """Have its shell do some lines."""
    return make("sh", "-c", "\n".join(lines))


def changed(spec: Spec, **members: object) -> Spec:
    """With other members of its process."""
    assert spec.process is not None
    return replace(spec, process=replace(spec.process, **members))


async def test_root_of_one_id(own_runtime: Runtime, one_id: Make) -> None:
    words = await said(own_runtime, shell(one_id, "id -u", "id -g", "echo $$", "cat /proc/self/uid_map"))
    assert words == ["0", "0", "1", "0", str(os.geteuid()), "1"]


async def test_subordinate_ids(own_runtime: Runtime, many_ids: Make) -> None:
    lines = ("cd /dev/shm", "touch file", "stat -c '%u %g' file", "wc -l < /proc/self/gid_map")
    spec = changed(shell(many_ids, *lines), user=User(uid=1000, gid=5))
    assert await said(own_runtime, spec) == ["1000", "5", "2"]


async def test_as_another_user_of_the_container(own_runtime: Runtime, many_ids: Make) -> None:
    spec = changed(many_ids("id"), user=User(uid=1000, gid=1000, additional_gids=(2000,)))
    assert await said(own_runtime, spec) == ["uid=1000(user)", "gid=1000(user)", "groups=2000(extra)"]


async def test_groups_cannot_be_given_with_one_id(own_runtime: Runtime, one_id: Make) -> None:
    spec = changed(one_id("id"), user=User(uid=0, gid=0, additional_gids=(2000,)))
    with pytest.raises(ContainerError) as caught:
        await own_runtime.run(spec)
    assert getattr(caught.value, "origin", "").startswith("$.process.user.additionalGids")


async def test_the_whole_life(own_runtime: Runtime, one_id: Make) -> None:
    container = await own_runtime.create(
        "life", shell(one_id, "trap 'exit 3' TERM; while :; do sleep 0.05; done")
    )
    assert await container.status() == "created"
    await container.start()
    assert await container.status() == "running"
    process = await container.exec(
        ["sh", "-c", "id -u; readlink /proc/1/ns/user; readlink /proc/self/ns/user"], stdout=PIPE
    )
    out, _ = await process.communicate()
    assert out is not None
    uid, first, second = out.decode().split()
    assert (uid, first) == ("0", second)
    await container.kill("TERM")
    assert (await container.wait()).code == 3
    await container.delete()
    assert [found async for found in own_runtime.list()] == []


async def test_another_process_finds_it(own_runtime: Runtime, one_id: Make) -> None:
    container = await own_runtime.create("found", one_id("sleep", "60"))
    await container.start()
    async with Runtime(own_runtime.root, lifetime="detached") as other:
        loaded = await other.load("found")
        assert loaded.pid == container.pid
        process = await loaded.exec(["true"])
        assert (await process.wait()).clean
        await loaded.kill(signal.SIGKILL)
    assert (await container.wait()).signal == signal.SIGKILL
    await container.delete()


async def test_namespaces_are_its_own(own_runtime: Runtime, one_id: Make) -> None:
    spec = shell(one_id, "for n in mnt pid uts ipc user; do readlink /proc/self/ns/$n; done")
    words = await said(own_runtime, spec)
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "uts", "ipc", "user")]
    assert not set(words) & set(ours)


async def test_network_with_lo_alone(own_runtime: Runtime, one_id: Make) -> None:
    spec = shell(
        one_id,
        "ls /sys/class/net 2>/dev/null || true",
        "cat /proc/net/dev | tail -n +3 | cut -d: -f1",
        "cat /proc/net/fib_trie | grep -c 127.0.0.1",
    )
    linux = spec.linux or Linux()
    spec = replace(spec, linux=replace(linux, namespaces=(*linux.namespaces, Namespace(type="network"))))
    words = await said(own_runtime, spec)
    assert "lo" in words
    assert int(words[-1]) > 0


async def test_capabilities_are_of_its_namespace(own_runtime: Runtime, one_id: Make) -> None:
    words = await said(
        own_runtime,
        shell(one_id, "grep CapEff /proc/self/status", "hostname elsewhere 2>&1 || echo refused"),
    )
    assert words[1] == f"{1 << 5 | 1 << 10 | 1 << 29:016x}"
    assert words[-1] == "refused"


async def test_mounts(own_runtime: Runtime, one_id: Make, public_tmp: str) -> None:
    os.mkdir(f"{public_tmp}/shared")
    with open(f"{public_tmp}/shared/file", "w") as file:
        file.write("words")
    spec = shell(
        one_id,
        "cat /data/file",
        "touch /data/new 2>/dev/null || echo ro",
        "touch /scratch/x && echo rw",
        "touch /proc/sys/x 2>/dev/null || echo no",
    )
    spec = replace(
        spec,
        mounts=(
            *spec.mounts,
            Mount(destination="/data", type="bind", source=f"{public_tmp}/shared", options=("bind", "ro")),
            Mount(destination="/scratch", type="tmpfs", source="tmpfs", options=("size=1m",)),
        ),
    )
    assert await said(own_runtime, spec) == ["wordsro", "rw", "no"]


async def test_devices_are_the_hosts_bound(own_runtime: Runtime, one_id: Make) -> None:
    script = "echo x > /dev/null; head -c 4 /dev/zero | wc -c; test -c /dev/urandom; stat -c %t:%T /dev/full"
    assert await said(own_runtime, one_id("sh", "-c", script)) == ["4", "1:7"]


async def test_a_device_that_the_host_has_not_is_refused(own_runtime: Runtime, one_id: Make) -> None:
    spec = one_id("true")
    device = Device(path="/dev/none", type="c", major=240, minor=77)
    with pytest.raises(ContainerError) as caught:
        await own_runtime.run(replace(spec, linux=replace(spec.linux or Linux(), devices=(device,))))
    assert "devices[0]" in str(caught.value)


async def test_masked_and_read_only_paths(own_runtime: Runtime, one_id: Make) -> None:
    words = await said(
        own_runtime,
        shell(
            one_id,
            "cat /proc/kcore /proc/timer_list 2>/dev/null | wc -c",
            "echo x > /proc/sysrq-trigger 2>/dev/null || echo ro",
        ),
    )
    assert words == ["0", "ro"]


async def test_limits_and_umask(own_runtime: Runtime, one_id: Make) -> None:
    spec = changed(
        shell(one_id, "ulimit -n", "umask"),
        rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=77, hard=88),),
        user=User(uid=0, gid=0, umask=0o27),
    )
    assert await said(own_runtime, spec) == ["77", "0027"]


async def test_a_default_filter(own_runtime: Runtime, one_id: Make) -> None:
    spec = shell(one_id, "grep Seccomp: /proc/self/status").with_default_seccomp()
    assert await said(own_runtime, spec) == ["Seccomp:", "2"]


async def test_hooks(own_runtime: Runtime, one_id: Make, tmp_path: object) -> None:
    mark = f"{tmp_path}/mark"
    hook = Hook(path="/bin/sh", args=("sh", "-c", f"cat > {mark}"))
    spec = replace(one_id("true"), hooks=Hooks(create_runtime=(hook,)))
    assert (await own_runtime.run(spec)).exit.clean
    with open(mark) as file:
        assert '"status":"creating"' in file.read().replace(" ", "")


async def test_a_terminal(own_runtime: Runtime, one_id: Make) -> None:
    spec = changed(shell(one_id, "tty", "stty size"), terminal=True)
    container = await own_runtime.create(None, spec)
    assert container.console is not None
    container.console.resize(24, 80)
    await container.start()
    text = b""
    while b"24 80" not in text:
        text += await container.console.read(1024)
    assert b"/dev/" in text
    assert (await container.wait()).clean
    await container.delete()


async def test_a_command_over_the_machine(own_runtime: Runtime) -> None:
    script = "echo $$ $(id -u); cat /etc/shadow 2>/dev/null || echo refused; ls /sys/class/net"
    done = await own_runtime.run(Command(["sh", "-c", script]))
    assert done.stdout is not None
    assert done.stdout.decode().split() == ["1", "0", "refused", "lo"]


async def test_a_cgroup_that_is_not_delegated_is_refused(own_runtime: Runtime, one_id: Make) -> None:
    spec = one_id("true")
    spec = replace(spec, linux=replace(spec.linux or Linux(), cgroups_path="/aioc-test-rootless"))
    if own_runtime.plan(one_id("true")).cgroup is not None:
        pytest.skip("needs a user without a delegated cgroup")
    with pytest.raises(UnsupportedError) as caught:
        await own_runtime.run(spec)
    assert caught.value.origin == "$.linux.cgroupsPath"


async def test_without_a_user_namespace_it_is_refused_with_advice(own_runtime: Runtime, one_id: Make) -> None:
    spec = one_id("true")
    linux = replace(spec.linux or Linux(), uid_mappings=(), gid_mappings=())
    kept = tuple(each for each in linux.namespaces if each.type != "user")
    with pytest.raises(ContainerError) as caught:
        await own_runtime.run(replace(spec, linux=replace(linux, namespaces=kept)))
    assert "user namespace" in str(caught.value)


async def test_a_stranger_to_a_map_is_refused(own_runtime: Runtime, one_id: Make) -> None:
    """Ids that are not ours to give."""
    spec = one_id("true")
    linux = spec.linux or Linux()
    stolen = replace(linux.uid_mappings[0], host_id=0)
    with pytest.raises(ContainerError):
        await own_runtime.run(replace(spec, linux=replace(linux, uid_mappings=(stolen,))))
