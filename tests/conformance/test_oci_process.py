"""OCI config.md "Process": args, env, cwd, terminal, no_new_privs, oom_score_adj."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from support.guest import look, look_by_exec
from support.specs import shell, with_process

from aiocontainer import BootstrapError, Runtime, Spec, SpecError
from aiocontainer.spec import ConsoleSize

if TYPE_CHECKING:
    from aiocontainer import Container

pytestmark = pytest.mark.needs("root", "gcc", "busybox")


@pytest.mark.proves("$.process.args[]")
async def test_args(runtime: Runtime, guestfs: str) -> None:
    words = ["guest", "", "two words", "--flag", "$HOME", "\u00e9\u4e16", "x" * 5000, "\n"]
    done = await runtime.run(Spec.default(["/bin/busybox", "printf", "%s|", *words], rootfs=guestfs))
    assert done.stdout == "".join(f"{word}|" for word in words).encode()


async def test_args_are_found_on_the_path_of_the_container(runtime: Runtime, guestfs: str) -> None:
    os.makedirs(f"{guestfs}/opt/tools")
    os.link(f"{guestfs}/bin/guest", f"{guestfs}/opt/tools/special")
    base = Spec.default(["special"], rootfs=guestfs)
    done = await runtime.run(base.with_env(PATH="/nowhere:/opt/tools:/bin"))
    assert done.exit.clean
    with pytest.raises(BootstrapError):
        await runtime.run(base)


async def test_args_relative_to_cwd(runtime: Runtime, guestfs: str) -> None:
    spec = with_process(Spec.default(["./guest"], rootfs=guestfs), cwd="/bin")
    assert (await runtime.run(spec)).exit.clean


@pytest.mark.parametrize("kind", ["missing", "directory", "not-executable", "not-a-program"])
async def test_args_that_cannot_be_run(runtime: Runtime, guestfs: str, kind: str) -> None:
    """An error of create or start, with nothing left; OCI runtime.md "Start" 7."""
    path = f"{guestfs}/bin/thing"
    if kind == "directory":
        os.mkdir(path)
    elif kind != "missing":
        with open(path, "w") as file:
            file.write("\x7fELFnonsense")
        os.chmod(path, 0o755 if kind == "not-a-program" else 0o644)
    with pytest.raises(BootstrapError) as caught:
        await runtime.run(Spec.default(["/bin/thing"], rootfs=guestfs).with_user(1000, 1000))
    assert caught.value.origin.startswith("$.process.args")
    assert [container async for container in runtime.list()] == []


@pytest.mark.parametrize("args", [(), ("",)])
async def test_args_are_required(runtime: Runtime, guestfs: str, args: tuple[str, ...]) -> None:
    with pytest.raises((SpecError, BootstrapError)) as caught:
        await runtime.run(Spec.default(args, rootfs=guestfs))
    assert caught.value.origin.startswith("$.process.args")  # type: ignore[attr-defined]


@pytest.mark.proves("$.process.env[]")
async def test_env(runtime: Runtime, guestfs: str) -> None:
    """Exactly what is given; the last of several with one name counts; HOME is added."""
    given = ("PATH=/bin", "A=1", "B=two words", "EMPTY=", "A=2", "EQUALS=a=b")
    found = await look(runtime, with_process(Spec.default([], rootfs=guestfs), env=given))
    expected = ["PATH=/bin", "B=two words", "EMPTY=", "A=2", "EQUALS=a=b", "HOME=/root"]
    assert sorted(found["env"]) == sorted(expected)


@pytest.mark.parametrize("entry", ["NAME", "=value", ""])
async def test_env_that_is_none(runtime: Runtime, guestfs: str, entry: str) -> None:
    with pytest.raises(SpecError) as caught:
        await look(runtime, with_process(Spec.default([], rootfs=guestfs), env=("PATH=/bin", entry)))
    assert caught.value.origin == "$.process.env[1]"


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home"), (4242, "/")])
async def test_home_is_that_of_the_containers_passwd(
    runtime: Runtime, guestfs: str, uid: int, home: str
) -> None:
    found = await look(runtime, Spec.default([], rootfs=guestfs).with_user(uid, uid))
    assert f"HOME={home}" in found["env"]


async def test_home_that_is_given_stays(runtime: Runtime, guestfs: str) -> None:
    found = await look(runtime, Spec.default([], rootfs=guestfs).with_env(HOME="/elsewhere"))
    assert [entry for entry in found["env"] if entry.startswith("HOME=")] == ["HOME=/elsewhere"]


@pytest.mark.proves("$.process.cwd")
async def test_cwd(runtime: Runtime, guestfs: str) -> None:
    base = Spec.default([], rootfs=guestfs)
    assert (await look(runtime, with_process(base, cwd="/tmp")))["cwd"] == "/tmp"


async def test_cwd_is_made(runtime: Runtime, guestfs: str) -> None:
    """As runc does: the specification leaves it open."""
    found = await look(runtime, with_process(Spec.default([], rootfs=guestfs), cwd="/srv/a/b"))
    assert found["cwd"] == "/srv/a/b"
    assert os.stat(f"{guestfs}/srv/a/b").st_mode & 0o777 == 0o755


async def test_cwd_through_a_link(runtime: Runtime, guestfs: str) -> None:
    os.symlink("/tmp", f"{guestfs}/lead")
    found = await look(runtime, with_process(Spec.default([], rootfs=guestfs), cwd="/lead"))
    assert found["cwd"] == "/tmp"


async def test_cwd_that_only_the_user_or_only_root_may_enter(runtime: Runtime, guestfs: str) -> None:
    os.mkdir(f"{guestfs}/root/inner", 0o700)
    os.chmod(f"{guestfs}/root", 0o700)
    base = Spec.default([], rootfs=guestfs)
    assert (await look(runtime, with_process(base, cwd="/root/inner")))["cwd"] == "/root/inner"
    with pytest.raises(BootstrapError) as caught:
        await look(runtime, with_process(base.with_user(1000, 1000), cwd="/root/inner"))
    assert caught.value.origin == "$.process.cwd"


@pytest.mark.parametrize("cwd", ["", "tmp", "./tmp", "../tmp"])
async def test_cwd_must_be_absolute(runtime: Runtime, guestfs: str, cwd: str) -> None:
    with pytest.raises(SpecError) as caught:
        await look(runtime, with_process(Spec.default([], rootfs=guestfs), cwd=cwd))
    assert caught.value.origin == "$.process.cwd"


async def test_cwd_that_is_a_file(runtime: Runtime, guestfs: str) -> None:
    with pytest.raises(BootstrapError) as caught:
        await look(runtime, with_process(Spec.default([], rootfs=guestfs), cwd="/etc/passwd"))
    assert caught.value.origin == "$.process.cwd"


@pytest.mark.proves("$.process.noNewPrivileges")
@pytest.mark.parametrize("nnp", [True, False, None])
async def test_no_new_privileges(runtime: Runtime, guestfs: str, nnp: bool | None) -> None:
    spec = with_process(Spec.default(["sleep", "60"], rootfs=guestfs), no_new_privileges=nnp)
    assert (await look(runtime, spec))["no_new_privs"] == bool(nnp)
    async with runtime.container(spec) as container:
        assert (await look_by_exec(container))["no_new_privs"] == bool(nnp)


def score(container: Container) -> str:
    with open(f"/proc/{container.pid}/oom_score_adj") as file:
        return file.read().strip()


LOWER = pytest.mark.needs("resource")


@pytest.mark.proves("$.process.oomScoreAdj")
@pytest.mark.parametrize(
    "value", [pytest.param(-1000, marks=LOWER), pytest.param(-1, marks=LOWER), 0, 500, 1000]
)
async def test_oom_score_adj(runtime: Runtime, guestfs: str, value: int) -> None:
    spec = with_process(Spec.default(["sleep", "60"], rootfs=guestfs), oom_score_adj=value)
    async with runtime.container(spec) as container:
        assert score(container) == str(value)
        assert (await look_by_exec(container))["oom_score_adj"] == str(value)


async def test_oom_score_adj_is_inherited(runtime: Runtime, guestfs: str) -> None:
    with open("/proc/self/oom_score_adj") as file:
        ours = file.read().strip()
    assert (await look(runtime, Spec.default([], rootfs=guestfs)))["oom_score_adj"] == ours


@pytest.mark.parametrize("value", [-1001, 1001])
async def test_oom_score_adj_out_of_range(runtime: Runtime, guestfs: str, value: int) -> None:
    with pytest.raises(SpecError) as caught:
        await look(runtime, with_process(Spec.default([], rootfs=guestfs), oom_score_adj=value))
    assert caught.value.origin == "$.process.oomScoreAdj"


@pytest.mark.proves("$.process.terminal", "$.process.consoleSize.height", "$.process.consoleSize.width")
async def test_terminal(runtime: Runtime, guestfs: str) -> None:
    """The streams are a terminal of the container's own, of the size that was asked for."""
    size = ConsoleSize(height=40, width=132)
    spec = with_process(
        shell("tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all", guestfs),
        terminal=True,
        console_size=size,
    )
    async with runtime.container(spec) as container:
        assert container.console is not None
        assert container.console.size == (40, 132)
        output = b""
        async with asyncio.timeout(10):
            while chunk := await container.console.read():
                output += chunk
        assert output.split() == [b"/dev/pts/0", b"40", b"132", b"all"]
        assert (await container.wait()).clean


async def test_console_size_without_a_terminal_means_nothing(runtime: Runtime, guestfs: str) -> None:
    spec = with_process(Spec.default([], rootfs=guestfs), console_size=ConsoleSize(height=1, width=1))
    assert (await look(runtime, spec))["has_terminal"] == 0


async def test_first_process_is_1_and_leads_its_session(runtime: Runtime, guestfs: str) -> None:
    found = await look(runtime, Spec.default([], rootfs=guestfs))
    assert (found["pid"], found["ppid"], found["sid"], found["pgid"]) == (1, 0, 1, 1)
    assert set(found["fds"]) == {"0", "1", "2"}
