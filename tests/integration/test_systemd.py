"""Containers in units of the machine's own systemd: made, read back, entered, changed, gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support.specs import shell, with_linux, with_process

from aiocontainer import BootstrapError, Runtime, Spec, UnitExistsError
from aiocontainer.spec import Mount, User, decode_resources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from support.leaks import Leaks

    from aiocontainer import Container

pytestmark = [pytest.mark.needs("root", "systemd", "cgroup2", "busybox"), pytest.mark.may_block("systemctl")]

ID = "aioc-test-unit"
UNIT = f"aiocontainer-{ID}.scope"
MIB = 1 << 20


def systemctl(*arguments: str, check: bool = True) -> str:
    ended = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=check, timeout=60)
    return ended.stdout


def show(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit, as systemd tells them."""
    text = systemctl("show", unit, *(f"--property={name}" for name in names))
    return dict(line.split("=", 1) for line in text.splitlines())


def units() -> list[str]:
    """All units of ours that systemd knows, also those that failed."""
    return systemctl("list-units", "--all", "--plain", "--no-legend", "aioc*", "libpod*").splitlines()


def read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


@pytest.fixture(autouse=True)
def no_units() -> object:
    """Every test leaves as many units as there were."""
    before = units()
    yield
    assert units() == before


@pytest.fixture
async def runtime(snap: Leaks, tmp_path: Path) -> AsyncIterator[Runtime]:
    root = str(tmp_path / "state")
    snap.watch(root)
    async with Runtime(root=root, cgroups="systemd") as runtime:
        yield runtime


def spec(rootfs: str, script: str = "sleep 1000", limits: bytes = b"{}") -> Spec:
    return with_linux(shell(script, rootfs), resources=decode_resources(limits))


@contextlib.contextmanager
def foreign_unit() -> Iterator[None]:
    """A scope of the same name that is none of ours."""
    command = ["systemd-run", "--scope", "--quiet", f"--unit={UNIT}", "--collect", "sh", "-c", "sleep 1000 &"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, check=True, **quiet)  # type: ignore[call-overload]
    try:
        yield
    finally:
        systemctl("kill", "--signal=KILL", UNIT)
        systemctl("stop", UNIT, check=False)


@contextlib.asynccontextmanager
async def created(runtime: Runtime, spec: Spec, id: str = ID, **options: object) -> AsyncIterator[Container]:
    container = await runtime.create(id, spec, **options)  # type: ignore[arg-type]
    try:
        yield container
    finally:
        await container.delete(force=True)


async def test_a_scope_with_properties_from_annotations(runtime: Runtime, rootfs: str) -> None:
    asked = (
        spec(rootfs)
        .with_annotation("org.systemd.property.TimeoutStopUSec", "uint64 123456789")
        .with_annotation("org.systemd.property.CollectMode", "'inactive-or-failed'")
    )
    async with created(runtime, asked) as container:
        names = ("TimeoutStopUSec", "CollectMode", "ActiveState", "Delegate", "ControlGroup", "Slice")
        assert show(UNIT, *names) == {
            "TimeoutStopUSec": "2min 3.456789s",
            "CollectMode": "inactive-or-failed",
            "ActiveState": "active",
            "Delegate": "yes",
            "ControlGroup": f"/system.slice/{UNIT}",
            "Slice": "system.slice",
        }
        assert read(f"/proc/{container.pid}/cgroup") == f"0::/system.slice/{UNIT}"
        assert (await container.state()).cgroup_paths == {"": f"/sys/fs/cgroup/system.slice/{UNIT}"}
        await container.start()
    assert not os.path.exists(f"/sys/fs/cgroup/system.slice/{UNIT}")


async def test_limits_are_in_force_before_the_program(runtime: Runtime, rootfs: str) -> None:
    limits = b'{"memory": {"limit": 67108864}, "pids": {"limit": 33}, "cpu": {"shares": 512}}'
    async with created(runtime, spec(rootfs, limits=limits)):
        path = f"/sys/fs/cgroup/system.slice/{UNIT}"
        assert read(f"{path}/memory.max") == str(64 * MIB)
        assert read(f"{path}/pids.max") == "33"
        shown = show(UNIT, "MemoryMax", "TasksMax", "CPUWeight")
        assert shown["MemoryMax"] == str(64 * MIB)
        assert shown["TasksMax"] == "33"
        assert shown["CPUWeight"] == read(f"{path}/cpu.weight")
        systemctl("daemon-reload")
        assert read(f"{path}/memory.max") == str(64 * MIB)


async def test_exec_pause_and_resume(runtime: Runtime, rootfs: str) -> None:
    async with created(runtime, spec(rootfs)) as container:
        await container.start()
        process = await container.exec(["cat", "/proc/self/cgroup"], stdout=PIPE)
        out, _ = await process.communicate()
        assert out == b"0::/\n"  # of its own cgroup namespace
        other = await container.exec(["sleep", "1000"])
        assert read(f"/proc/{other.pid}/cgroup") == f"0::/system.slice/{UNIT}"
        await container.pause()
        assert (await container.status()).value == "paused"
        await container.resume()
        assert sorted(await container.processes()) == sorted([container.pid, other.pid])


async def test_processes_live_below_the_scope(runtime: Runtime, rootfs: str) -> None:
    """All that is done to the container is done to the scope, which has the limits; exec enters below."""
    limits = b'{"pids": {"limit": 33}, "memory": {"limit": 67108864}}'
    asked = spec(rootfs, limits=limits).with_annotation("run.oci.systemd.subgroup", "inner")
    scope = f"/sys/fs/cgroup/system.slice/{UNIT}"
    async with created(runtime, asked) as container:
        assert (await container.state()).cgroup_paths == {"": scope}
        assert read(f"/proc/{container.pid}/cgroup") == f"0::/system.slice/{UNIT}/inner"
        assert read(f"{scope}/pids.max") == "33"
        assert read(f"{scope}/inner/pids.max") == "max"
        assert read(f"{scope}/cgroup.procs") == ""
        await container.start()
        process = await container.exec(["cat", "/proc/self/cgroup"], stdout=PIPE)
        assert (await process.communicate())[0] == b"0::/\n"
        os.mkdir(f"{scope}/inner/more")
        others = [
            await container.exec(["sleep", "1000"]),
            await container.exec(["sleep", "1000"], cgroup_paths={"": "more"}),
            await container.exec(["sleep", "1000"], timeout_s=600),
        ]
        places = [
            read(f"/proc/{other.pid}/cgroup").removeprefix(f"0::/system.slice/{UNIT}") for other in others
        ]
        assert places[:2] == ["/inner", "/inner/more"]
        assert places[2].startswith("/inner/aioc-exec-")
        assert set(await container.processes()) == {container.pid, *(other.pid for other in others)}
        stats = await container.stats()
        assert stats.pids is not None
        assert (stats.pids.current, stats.pids.limit) == (4, 33)
        await container.pause()
        assert "frozen 1" in read(f"{scope}/inner/cgroup.events")
        await container.resume()
        await container.update({"pids": {"limit": 44}})
        assert read(f"{scope}/pids.max") == "44"
        async with Runtime(root=runtime.root, cgroups="systemd", lifetime="detached") as elsewhere:
            other = await (await elsewhere.load(ID)).exec(["sleep", "1000"])
            assert read(f"/proc/{other.pid}/cgroup") == f"0::/system.slice/{UNIT}/inner"
            other.kill()
            await other.wait()
        await container.kill("KILL", all=True)
        await container.wait()
    assert not os.path.exists(scope)


async def test_who_is_given_a_cgroup_is_given_the_one_below(runtime: Runtime, rootfs: str) -> None:
    """It can make cgroups there, with controllers, and has no say over its own limits."""
    base = with_process(shell("sleep 1000", rootfs), user=User(uid=1000, gid=1000))
    view = Mount(destination="/sys/fs/cgroup", type="cgroup2", source="cgroup", options=("rw",))
    asked = replace(base, mounts=(*(each for each in base.mounts if each.type != "cgroup"), view))
    scope = f"/sys/fs/cgroup/system.slice/{UNIT}"
    async with created(runtime, asked.with_annotation("run.oci.systemd.subgroup", "inner")) as container:
        assert [os.stat(f"{scope}{below}").st_uid for below in ("", "/cgroup.procs", "/inner")] == [
            0,
            0,
            1000,
        ]
        assert {"memory", "pids"} <= set(read(f"{scope}/inner/cgroup.controllers").split())
        await container.start()
        script = "cd /sys/fs/cgroup && mkdir a && echo $$ >a/cgroup.procs && cat /proc/self/cgroup"
        process = await container.exec(["sh", "-c", script], stdout=PIPE)
        assert (await process.communicate())[0] == b"0::/a\n"


async def test_another_process_stops_the_unit(runtime: Runtime, rootfs: str) -> None:
    container = await runtime.create(ID, spec(rootfs))
    await container.start()
    async with Runtime(root=runtime.root) as other:  # which knows nothing of systemd but the record
        loaded = await other.load(ID)
        await loaded.delete(force=True)
    assert show(UNIT, "ActiveState") == {"ActiveState": "inactive"}
    await container.wait()
    await container.delete(force=True)


async def test_what_ends_by_itself(runtime: Runtime, rootfs: str) -> None:
    async with created(runtime, spec(rootfs, "exit 3")) as container:
        await container.start()
        assert (await container.wait()).code == 3


async def test_a_slice_and_a_name_of_ones_own(runtime: Runtime, rootfs: str) -> None:
    asked = with_linux(spec(rootfs), cgroups_path="aioc-test.slice:aioc:named")
    async with created(runtime, asked) as container:
        path = "/aioc.slice/aioc-test.slice/aioc-named.scope"
        assert read(f"/proc/{container.pid}/cgroup") == f"0::{path}"
        assert show("aioc-named.scope", "Slice") == {"Slice": "aioc-test.slice"}
    systemctl("stop", "aioc-test.slice", "aioc.slice")


async def test_a_lenient_path_leads_below_its_scope(snap: Leaks, tmp_path: Path, rootfs: str) -> None:
    root = str(tmp_path / "state")
    snap.watch(root)
    asked = with_linux(spec(rootfs), cgroups_path="aioc:test-name/a/b")
    scope = "/system.slice/aioc-test-name.scope"
    async with Runtime(root=root, cgroups="systemd", job_mode="replace", lenient_paths=True) as runtime:
        async with created(runtime, asked) as container:
            assert read(f"/proc/{container.pid}/cgroup") == f"0::{scope}/a/b"
            await container.start()
            other = await container.exec(["sleep", "1000"])
            assert read(f"/proc/{other.pid}/cgroup") == f"0::{scope}/a/b"
        assert not os.path.exists(f"/sys/fs/cgroup{scope}")


async def test_a_unit_of_somebody_else(runtime: Runtime, rootfs: str) -> None:
    with foreign_unit():
        with pytest.raises(UnitExistsError) as caught:
            await runtime.create(ID, spec(rootfs))
        assert caught.value.unit == UNIT
        assert show(UNIT, "ActiveState") == {"ActiveState": "active"}
        assert read(f"/sys/fs/cgroup/system.slice/{UNIT}/cgroup.procs")
        async with Runtime(root=runtime.root) as other:
            await other.delete(ID, force=True)
        assert read(f"/sys/fs/cgroup/system.slice/{UNIT}/cgroup.procs")


async def test_a_name_that_came_back_as_somebody_elses(runtime: Runtime, rootfs: str) -> None:
    container = await runtime.create(ID, spec(rootfs, "exit 0"))
    await container.start()
    await container.wait()
    while show(UNIT, "ActiveState") != {"ActiveState": "inactive"}:  # noqa: ASYNC110 - it cannot be waited for
        await asyncio.sleep(0.1)
    with foreign_unit():
        await container.delete()
        assert read(f"/sys/fs/cgroup/system.slice/{UNIT}/cgroup.procs")


async def test_a_property_that_systemd_refuses(runtime: Runtime, rootfs: str) -> None:
    asked = spec(rootfs).with_annotation("org.systemd.property.CollectMode", "'sometimes'")
    with pytest.raises(Exception, match=r"CollectMode|sometimes"):
        await runtime.create(ID, asked)


async def test_a_failing_program_leaves_no_unit(runtime: Runtime, rootfs: str) -> None:
    """It fails after the unit was made; `no_units` sees what became of that."""
    with pytest.raises(BootstrapError, match="/nowhere"):
        await runtime.create(ID, with_process(spec(rootfs), args=("/nowhere",)))


@pytest.mark.parametrize("after_ms", [0, 5, 20, 60, 120, 250, 400])
async def test_a_cancelled_create_leaves_no_unit(runtime: Runtime, rootfs: str, after_ms: int) -> None:
    going = asyncio.ensure_future(runtime.create(ID, spec(rootfs)))
    await asyncio.sleep(after_ms / 1000)
    going.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await (await going).delete(force=True)


async def test_systemd_executes_itself_anew_meanwhile(runtime: Runtime, rootfs: str) -> None:
    async with created(runtime, spec(rootfs)) as container:
        await container.start()
        again = await asyncio.create_subprocess_exec("systemctl", "daemon-reexec")
        others = [runtime.create(f"{ID}-{i}", spec(rootfs)) for i in range(8)]
        for other in await asyncio.gather(*others):
            await other.delete(force=True)
        assert await again.wait() == 0
        assert show(UNIT, "ActiveState") == {"ActiveState": "active"}
        process = await container.exec(["true"])
        assert (await process.wait()).code == 0


async def test_many_cycles_leave_nothing(runtime: Runtime, rootfs: str) -> None:
    async def cycle(number: int) -> None:
        for turn in range(25):
            container = await runtime.create(f"{ID}-{number}-{turn}", spec(rootfs, "exit 0"))
            await container.start()
            await container.wait()
            await container.delete()

    await cycle(9)  # connected
    fds = len(os.listdir("/proc/self/fd"))
    await asyncio.gather(*(cycle(number) for number in range(4)))
    assert len(os.listdir("/proc/self/fd")) == fds


async def test_delegated(snap: Leaks, tmp_path: Path, rootfs: str) -> None:
    """One scope for all: what is in it is made without a word to systemd."""
    root = str(tmp_path / "state")
    snap.watch(root)
    async with Runtime(root=root, cgroups="delegated") as runtime:
        made = await asyncio.gather(*(runtime.create(f"{ID}-{i}", spec(rootfs)) for i in range(8)))
        assert len(units()) == 1
        scope = units()[0].split()[0]
        assert show(scope, "Delegate", "TasksMax") == {"Delegate": "yes", "TasksMax": "infinity"}
        for container in made:
            await container.start()
            where = read(f"/proc/{container.pid}/cgroup")
            assert where == f"0::/system.slice/{scope}/{container.id}"
        limited = await runtime.create(f"{ID}-limited", spec(rootfs, limits=b'{"pids": {"limit": 44}}'))
        assert read(f"/sys/fs/cgroup/system.slice/{scope}/{limited.id}/pids.max") == "44"
        assert len(units()) == 1
    assert not os.path.exists(f"/sys/fs/cgroup/system.slice/{scope}")


def test_the_command_line(tmp_path: Path, bundle: Callable[[Spec], str], rootfs: str) -> None:
    path = bundle(spec(rootfs).with_systemd_property("CollectMode", "inactive-or-failed"))
    program = [sys.executable, "-m", "aiocontainer", "--root", str(tmp_path / "state")]

    def run(*words: str) -> None:
        done = subprocess.run(
            [*program, *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr

    with tempfile.TemporaryFile() as out:
        subprocess.run(
            [*program, "--systemd-cgroup", "create", "--bundle", path, ID],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
    assert show(UNIT, "CollectMode") == {"CollectMode": "inactive-or-failed"}
    run("start", ID)
    run("delete", "--force", ID)
    assert show(UNIT, "ActiveState") == {"ActiveState": "inactive"}


# Other users, and runtimes that crash ------------------------------------------------------------------

AS_USER = """
import asyncio, sys
from aiocontainer import Command, Runtime
from aiocontainer.container import setup

def where(pid):
    with open(f"/proc/{pid}/cgroup") as file:
        print(file.read().strip())

async def main(root, cgroups, subgroup):
    load = setup.load_source

    def annotated(*arguments, **options):
        loaded = load(*arguments, **options)
        spec = loaded.spec.with_annotation("run.oci.systemd.subgroup", subgroup)
        return loaded._replace(spec=spec)

    setup.load_source = annotated
    async with Runtime(root=root, cgroups=cgroups) as runtime:
        container = await runtime.create("aioc-test-user", Command(["sleep", "1000"]))
        await container.start()
        where(container.pid)
        where((await container.exec(["sleep", "1000"])).pid)
        await container.pause()
        await container.resume()
        await container.delete(force=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def lingering() -> Iterator[pwd.struct_passwd]:
    """An ordinary user whose own manager runs."""
    user = next(entry for entry in pwd.getpwall() if entry.pw_uid >= 1000 and entry.pw_name != "nobody")
    systemctl("start", f"user@{user.pw_uid}.service")
    yield user
    systemctl("stop", f"user@{user.pw_uid}.service")


@pytest.mark.needs("user")
@pytest.mark.parametrize(("cgroups", "below"), [("systemd", ""), ("systemd", "inner"), ("delegated", "")])
def test_units_of_an_ordinary_user(
    lingering: pwd.struct_passwd, public_tmp: str, cgroups: str, below: str
) -> None:
    """His own manager makes them, and moves in what he may not: this test runs outside of his slice."""
    uid, root = lingering.pw_uid, os.path.join(public_tmp, "state")
    os.mkdir(root, 0o700)
    os.chown(root, uid, lingering.pw_gid)
    done = subprocess.run(
        [sys.executable, "-c", AS_USER, root, cgroups, below],
        env={"XDG_RUNTIME_DIR": f"/run/user/{uid}", "HOME": lingering.pw_dir, "PATH": os.environ["PATH"]},
        user=uid,
        group=lingering.pw_gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    init, other = done.stdout.splitlines()
    assert init == other
    manager = f"0::/user.slice/user-{uid}.slice/user@{uid}.service/"
    assert init.startswith(manager)
    if cgroups == "systemd":
        scope = f"{manager}user.slice/aiocontainer-aioc-test-user.scope"
        assert init == (f"{scope}/{below}" if below else scope)
    else:
        assert init.endswith(".scope/aioc-test-user")


CRASHING = """
import asyncio, os, sys
from aiocontainer import Runtime
from aiocontainer.container.setup import Setup

Setup._save = lambda self, identity: os._exit(7)  # the unit is there, the state is not

async def main(root, bundle):
    async with Runtime(root=root, cgroups="systemd") as runtime:
        await runtime.create("aioc-test-unit", bundle)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_a_crash_leaves(runtime: Runtime, bundle: Callable[[Spec], str], rootfs: str) -> None:
    command = [sys.executable, "-c", CRASHING, runtime.root, bundle(spec(rootfs))]
    assert await (await asyncio.create_subprocess_exec(*command)).wait() == 7
    await runtime.delete(ID, force=True)
    assert show(UNIT, "ActiveState") == {"ActiveState": "inactive"}
    assert os.listdir(runtime.root) == []
