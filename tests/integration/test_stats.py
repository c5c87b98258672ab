"""What a container has used, compared with what the kernel's own files say of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import tempfile
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiocontainer import Command, NotRunningError, Runtime, Spec, Stats, StatsMask, UnsupportedError
from aiocontainer import runtime as runtime_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from support.leaks import Leaks

    from aiocontainer import Container

pytestmark = pytest.mark.needs("root")

TELL = "echo ready; exec sleep 60"


async def ready(container: Container) -> None:
    assert container.stdout is not None
    assert await container.stdout.readline() == b"ready\n"


def python(code: str) -> Command:
    return Command(["python3", "-c", code])


async def kernel(container: Container, v1: tuple[str, str], v2: str) -> tuple[str, bytes] | None:
    """Path and text of an accounting file; None where its controller is absent."""
    paths = (await container.state()).cgroup_paths
    controller, file = v1
    found = [f"{path}/{file}" for key, path in paths.items() if controller in key.split(",")]
    for path in (*found, f"{paths.get('', '')}/{v2}"):
        if os.path.exists(path):
            with open(path, "rb") as opened:
                return path, opened.read()
    return None


async def controlled(container: Container, mask: StatsMask) -> Stats:
    """Read; skip where this machine does not account *mask*."""
    stats = await container.stats()
    if mask not in stats.parts:
        pytest.skip(f"needs a controller that accounts {mask}")
    return stats


async def test_cpu_is_what_the_kernel_says(runtime: Runtime) -> None:
    code = (
        "import os, time\nwhile time.process_time() < 0.3: os.stat('/')\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    async with runtime.container(python(code), stdout=PIPE) as c:
        await ready(c)
        numbers = []
        for _ in range(2):
            told = await kernel(c, ("cpuacct", "cpuacct.usage"), "cpu.stat")
            assert told is not None
            path, text = told
            numbers.append(int(text) if path.endswith("usage") else int(text.split()[1]) * 1000)
            if len(numbers) == 1:
                stats = await c.stats()
        cpu = stats.cpu
        assert numbers[0] <= cpu.total_ns <= numbers[1]
        assert cpu.total_ns >= 290_000_000  # it counts for itself what it used before it was in there, too
        assert abs(cpu.user_ns + cpu.kernel_ns - cpu.total_ns) <= 30_000_000  # v1: ticks
        assert sum(cpu.per_cpu_ns) in (0, cpu.total_ns)
        assert StatsMask.CPU in stats.parts


async def test_throttling(runtime: Runtime) -> None:
    code = "print('ready', flush=True)\nwhile True: pass"
    async with runtime.container(python(code), stdout=PIPE) as c:
        await ready(c)
        told = await kernel(c, ("cpu", "cpu.cfs_quota_us"), "cpu.max")
        if told is None:
            pytest.skip("needs the cpu controller")
        with open(told[0], "w") as file:
            file.write("10000")
        await asyncio.sleep(0.6)
        cpu = (await c.stats(StatsMask.CPU)).cpu
        assert cpu.throttled_periods >= 2
        assert cpu.periods >= cpu.throttled_periods
        assert cpu.throttled_ns > 50_000_000


async def test_memory_is_what_the_kernel_says(runtime: Runtime) -> None:
    code = (
        "import time; x = bytearray(40 << 20); del x; x = bytearray(20 << 20)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    async with runtime.container(python(code), stdout=PIPE) as c:
        await ready(c)
        memory = (await controlled(c, StatsMask.MEMORY)).memory
        told = await kernel(c, ("memory", "memory.usage_in_bytes"), "memory.current")
        assert told is not None
        assert abs(memory.usage_bytes - int(told[1])) < 4 << 20
        assert 20 << 20 <= memory.anon_bytes <= memory.usage_bytes < 40 << 20
        assert memory.with_swap.usage_bytes >= memory.usage_bytes
        assert memory.limit_bytes is None
        if memory.max_usage_bytes is not None:  # Linux 5.19 in v2
            assert memory.max_usage_bytes >= 40 << 20
        path = told[0].replace("usage_in_bytes", "limit_in_bytes").replace("memory.current", "memory.max")
        with open(path, "w") as file:
            file.write(str(64 << 20))
        assert (await c.stats(StatsMask.MEMORY)).memory.limit_bytes == 64 << 20


async def test_kills_by_the_memory_limit_are_counted(runtime: Runtime) -> None:
    script = "echo ready; read go; python3 -c 'x = bytearray(64 << 20)'; echo ready; exec sleep 60"
    async with runtime.container(Command(["sh", "-c", script]), stdin=PIPE, stdout=PIPE) as c:
        await ready(c)
        await controlled(c, StatsMask.MEMORY)
        told = await kernel(c, ("memory", "memory.limit_in_bytes"), "memory.max")
        assert told is not None
        with open(told[0], "w") as file:
            file.write(str(16 << 20))
        swap = told[0].replace("memory.max", "memory.swap.max")
        if swap != told[0] and os.path.exists(swap):
            with open(swap, "w") as file:
                file.write("0")
        assert c.stdin is not None
        c.stdin.write(b"go\n")
        await ready(c)
        memory = (await c.stats()).memory
        assert memory.events.oom_kill == 1
        assert memory.failcnt > 0
        assert memory.limit_bytes == 16 << 20


async def test_processes_are_counted(runtime: Runtime, rootfs: str) -> None:
    script = "for i in 1 2 3; do sleep 60 & done; echo ready; wait"
    async with runtime.container(Spec.default(["sh", "-c", script], rootfs=rootfs), stdout=PIPE) as c:
        await ready(c)
        stats = await c.stats()
        assert stats.pids.current == 4 == len(await c.processes())
        assert StatsMask.PIDS in stats.parts


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory that is on a disk, if there is one: temporary files often are in memory."""
    if os.major(os.stat(tmp_path).st_dev):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="aioc-test-", dir="/var/tmp") as directory:
        yield Path(directory)


@pytest.mark.may_block("writes and synchronizes a file")
async def test_what_is_written_is_counted_by_device(runtime: Runtime, on_disk: Path) -> None:
    code = "import os, time; os.sync(); print('ready', flush=True); time.sleep(60)"
    async with runtime.container(python(code), stdout=PIPE) as c:
        await ready(c)
        await controlled(c, StatsMask.IO)
        file = str(on_disk / "file")
        paths = (await c.state()).cgroup_paths
        tasks = next((f"{path}/cgroup.procs" for key, path in paths.items() if "blkio" in key.split(",")), "")
        write = f"""
import mmap, os
open({(tasks or paths.get("", "") + "/cgroup.procs")!r}, "w").write("0")
data = mmap.mmap(-1, 1 << 20)
fd = os.open({file!r}, os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
for _ in range(4): os.write(fd, data)
"""
        process = await asyncio.create_subprocess_exec("python3", "-c", write, stderr=PIPE)
        _, err = await process.communicate()
        if process.returncode != 0:
            pytest.skip(f"needs a disk that takes direct writes: {err.decode().splitlines()[-1]}")
        if os.major(os.stat(file).st_dev) == 0:
            pytest.skip("needs a directory for temporary files on a disk")
        minor = os.minor(os.stat(file).st_dev)
        devices = {device.minor: device for device in (await c.stats()).io.devices}
        if not devices:
            pytest.skip("needs a disk that is accounted")
        written = [device.write_bytes for device in devices.values()]
        assert max(written) >= 4 << 20
        assert minor not in devices or devices[minor].write_ios >= 1


async def test_its_own_network_and_no_other(runtime: Runtime) -> None:
    code = (
        "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for _ in range(3): s.sendto(b'x' * 100, ('127.0.0.1', 9))\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    async with runtime.container(python(code), stdout=PIPE) as c:
        await ready(c)
        stats = await c.stats(StatsMask.NET)
        (lo,) = stats.network
        assert stats.parts == StatsMask.NET
        assert lo.name == "lo"
        assert lo.tx_packets == lo.rx_packets >= 3
        assert lo.rx_bytes >= 300
        assert stats.memory.usage_bytes == 0


async def test_a_network_that_is_shared_is_not_told(runtime: Runtime, rootfs: str) -> None:
    spec = Spec.default(["sh", "-c", TELL], rootfs=rootfs)
    assert spec.linux is not None
    kinds = [each for each in spec.linux.namespaces if each.type != "network"]
    from msgspec.structs import replace

    spec = replace(spec, linux=replace(spec.linux, namespaces=tuple(kinds)))
    async with runtime.container(spec, stdout=PIPE) as c:
        await ready(c)
        stats = await c.stats()
        assert stats.network == ()
        assert StatsMask.NET not in stats.parts


async def test_created_and_paused_have_stats_and_stopped_has_none(runtime: Runtime, rootfs: str) -> None:
    c = await runtime.create("aioc-test-stats", Spec.default(["sh", "-c", TELL], rootfs=rootfs), stdout=PIPE)
    assert (await c.stats()).pids.current == 1
    await c.start()
    await ready(c)
    await c.pause()
    assert (await c.stats()).id == c.id
    await c.resume()
    await c.kill("KILL")
    await c.wait()
    for call in (c.stats, lambda: anext(c.stats_stream(1))):
        with pytest.raises(NotRunningError):
            await call()
    assert await runtime.stats() == {}
    await c.delete()
    with pytest.raises(NotRunningError):
        await c.stats()


async def test_stats_race_with_the_end(runtime: Runtime, rootfs: str) -> None:
    """A cgroup that is being removed is a container that is not running.  Fault S7."""
    for _ in range(10):
        async with runtime.container(Spec.default(["sleep", "60"], rootfs=rootfs)) as c:

            async def sample(c: Container = c) -> None:
                with contextlib.suppress(NotRunningError):
                    while True:
                        await c.stats()

            samplers = [asyncio.create_task(sample()) for _ in range(3)]
            assert (await c.stats()).pids.current == 1
            await c.delete(force=True)
            await asyncio.gather(*samplers)


async def test_the_stream_ends_with_the_container(runtime: Runtime, rootfs: str) -> None:
    async with runtime.container(Spec.default(["sh", "-c", TELL], rootfs=rootfs), stdout=PIPE) as c:
        await ready(c)
        seen: list[Stats] = []
        async for stats in c.stats_stream(0.05):
            seen.append(stats)
            if len(seen) == 3:
                await c.kill("KILL")
        assert len(seen) == 3
        assert all(a.monotonic_ns < b.monotonic_ns for a, b in itertools.pairwise(seen))
        assert all(a.cpu.total_ns <= b.cpu.total_ns for a, b in itertools.pairwise(seen))


async def test_use_per_second(runtime: Runtime) -> None:
    code = "print('ready', flush=True)\nwhile True: pass"
    async with runtime.container(python(code), stdout=PIPE) as c:
        await ready(c)
        async for found in c.sample(0.3):
            assert found.cpu < 1.2
            assert found.interval_s >= 0.2
            if found.cpu < 0.05:  # others compute on this machine, too
                continue
            assert found.stats.id == c.id
            assert found.throttled == 0
            break


async def test_all_containers_in_one_batch(
    runtime: Runtime, rootfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Spec.default(["sleep", "60"], rootfs=rootfs)
    names = [f"aioc-test-stats-{i}" for i in range(3)]
    for name in names:
        await (await runtime.create(name, spec)).start()
    async with Runtime(root=runtime.root, lifetime="detached") as other:
        hops: list[object] = []
        real = runtime_module.in_thread

        async def counted(work: Callable[[], Any], **more: Any) -> Any:
            hops.append(work)
            return await real(work, **more)

        monkeypatch.setattr(runtime_module, "in_thread", counted)
        mine: Mapping[str, Stats] = await runtime.stats()
        theirs = await other.stats(mask=StatsMask.PIDS)
        assert len(hops) == 2
        assert sorted(mine) == sorted(theirs) == names
        assert {stats.pids.current for stats in (*mine.values(), *theirs.values())} == {1}
        assert theirs[names[0]].parts == StatsMask.PIDS
        await (await runtime.load(names[0])).kill("KILL")
        await (await runtime.load(names[0])).wait()
        assert sorted(await runtime.stats()) == sorted(await other.stats()) == names[1:]
        assert sorted(await runtime.stats([names[1], "aioc-test-none"])) == [names[1]]
    for name in names:
        await runtime.delete(name, force=True)


async def test_without_a_cgroup(tmp_path: Path, rootfs: str, snap: Leaks) -> None:
    snap.watch(str(tmp_path / "state"))
    async with (
        Runtime(root=str(tmp_path / "state"), cgroups="none") as runtime,
        runtime.container(Spec.default(["sleep", "60"], rootfs=rootfs)) as c,
    ):
        with pytest.raises(UnsupportedError, match="needs a cgroup"):
            await c.stats()
        assert [each.name for each in (await c.stats(StatsMask.NET)).network] == ["lo"]
        assert (await runtime.stats())[c.id].parts == StatsMask.NET


async def test_a_command_tells_in_the_end_what_it_took(runtime: Runtime) -> None:
    code = "import time; x = bytearray(30 << 20)\nwhile time.process_time() < 0.2: pass"
    done = await runtime.run(["python3", "-c", code])
    assert done.exit.clean
    assert done.stats is not None
    assert done.stats.cpu.total_ns >= 200_000_000
    assert done.stats.pids.current == 0
    if StatsMask.MEMORY in done.stats.parts and done.stats.memory.max_usage_bytes is not None:
        assert done.stats.memory.max_usage_bytes >= 30 << 20
