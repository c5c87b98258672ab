"""Hooks and callbacks on the real kernel: where and when they run, what they get, and how they fail."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft4Validator
from msgspec.structs import replace
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4
from support.processes import is_alive

from aiocontainer import Callbacks, HookError, Mount, NotFoundError, Runtime, Spec, Status
from aiocontainer.spec import Hook, Hooks, Namespace, Seccomp, State, Syscall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root", "busybox")

SCHEMAS = Path(__file__).parents[3] / "shared" / "data" / "oci-runtime-spec-1.3"
ID = f"aioc-test-hooks-{os.getpid()}"
"""Others may run the same test on the same machine."""
LONG = str(100_000 + os.getpid())
"""Seconds that nobody else sleeps."""
KINDS = ("prestart", "create_runtime", "create_container", "start_container", "poststart", "poststop")
AT_CREATE = KINDS[:3]
AT_START = KINDS[3:5]
OWN_PID = "PATH=/bin:/usr/bin; export PATH; read pid rest < /proc/self/stat"
"""The shell's pid as the procfs there counts."""
NAMES = dict(zip(KINDS, Hooks.__struct_encode_fields__, strict=True))


def hook(
    script: str, *, env: tuple[str, ...] | None = ("PATH=/bin:/usr/bin",), timeout: int | None = None
) -> Hook:
    """A shell script, on the host and in the container alike."""
    return Hook(path="/bin/sh", args=("sh", "-c", script), env=env, timeout=timeout)


@pytest.fixture
def shared(public_tmp: str) -> Path:
    """A directory that hooks find under one name in the container and outside."""
    path = Path(public_tmp, "shared")
    path.mkdir()
    path.chmod(0o777)
    return path


@pytest.fixture
def spec(rootfs: str, shared: Path) -> Callable[..., Spec]:
    def make(script: str = "sleep 60", **hooks: Hook | tuple[Hook, ...]) -> Spec:
        base = Spec.default(["sh", "-c", script], rootfs=rootfs).with_mount(
            Mount.bind(str(shared), str(shared))
        )
        listed = {kind: each if isinstance(each, tuple) else (each,) for kind, each in hooks.items()}
        return replace(base, hooks=Hooks(**listed), annotations={"org.example.key": "value"})

    return make


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def until(reached: Callable[[], object], what: str = "") -> None:
    deadline = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


def check_schema(state: object) -> None:
    """Check a state against the schema of the specification, where that is beside the tree."""
    if not SCHEMAS.is_dir():
        return

    def retrieve(uri: str) -> Resource[Any]:
        return DRAFT4.create_resource(json.loads((SCHEMAS / uri).read_text()))

    schema = json.loads((SCHEMAS / "state-schema.json").read_text())
    validator = Draft4Validator(schema, registry=Registry(retrieve=retrieve))  # type: ignore[call-arg]
    validator.validate(state)


async def brought(runtime: Runtime, spec: Spec, kind: str, callbacks: Callbacks | None = None) -> None:
    """Do what makes hooks of *kind* run."""
    container = await runtime.create(ID, spec, callbacks=callbacks)
    if kind in AT_START:
        await container.start()


# When, where, with what --------------------------------------------------------------------------------


@pytest.mark.proves("$.hooks.*[].path")
async def test_order(runtime: Runtime, spec: Callable[..., Spec], shared: Path) -> None:
    log = shared / "log"
    hooks = {kind: tuple(hook(f"echo {kind} {n} >> {log}") for n in range(2)) for kind in KINDS}

    def callback(name: str) -> Callable[[State], Awaitable[None]]:
        async def note(state: State) -> None:
            await asyncio.sleep(0)
            with open(log, "a") as file:
                file.write(f"callback {name} {state.status}\n")

        return note

    callbacks = Callbacks(**{kind: callback(kind) for kind in KINDS if kind != "prestart"})
    container = await runtime.create(ID, spec(**hooks), callbacks=callbacks)
    created = lines(log)
    await container.start()
    started = lines(log)[len(created) :]
    await container.delete(force=True)
    assert created == [
        *("prestart 0", "prestart 1", "create_runtime 0", "create_runtime 1"),
        *("callback create_runtime creating", "callback create_container creating"),
        *("create_container 0", "create_container 1"),
    ]
    assert started == [
        *("callback start_container created", "start_container 0", "start_container 1"),
        *("poststart 0", "poststart 1", "callback poststart running"),
    ]
    assert lines(log)[len(created) + len(started) :] == [
        *("poststop 0", "poststop 1", "callback poststop stopped"),
    ]


@pytest.mark.proves("$.annotations{}")
async def test_state(runtime: Runtime, spec: Callable[..., Spec], shared: Path) -> None:
    """Each gets the document of the specification, with the pid that it can see."""
    container = await runtime.create(ID, spec(**{kind: hook(f"cat > {shared}/{kind}") for kind in KINDS}))
    pid = container.pid
    await container.start()
    await container.delete(force=True)
    wanted = {
        "prestart": ("creating", pid),
        "create_runtime": ("creating", pid),
        "create_container": ("creating", 1),
        "start_container": ("created", 1),
        "poststart": ("running", pid),
        "poststop": ("stopped", None),
    }
    for kind, (status, seen) in wanted.items():
        state = json.loads((shared / kind).read_text())
        check_schema(state)
        assert (state["status"], state.get("pid")) == (status, seen), kind
        assert state["id"] == ID
        assert state["bundle"] == os.getcwd()
        assert state["annotations"] == {"org.example.key": "value"}


async def test_namespaces_and_paths(
    runtime: Runtime, spec: Callable[..., Spec], shared: Path, rootfs: str
) -> None:
    script = f"""
        ns() {{ readlink /proc/self/ns/$1; }}
        {{ ns mnt; ns net; [ -e /bin/busybox ] && [ ! -e {rootfs} ] && echo inside || echo outside;
           [ -e {rootfs}/dev/null ] && echo mounted; true; }} > {shared}/"""
    value = spec(**{kind: hook(script + kind) for kind in KINDS if kind != "poststop"})
    container = await runtime.create(ID, value)
    await container.start()
    theirs = [os.readlink(f"/proc/{container.pid}/ns/{name}") for name in ("mnt", "net")]
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net")]
    assert lines(shared / "prestart") == [*ours, "outside"]
    assert lines(shared / "create_runtime") == [*ours, "outside"]
    assert lines(shared / "create_container") == [*theirs, "outside", "mounted"]
    assert lines(shared / "start_container") == [*theirs, "inside"]
    assert lines(shared / "poststart") == [*ours, "outside"]


async def test_who_they_are(runtime: Runtime, spec: Callable[..., Spec], shared: Path) -> None:
    """Right before the program they are what it will be: its user, its capabilities."""
    script = f"{{ id -u; id -g; grep -E 'CapEff|NoNewPrivs' /proc/self/status; }} > {shared}/"
    value = spec(create_container=hook(script + "root"), start_container=hook(script + "user"))
    container = await runtime.create(ID, value.with_user(1000, 1000))
    await container.start()
    assert lines(shared / "root")[:2] == ["0", "0"]
    assert lines(shared / "user")[:4] == ["1000", "1000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]


@pytest.mark.proves("$.hooks.*[].env[]")
async def test_environment(
    runtime: Runtime, spec: Callable[..., Spec], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absent is inherited, but for what changes how programs run; empty is empty."""
    monkeypatch.setenv("AIOC_TEST_OUTER", "1")
    for name in ("LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR"):
        monkeypatch.setenv(name, "/nowhere")
    script = f"{OWN_PID}; tr '\\0' '\\n' < /proc/$pid/environ | sort > {shared}/"
    hooks = {
        kind: (
            hook(f"{script}{kind}-none", env=None),
            hook(f"{script}{kind}-empty", env=()),
            hook(f"{script}{kind}-some", env=("A=1", "B=x=y", "A=2")),
        )
        for kind in KINDS
    }
    container = await runtime.create(ID, spec(**hooks).with_env(INNER="1"))
    await container.start()
    await container.delete(force=True)
    for kind in KINDS:
        names = {line.partition("=")[0] for line in lines(shared / f"{kind}-none")}
        assert not names & {"LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR"}
        assert ("INNER" in names) == (kind == "start_container")
        assert ("AIOC_TEST_OUTER" in names) == (kind != "start_container"), kind
        assert lines(shared / f"{kind}-empty") == [], kind
        assert {"A=2", "B=x=y"} <= set(lines(shared / f"{kind}-some")), kind


async def test_strict_environment(
    tmp_path: Path, snap: Leaks, spec: Callable[..., Spec], shared: Path
) -> None:
    root = str(tmp_path / "strict")
    snap.watch(root)
    script = f"{OWN_PID}; tr '\\0' '\\n' < /proc/$pid/environ > {shared}/"
    async with Runtime(root, hook_environment="clear") as runtime:
        value = spec(**{kind: hook(f"{script}{kind}; true", env=None) for kind in KINDS})
        container = await runtime.create(ID, value.with_env(INNER="1"))
        await container.start()
    for kind in KINDS:
        assert ("INNER=1" in lines(shared / kind)) == (kind == "start_container")
        assert kind == "start_container" or lines(shared / kind) == []


async def test_nothing_of_ours(runtime: Runtime, spec: Callable[..., Spec], shared: Path) -> None:
    # By what the shell does itself: it opens one directory to expand the pattern.
    script = f"""set -- /proc/self/fd/*; read stat < /proc/self/stat; echo "$*" $stat $PWD > {shared}/"""
    leaked = os.open("/", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        container = await runtime.create(ID, spec(**{kind: hook(script + kind) for kind in KINDS}))
        await container.start()
        await container.delete(force=True)
    finally:
        os.close(leaked)
    for kind in KINDS:
        words = (shared / kind).read_text().split()
        assert words[:4] == [f"/proc/self/fd/{number}" for number in range(4)], kind
        pid, _name, _state, _parent, group, session, terminal = words[4:11]
        assert pid == group == session, kind
        assert terminal == "0", kind
        assert words[-1] == ("/" if kind == "start_container" else os.getcwd()), kind


@pytest.mark.proves("$.hooks.*[].args[]")
async def test_argv_is_that_of_the_document(
    runtime: Runtime, spec: Callable[..., Spec], shared: Path
) -> None:
    script = f"{OWN_PID}; tr '\\0' ' ' < /proc/$pid/cmdline > {shared}/"
    # The shell in the container is busybox, which goes by its name.
    names = {kind: "sh" if kind == "start_container" else "my-name" for kind in KINDS}
    env = ("PATH=/bin:/usr/bin",)
    hooks = {
        kind: Hook(path="/bin/sh", args=(names[kind], "-c", f"{script}{kind}; true", "zero", "one"), env=env)
        for kind in KINDS
    }
    container = await runtime.create(ID, spec(**hooks))
    await container.start()
    await container.delete(force=True)
    for kind in KINDS:
        text = (shared / kind).read_text()
        assert text.startswith(f"{names[kind]} -c ")
        assert text.endswith(" zero one ")


async def test_what_hooks_do_reaches_the_container(
    runtime: Runtime, spec: Callable[..., Spec], shared: Path, rootfs: str
) -> None:
    """Mounts of createContainer hooks are the container's, and nobody else's."""
    os.mkdir(f"{rootfs}/extra")
    value = spec(
        f"cat /extra/file > {shared}/seen; sleep 60",
        create_container=hook(f"mount -t tmpfs extra {rootfs}/extra && echo hello > {rootfs}/extra/file"),
    )
    container = await runtime.create(ID, value)
    await container.start()
    await until(lambda: lines(shared / "seen") == ["hello"])
    assert os.listdir(f"{rootfs}/extra") == []


async def test_program_that_is_gone_at_once(
    runtime: Runtime, spec: Callable[..., Spec], shared: Path
) -> None:
    """Poststart hooks run all the same, and are told which process it was."""
    container = await runtime.create(ID, spec("true", poststart=hook(f"sleep 0.1; cat > {shared}/state")))
    pid = container.pid
    await container.start()
    assert json.loads((shared / "state").read_text())["pid"] == pid


# Loaded by others ------------------------------------------------------------------------------------


async def test_another_process_runs_what_was_frozen(
    tmp_path: Path, snap: Leaks, spec: Callable[..., Spec], bundle: Callable[[Spec], str], shared: Path
) -> None:
    root = str(tmp_path / "shared-state")
    snap.watch(root)
    log = shared / "log"
    kinds = ("start_container", "poststart", "poststop")
    value = spec(**{kind: hook(f"echo {kind} $PWD >> {log}") for kind in kinds})
    directory = bundle(value)
    async with Runtime(root, lifetime="detached") as first, Runtime(root, lifetime="detached") as second:
        await first.create(ID, directory)
        bundle(replace(value, hooks=None))  # too late
        await (await second.load(ID)).start()
        async with Runtime(root, lifetime="detached") as third:
            await third.delete(ID, force=True)
    assert lines(log) == ["start_container /", f"poststart {directory}", f"poststop {directory}"]


async def test_of_a_damaged_container(
    tmp_path: Path, snap: Leaks, spec: Callable[..., Spec], shared: Path
) -> None:
    root = tmp_path / "state"
    snap.watch(str(root))
    async with Runtime(str(root), lifetime="detached") as first:
        container = await first.create(ID, spec(poststop=hook(f"echo poststop >> {shared}/log")))
        (root / ID / "state.json").write_text("{")
        async with Runtime(str(root)) as second:
            await second.delete(ID, force=True)
        await container.wait()
    assert lines(shared / "log") == ["poststop"]


# How they fail ---------------------------------------------------------------------------------------

FLOOD = "head -c 3000000 /dev/zero | tr '\\0' x; echo end"
FAILURES: dict[str, tuple[Hook, int | None, bytes]] = {
    "status": (hook("echo why >&2; exit 3"), 3, b"why\n"),
    "signal": (hook("echo bye; kill -USR1 $$"), -signal.SIGUSR1, b"bye\n"),
    "hang": (hook("echo here; sleep 60", timeout=1), None, b"here\n"),
    "flood": (hook(f"{FLOOD}; exit 4"), 4, b"xend\n"),
    "endless flood": (hook("yes", timeout=1), None, b"y\n"),
    "missing": (Hook(path="/no/such/hook"), None, b""),
    "no program": (Hook(path="/etc/passwd"), None, b""),
    "daemon": (hook("sleep 20 & echo gone; exit 5"), 5, b"gone\n"),
}


@pytest.mark.proves(
    "$.hooks.prestart[].timeout", "$.hooks.createRuntime[].timeout", "$.hooks.createContainer[].timeout"
)
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("kind", AT_CREATE)
async def test_failure_at_create(
    runtime: Runtime, spec: Callable[..., Spec], shared: Path, kind: str, failure: str
) -> None:
    """Nothing is left, and the poststop hooks have run."""
    bad, returncode, output = FAILURES[failure]
    log = shared / "log"
    value = spec(
        **{kind: (hook(f"echo first >> {log}"), bad, hook(f"echo third >> {log}"))},
        poststop=hook(f"echo poststop >> {log}"),
    )
    began = time.monotonic()
    with pytest.raises(HookError) as caught:
        await runtime.create(ID, value)
    assert time.monotonic() - began < 10
    assert caught.value.hook == f"$.hooks.{NAMES[kind]}[1]"
    assert caught.value.returncode == returncode
    assert caught.value.output.endswith(output)
    assert len(caught.value.output) <= 4096
    assert lines(log) == ["first", "poststop"]
    with pytest.raises(NotFoundError):
        await runtime.load(ID)


@pytest.mark.proves("$.hooks.startContainer[].timeout", "$.hooks.poststart[].timeout")
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("kind", AT_START)
async def test_failure_at_start(
    runtime: Runtime, spec: Callable[..., Spec], shared: Path, kind: str, failure: str
) -> None:
    """The container is stopped, its poststop hooks run, and only once."""
    bad, returncode, output = FAILURES[failure]
    log = shared / "log"
    value = spec(
        **{kind: (hook(f"echo first >> {log}"), bad, hook(f"echo third >> {log}"))},
        poststop=hook(f"echo poststop >> {log}"),
    )
    container = await runtime.create(ID, value)
    began = time.monotonic()
    with pytest.raises(HookError) as caught:
        await container.start()
    assert time.monotonic() - began < 10
    assert (caught.value.hook, caught.value.returncode) == (f"$.hooks.{NAMES[kind]}[1]", returncode)
    assert caught.value.output.endswith(output)
    assert await container.status() is Status.STOPPED
    assert lines(log) == ["first", "poststop"]
    await container.delete()
    assert lines(log) == ["first", "poststop"]


@pytest.mark.proves("$.hooks.poststop[].timeout")
@pytest.mark.parametrize("failure", FAILURES)
async def test_failure_at_poststop(
    runtime: Runtime,
    spec: Callable[..., Spec],
    shared: Path,
    failure: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged, and the rest goes on."""
    bad, _, _ = FAILURES[failure]
    container = await runtime.create(ID, spec(poststop=(bad, hook(f"echo second >> {shared}/log"))))
    await container.delete(force=True)
    assert lines(shared / "log") == ["second"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "$.hooks.poststop[0]" in caplog.text
    with pytest.raises(NotFoundError):
        await runtime.load(ID)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_failure(
    runtime: Runtime,
    spec: Callable[..., Spec],
    shared: Path,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not to read the state, to write much, to leave a daemon that keeps the pipe open."""
    log = shared / "log"
    daemon = f"sleep 61 & echo $! > {shared}/daemon" if kind != "start_container" else "true"
    fine = (hook("exec <&-"), hook(FLOOD), hook(daemon), hook(f"echo last >> {log}"))
    value = replace(spec(**{kind: fine}), annotations={"big": "x" * 100_000})
    container = await runtime.create(ID, value)
    await container.start()
    await container.delete(force=True)
    assert lines(log) == ["last"]
    assert caplog.records == []
    if kind in ("prestart", "create_runtime", "poststart", "poststop"):
        os.kill(int((shared / "daemon").read_text()), signal.SIGKILL)


async def test_a_create_that_fails_otherwise(
    runtime: Runtime, spec: Callable[..., Spec], shared: Path
) -> None:
    value = spec(poststop=hook(f"cat > {shared}/state")).with_args(["/no/such/program"])
    with pytest.raises(OSError, match="No such file"):
        await runtime.create(ID, value)
    assert json.loads((shared / "state").read_text())["status"] == "stopped"


# Cancellation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pid_namespace", [True, False], ids=["pid namespace", "no pid namespace"])
@pytest.mark.parametrize("kind", [*AT_CREATE, *AT_START])
async def test_cancelled(
    runtime: Runtime, spec: Callable[..., Spec], shared: Path, kind: str, pid_namespace: bool
) -> None:
    """The hook dies with its children, and what it ran for is undone."""
    log = shared / "log"
    value = spec(
        **{
            kind: hook(
                f"sleep {LONG} & echo running >> {log}; sed -n 's/^NSpid:.//p' /proc/self/status; wait"
            )
        },
        poststop=hook(f"echo poststop >> {log}"),
    )
    if not pid_namespace:
        assert value.linux is not None
        kept = tuple(each for each in value.linux.namespaces if each.type != "pid")
        value = replace(value, linux=replace(value.linux, namespaces=kept))
    task = asyncio.create_task(brought(runtime, value, kind))
    await until(lambda: lines(log) == ["running"] or task.done(), "the hook did not run")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert lines(log) == ["running", "poststop"]
    await until(lambda: not sleepers(), "something of the hook is left")
    if kind in AT_START:
        container = await runtime.load(ID)
        assert await container.status() is Status.STOPPED
        await container.delete()
        assert lines(log) == ["running", "poststop"]
    else:
        with pytest.raises(NotFoundError):
            await runtime.load(ID)


def sleepers() -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read().split(b"\0")[:2] == [b"sleep", LONG.encode()] and is_alive(int(pid)):
                    found.append(int(pid))
        except OSError:
            pass
    return found


async def test_cancelled_at_poststop(runtime: Runtime, spec: Callable[..., Spec], shared: Path) -> None:
    """The container is gone by then; a cancellation kills the hook and those after it do not run."""
    log = shared / "log"
    value = spec(poststop=(hook(f"echo running >> {log}; sleep {LONG}"), hook(f"echo second >> {log}")))
    container = await runtime.create(ID, value)
    task = asyncio.create_task(container.delete(force=True))
    await until(lambda: lines(log) == ["running"])
    with pytest.raises(NotFoundError):
        await runtime.load(ID)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not sleepers())
    assert lines(log) == ["running"]


async def test_killed_meanwhile(runtime: Runtime, spec: Callable[..., Spec], shared: Path) -> None:
    """A hook that hangs before the program can be ended by ending the container."""
    container = await runtime.create(ID, spec(start_container=hook(f"echo x >> {shared}/log; sleep 64")))
    task = asyncio.create_task(container.start())
    await until(lambda: lines(shared / "log"))
    await container.kill("KILL")
    await asyncio.wait([task], timeout=10)
    assert task.done()
    task.exception()
    assert (await container.wait()).signal is signal.SIGKILL


async def test_many_that_hang_hold_nobody_up(
    runtime: Runtime, spec: Callable[..., Spec], rootfs: str, shared: Path
) -> None:
    """Hooks in the container are waited for on the loop: the few threads stay free for others."""
    value = spec(create_container=hook(f"echo x >> {shared}/log; sleep 65"))
    tasks = [asyncio.create_task(runtime.create(None, value)) for _ in range(12)]
    await until(lambda: len(lines(shared / "log")) == 12)
    done = await asyncio.wait_for(runtime.run(Spec.default(["true"], rootfs=rootfs)), 10)
    assert done.exit.clean
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in results)


# Callbacks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS[1:5])
async def test_callback_that_fails(
    runtime: Runtime, spec: Callable[..., Spec], shared: Path, kind: str
) -> None:
    """What it raises comes out, and all is undone."""

    async def fails(state: State) -> None:
        raise LookupError(state.id)

    value = spec(poststop=hook(f"echo poststop >> {shared}/log"))
    callbacks = Callbacks(**{kind: fails})
    with pytest.raises(LookupError, match=ID) as caught:
        await brought(runtime, value, kind, callbacks)
    assert caught.value.__notes__ == [f"in the callback {kind}"]
    assert lines(shared / "log") == ["poststop"]
    if kind in AT_START:
        container = await runtime.load(ID)
        assert await container.status() is Status.STOPPED
        await container.delete()
        assert lines(shared / "log") == ["poststop"]


@pytest.mark.parametrize("kind", KINDS[1:5])
async def test_callback_that_hangs(runtime: Runtime, spec: Callable[..., Spec], kind: str) -> None:
    async def hangs(state: State) -> None:
        await asyncio.Event().wait()

    callbacks = Callbacks(**{kind: hangs}, timeout_s=0.1)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        await brought(runtime, spec(), kind, callbacks)


async def test_callback_that_works_with_the_container(runtime: Runtime, rootfs: str) -> None:
    seen: dict[str, Any] = {}

    async def create_runtime(state: State) -> None:
        seen["net"] = os.readlink(f"/proc/{state.pid}/ns/net")

    async def poststart(state: State) -> None:
        process = await (await runtime.load(state.id)).exec(["true"])
        seen["exit"] = await process.wait()

    async def poststop(state: State) -> None:
        seen["stopped"] = state.pid
        raise ValueError

    callbacks = Callbacks(create_runtime=create_runtime, poststart=poststart, poststop=poststop)
    value = Spec.default(["sleep", "60"], rootfs=rootfs)
    async with runtime.container(value, callbacks=callbacks) as container:
        assert os.readlink(f"/proc/{container.pid}/ns/net") == seen["net"]
        assert seen["exit"].clean
    assert seen["stopped"] is None


# Other containers -----------------------------------------------------------------------------------


async def test_in_a_user_namespace(runtime: Runtime, spec: Callable[..., Spec], shared: Path) -> None:
    """Root of the container, who may not enter the bundle, does not have to."""
    from aiocontainer.spec import IDMapping

    value = spec(**{kind: hook(f"id -u >> {shared}/{kind}") for kind in KINDS})
    assert value.linux is not None
    maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
    linux = replace(
        value.linux,
        namespaces=(*value.linux.namespaces, Namespace(type="user")),
        uid_mappings=maps,
        gid_mappings=maps,
    )
    container = await runtime.create(ID, replace(value, linux=linux))
    await container.start()
    await container.delete(force=True)
    assert {kind: lines(shared / kind) for kind in KINDS} == {kind: ["0"] for kind in KINDS}


async def test_joined_pid_namespace(runtime: Runtime, spec: Callable[..., Spec], shared: Path) -> None:
    """The process that counts is the second; the hooks see its number."""
    async with runtime.container(spec()) as other:
        value = spec(
            create_runtime=hook(f"cat > {shared}/outside"), create_container=hook(f"cat > {shared}/inside")
        )
        assert value.linux is not None
        joined = tuple(
            replace(each, path=f"/proc/{other.pid}/ns/pid") if each.type == "pid" else each
            for each in value.linux.namespaces
        )
        value = replace(value, linux=replace(value.linux, namespaces=joined))
        async with runtime.container(value, id=ID) as container:
            assert json.loads((shared / "outside").read_text())["pid"] == container.pid
            with open(f"/proc/{container.pid}/status") as file:
                numbers = next(line for line in file if line.startswith("NSpid:")).split()
            assert json.loads((shared / "inside").read_text())["pid"] == int(numbers[-1])


async def test_a_hook_is_no_way_to_the_helper(
    runtime: Runtime, spec: Callable[..., Spec], rootfs: str
) -> None:
    """A file of the image that leads to what runs it (CVE-2019-5736) is not run."""
    os.symlink("/proc/self/exe", f"{rootfs}/bin/hook")
    container = await runtime.create(ID, spec(start_container=Hook(path="/bin/hook")))
    with pytest.raises(HookError, match="symbolic links"):
        await container.start()


@pytest.mark.parametrize("no_new_privileges", [True, False])
async def test_before_the_filter_or_behind_it(
    runtime: Runtime, spec: Callable[..., Spec], shared: Path, no_new_privileges: bool
) -> None:
    """A filter that needs no privilege is loaded right before the program, so after its hooks."""
    value = spec(start_container=hook(f"mkdir {shared}/made; true"))
    assert value.linux is not None
    assert value.process is not None
    rule = Syscall(names=("mkdir", "mkdirat"), action="SCMP_ACT_ERRNO")
    value = replace(
        value,
        linux=replace(value.linux, seccomp=Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=(rule,))),
        process=replace(value.process, no_new_privileges=no_new_privileges),
    )
    container = await runtime.create(ID, value)
    await container.start()
    assert (shared / "made").exists() == no_new_privileges
