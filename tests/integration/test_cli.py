"""The command line against the real kernel, as a shell and a container engine use it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root", "compiled")

PROGRAM = [sys.executable, "-m", "aiocontainer"]
TIMEOUT_S = 30.0


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the program keep its byte code: compiling all of it takes longer than a container."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


class Cli:
    """Runs the program with a state root of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def command(self, *words: str) -> list[str]:
        return [*PROGRAM, "--root", str(self.root), *words]

    def __call__(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        more.setdefault("stdin", subprocess.DEVNULL)
        if "input" in more:
            del more["stdin"]
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        return subprocess.run(self.command(*words), text=True, timeout=TIMEOUT_S, check=False, **more)

    def popen(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.command(*words), text=True, **more)

    def succeed(self, *words: str, **more: Any) -> str:
        done = self(*words, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout or ""

    def fail(self, *words: str, status: int = 1) -> str:
        """Return the one line that says why."""
        done = self(*words)
        assert done.returncode == status
        (line,) = done.stderr.splitlines()
        assert line.startswith("aiocontainer: ")
        return line

    def state(self, id: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.succeed("state", id))
        return document


@pytest.fixture
def cli(tmp_path: Path, snap: Leaks) -> Iterator[Cli]:
    cli = Cli(tmp_path / "state")
    snap.watch(str(cli.root))
    yield cli
    if cli.root.exists():  # a failed test cleans up too
        for id in cli.succeed("list", "-q").split():
            cli("delete", "--force", id)


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[..., str]:
    """Function that writes a bundle with this machine's /usr in it, and returns its path."""

    def write(*args: str, terminal: bool = False, **changes: Any) -> str:
        place = tmp_path / "bundle"
        if not place.exists():
            (place / "rootfs" / "usr").mkdir(parents=True)
            for name in ("bin", "sbin", "lib", "lib64"):
                (place / "rootfs" / name).symlink_to(f"usr/{name}")
            os.chmod(place / "rootfs", 0o755)
        (place / "config.json").unlink(missing_ok=True)
        subprocess.run([*PROGRAM, "spec", "-b", str(place)], check=True)
        document = json.loads((place / "config.json").read_text())
        document["process"] |= {"args": list(args), "terminal": terminal, **changes.pop("process", {})}
        usr = {"destination": "/usr", "type": "none", "source": "/usr", "options": ["bind", "ro"]}
        document["mounts"].append(usr)
        document |= changes
        (place / "config.json").write_text(json.dumps(document))
        return str(place)

    return write


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + TIMEOUT_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
    return value


def read_line(fd: int) -> str:
    data = b""
    while not data.endswith(b"\n"):
        assert select.select([fd], [], [], TIMEOUT_S)[0], data
        data += os.read(fd, 1)
    return data.decode().strip()


# Without a bundle ---------------------------------------------------------------------------------------


def test_a_command_runs_in_a_container_of_its_own(cli: Cli) -> None:
    script = "echo $$; hostname; ls /sys/class/net; cat /proc/1/comm; id -u"
    lines = cli.succeed("run", "--", "sh", "-c", script).split()
    assert lines[0] == "1"
    assert lines[1] != socket.gethostname()
    assert lines[2:] == ["lo", "sh", "0"]


def test_exit_status_is_that_of_the_command(cli: Cli) -> None:
    assert cli("run", "--", "sh", "-c", "exit 7").returncode == 7


def test_a_command_that_is_not_there(cli: Cli) -> None:
    assert "no-such-program" in cli.fail("run", "--", "no-such-program")


def test_what_is_written_is_thrown_away(cli: Cli, tmp_path: Path) -> None:
    mark = "/usr/aioc-test-mark"
    cli("run", "--", "touch", mark)
    assert not os.path.exists(mark)


def test_options_for_a_command(cli: Cli) -> None:
    out = cli.succeed(
        *("run", "--hostname", "box", "--env", "COLOUR=red", "--cwd", "/usr", "--user", "0:0"),
        *("--", "sh", "-c", "echo $(hostname) $COLOUR $(pwd) $(id -u) $(id -g)"),
    )
    assert out.split() == ["box", "red", "/usr", "0", "0"]


def test_a_root_of_ones_own(cli: Cli, bundle: Callable[..., str]) -> None:
    """Nothing of this machine is in it, so that its programs cannot be found."""
    rootfs = os.path.join(bundle("true"), "rootfs")
    assert "find the program" in cli.fail("run", "--rootfs", rootfs, "--", "sh")


def test_input_and_output_are_our_own(cli: Cli) -> None:
    done = cli("run", "--", "sh", "-c", "cat; echo oops >&2", input="hello\n")
    assert (done.stdout, done.stderr) == ("hello\n", "oops\n")


def test_options_for_a_command_need_one(cli: Cli) -> None:
    assert "--" in cli.fail("run", "--hostname", "box", "aioc-test-x")
    assert "--bundle" in cli.fail("run", "--bundle", "/", "--", "true")
    cli.fail("run", "--")


# With a bundle ------------------------------------------------------------------------------------------


def test_foreground(cli: Cli, bundle: Callable[..., str]) -> None:
    path = bundle("sh", "-c", "echo $$ $(hostname); exit 3")
    done = cli("run", "-b", path, "aioc-test-fg")
    assert (done.returncode, done.stdout) == (3, "1 aiocontainer\n")
    assert cli.succeed("list", "-q") == ""


def test_a_life_by_several_processes(cli: Cli, bundle: Callable[..., str], tmp_path: Path) -> None:
    id = "aioc-test-life"
    pid_file = tmp_path / "pid"
    cli.succeed(
        "create", "-b", bundle("sleep", "1000"), "--pid-file", str(pid_file), id, stdout=None, stderr=None
    )
    pid = int(pid_file.read_text())
    state = cli.state(id)
    assert (state["status"], state["pid"]) == ("created", pid)

    cli.succeed("start", id)
    assert cli.state(id)["status"] == "running"
    assert "already started" in cli.fail("start", id)
    assert cli.succeed("exec", id, "cat", "/proc/1/comm") == "sleep\n"
    assert "running" in cli.fail("delete", id)

    cli.succeed("kill", id, "KILL")
    wait_for(lambda: cli.state(id)["status"] == "stopped")
    assert cli.state(id)["pid"] == 0
    cli.fail("kill", id)
    cli.fail("start", id)
    cli.fail("exec", id, "true", status=255)
    cli.succeed("delete", id)
    assert "does not exist" in cli.fail("state", id)


def test_detached(cli: Cli, bundle: Callable[..., str]) -> None:
    cli.succeed("run", "-d", "-b", bundle("sleep", "1000"), "aioc-test-d", stdout=None, stderr=None)
    assert cli.state("aioc-test-d")["status"] == "running"
    cli.succeed("delete", "--force", "aioc-test-d")


def test_keep(cli: Cli, bundle: Callable[..., str]) -> None:
    cli.succeed("run", "--keep", "-b", bundle("true"), "aioc-test-k")
    assert cli.state("aioc-test-k")["status"] == "stopped"
    cli.succeed("delete", "aioc-test-k")


def test_an_id_in_use(cli: Cli, bundle: Callable[..., str]) -> None:
    path = bundle("sleep", "1000")
    cli.succeed("run", "-d", "-b", path, "aioc-test-u", stdout=None, stderr=None)
    assert "already exists" in cli.fail("run", "-b", path, "aioc-test-u")
    assert cli.state("aioc-test-u")["status"] == "running"
    cli.succeed("delete", "-f", "aioc-test-u")


def test_what_is_not_supported_is_named_and_nothing_made(
    cli: Cli, bundle: Callable[..., str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    path = bundle("true", process={"apparmorProfile": "x"})
    message = cli.fail("--log", str(log), "--log-format", "json", "create", "-b", path, "aioc-test-n")
    assert "$.process.apparmorProfile" in message
    assert json.loads(log.read_text())["msg"] in message
    assert cli.succeed("list", "-q") == ""


@pytest.mark.needs("runc")
def test_state_and_list_have_the_shape_of_runc(cli: Cli, bundle: Callable[..., str], tmp_path: Path) -> None:
    path = bundle("sleep", "1000", annotations={"org.example": "1"})
    runc = ["runc", "--root", str(tmp_path / "runc")]
    id = "aioc-test-shape"
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*runc, "run", "-d", "-b", path, id], check=True, timeout=TIMEOUT_S, **quiet)  # type: ignore[call-overload]
    try:
        theirs = [
            json.loads(subprocess.check_output([*runc, *words]))
            for words in (("state", id), ("list", "-f", "json"))
        ]
        table = subprocess.check_output([*runc, "list"], text=True).splitlines()
    finally:
        subprocess.run([*runc, "delete", "-f", id], check=True, timeout=TIMEOUT_S)
    cli.succeed("run", "-d", "-b", path, id, stdout=None, stderr=None)
    ours = [cli.state(id), json.loads(cli.succeed("list", "-f", "json"))]
    assert list(ours[0]) == list(theirs[0])
    assert {key: type(value) for key, value in ours[0].items()} == {k: type(v) for k, v in theirs[0].items()}
    assert [list(each) for each in ours[1]] == [list(each) for each in theirs[1]]
    same = ("id", "status", "bundle", "rootfs", "annotations")
    assert {key: ours[0][key] for key in same} == {key: theirs[0][key] for key in same}
    assert ours[1][0]["owner"] == theirs[1][0]["owner"]
    assert cli.succeed("list").splitlines()[0].split() == table[0].split()
    assert cli.succeed("list", "-q") == f"{id}\n"
    cli.succeed("delete", "-f", id)
    assert cli.succeed("list", "-f", "json") == "null\n"


# exec ---------------------------------------------------------------------------------------------------


@pytest.fixture
def sleeper(cli: Cli, bundle: Callable[..., str]) -> Iterator[str]:
    id = "aioc-test-sleeper"
    cli.succeed("run", "-d", "-b", bundle("sleep", "1000"), id, stdout=None, stderr=None)
    yield id
    cli.succeed("delete", "-f", id)


def test_exec_status(cli: Cli, sleeper: str) -> None:
    assert cli("exec", sleeper, "sh", "-c", "exit 9").returncode == 9
    assert cli("exec", sleeper, "sh", "-c", "kill -TERM $$").returncode == 143
    assert "no-such-program" in cli.fail("exec", sleeper, "no-such-program", status=255)


def test_exec_options(cli: Cli, sleeper: str) -> None:
    script = "echo $A $B $(pwd) $(id -u) $(id -g) $(id -G); grep NoNewPrivs /proc/self/status"
    out = cli.succeed(
        *(
            "exec",
            "-e",
            "A=1",
            "--env",
            "B=2",
            "--cwd",
            "/usr",
            "-u",
            "1000:100",
            "-g",
            "5",
            "--no-new-privs",
        ),
        *(sleeper, "--", "sh", "-c", script),
    )
    assert out.split() == ["1", "2", "/usr", "1000", "100", "100", "5", "NoNewPrivs:", "1"]


@pytest.mark.parametrize(
    "user", ["", "1:", ":2", "-1", "+1", "0x1", " 1", "1\n", "1_0", "4294967295", "\u0661"]
)
def test_exec_user_is_digits_or_refused(cli: Cli, sleeper: str, user: str) -> None:
    cli.fail("exec", "--user", user, sleeper, "id", status=255)


def test_exec_of_a_process_file(cli: Cli, sleeper: str, tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    process = {"args": ["sh", "-c", "pwd; echo $X"], "env": ["PATH=/usr/bin", "X=1"], "cwd": "/usr"}
    file.write_text(json.dumps(process))
    assert cli.succeed("exec", "--process", str(file), sleeper).split() == ["/usr", "1"]
    file.write_text(json.dumps({"args": ["true"]}))
    assert "cwd" in cli.fail("exec", "-p", str(file), sleeper, status=255)


def test_exec_detached(cli: Cli, sleeper: str, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    cli.succeed("exec", "-d", "--pid-file", str(pid_file), sleeper, "sleep", "999", stdout=None, stderr=None)
    pid = int(pid_file.read_text())
    with open(f"/proc/{pid}/cmdline") as file:
        assert file.read() == "sleep\000999\000"
    assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(f"/proc/{cli.state(sleeper)['pid']}/ns/mnt")


def test_who_inherits_a_detached_exec_is_told_of_its_end(cli: Cli, sleeper: str, tmp_path: Path) -> None:
    """As conmon does: it is a subreaper, and may be told of the pid when the process has ended already."""
    pid_file = tmp_path / "pid"
    words = cli.command("exec", "-d", "--pid-file", str(pid_file), sleeper, "sh", "-c", "exit 9")
    script = f"""
import ctypes, os, subprocess
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
subprocess.run({words!r}, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
_, status = os.waitpid(int(open({str(pid_file)!r}).read()), 0)
print(os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=TIMEOUT_S, check=False)
    assert (done.stdout, done.stderr) == (b"9\n", b"")


@pytest.mark.parametrize("option", ["--apparmor", "--process-label"])
def test_exec_names_the_label_that_it_cannot_give(cli: Cli, sleeper: str, option: str) -> None:
    assert "aioc-none" in cli.fail("exec", option, "aioc-none", sleeper, "true", status=255)


def test_exec_in_a_paused_container_waits(cli: Cli, sleeper: str) -> None:
    """It is there already, and runs when the container is resumed."""
    cli.succeed("pause", sleeper)
    assert "paused" in cli.fail("exec", sleeper, "true", status=255)
    with cli.popen("exec", "--ignore-paused", sleeper, "sh", "-c", "exit 3") as waiting:
        wait_for(lambda: len(json.loads(cli.succeed("ps", "-f", "json", sleeper))) == 2)
        assert waiting.poll() is None
        cli.succeed("resume", sleeper)
        assert waiting.wait(TIMEOUT_S) == 3


def test_exec_names_the_cgroup_that_is_not_there(cli: Cli, sleeper: str) -> None:
    assert "no such cgroup" in cli.fail("exec", "--cgroup", "none", sleeper, "true", status=255)
    assert "--cgroup :none" in cli.fail("exec", "--cgroup", ":none", sleeper, "true", status=255)


def test_exec_console_socket(cli: Cli, sleeper: str, tmp_path: Path) -> None:
    path = str(tmp_path / "console")
    assert "--console-socket" in cli.fail("exec", "-d", "-t", sleeper, "tty", status=255)
    assert "--console-socket" in cli.fail("exec", "--console-socket", path, "-t", sleeper, "tty", status=255)
    with receiver(path) as take:
        words = (
            "exec",
            "-d",
            "-t",
            "--console-socket",
            path,
            sleeper,
            "sh",
            "-c",
            "echo =$((20+3))=; sleep 9",
        )
        cli.succeed(*words, stdout=None, stderr=None)
        _, master = take()
        data = b""
        while b"=23=" not in data:
            assert select.select([master], [], [], TIMEOUT_S)[0], data
            data += os.read(master, 4096)
        os.close(master)


def test_exec_terminal(cli: Cli, sleeper: str) -> None:
    with Terminal(cli.command("exec", "-t", sleeper, "tty")) as terminal:
        assert terminal.output().strip() == "/dev/pts/0"
        assert terminal.status == 0


# Signals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN + 3]
)
def test_signals_are_passed_on(cli: Cli, number: int) -> None:
    script = f"trap 'exit 42' {number}; echo ready; while :; do sleep 0.05; done"
    running = cli.popen("run", "--", "sh", "-c", script, stdout=subprocess.PIPE)
    assert running.stdout is not None
    with running:
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        assert running.wait(TIMEOUT_S) == 42


def test_signals_are_passed_on_by_exec(cli: Cli, sleeper: str) -> None:
    script = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"
    running = cli.popen("exec", sleeper, "sh", "-c", script, stdout=subprocess.PIPE)
    assert running.stdout is not None
    with running:
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        assert running.wait(TIMEOUT_S) == 42


def test_a_killed_foreground_takes_its_container_along(cli: Cli) -> None:
    running = cli.popen("run", "--", "sleep", "1000", stdout=subprocess.DEVNULL)
    (id,) = wait_for(lambda: cli("list", "-q").stdout.split())
    wait_for(lambda: cli.state(id)["status"] == "running")
    pid = cli.state(id)["pid"]
    running.kill()
    running.wait(TIMEOUT_S)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"))
    cli.succeed("delete", "--force", id)


@pytest.mark.parametrize("options", [[], ["--no-subreaper"]])
def test_what_a_container_without_a_pid_namespace_leaves(
    cli: Cli, bundle: Callable[..., str], tmp_path: Path, options: list[str]
) -> None:
    """Its orphans end with it; the leak check looks for them, and for zombies."""
    config = os.path.join(bundle("sh", "-c", "(sleep 1234 &) & sleep 0.2; exit 3"), "config.json")
    with open(config) as file:
        document = json.load(file)
    linux = document["linux"]
    linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "pid"]
    with open(config, "w") as file:
        json.dump(document, file)
    done = cli("run", *options, "-b", os.path.dirname(config), "aioc-test-orphans")
    assert (done.returncode, done.stderr) == (3, "")


# Terminals ----------------------------------------------------------------------------------------------


def test_terminal(cli: Cli) -> None:
    with Terminal(cli.command("run", "-t", "--", "sh")) as terminal:
        terminal.type("stty size; tty; echo =$((20+3))=\n")
        seen = terminal.read_until("=23=")
        assert "31 97" in seen
        assert "/dev/pts/0" in seen
        terminal.resize(40, 100)
        terminal.type("sleep 0.2; stty size\n")
        terminal.read_until("40 100")
        terminal.type("exit 5\n")
        terminal.output()
        assert terminal.status == 5


def test_interrupt_is_a_key(cli: Cli) -> None:
    """Raw mode: the key reaches the terminal inside, which makes a signal of it."""
    script = "trap 'exit 42' INT; echo ready; while :; do sleep 0.05; done"
    with Terminal(cli.command("run", "-t", "--", "sh", "-c", script)) as terminal:
        terminal.read_until("ready")
        terminal.type("\x03")
        terminal.output()
        assert terminal.status == 42


@pytest.mark.parametrize("how", ["end", "signal", "deletion"])
def test_our_terminal_is_as_before(cli: Cli, how: str) -> None:
    """Whatever ends the program; the shell around it keeps the terminal open to be looked at."""
    script = "trap 'exit 1' TERM; echo =$((20+3))=; sleep 1000 & wait"
    command = shlex.join(cli.command("run", "-t", "--", "sh", "-c", script))
    shell = f"{command} & echo pid $!; fg; exec sleep 1000"
    with Terminal(["/bin/sh", "-m", "-c", shell]) as terminal:
        before = terminal.mode()
        seen = terminal.read_until("=23=")
        assert not terminal.mode()[3] & termios.ICANON
        (id,) = cli.succeed("list", "-q").split()
        if how == "end":
            cli.succeed("kill", id, "KILL")
        elif how == "signal":
            os.kill(int(seen.split("pid")[1].split()[0]), signal.SIGTERM)
        else:
            cli.succeed("delete", "--force", id)
        wait_for(lambda: terminal.mode()[3] & termios.ICANON)
        assert terminal.mode() == before


def test_a_terminal_hangs_up_when_nobody_reads(cli: Cli) -> None:
    """Even where pid 1 ignores the signal that goes with it."""
    running = cli.popen("run", "-t", "--", "yes", stdout=subprocess.PIPE)
    assert running.stdout is not None
    with running:
        assert running.stdout.readline() == "y\n"
        running.stdout.close()
        assert running.wait(TIMEOUT_S) != 0


def test_all_output_of_a_terminal_is_copied(cli: Cli) -> None:
    lines = cli.succeed("run", "-t", "--", "seq", "20000").splitlines()
    assert lines == [str(number) for number in range(1, 20001)]


@contextlib.contextmanager
def receiver(path: str) -> Iterator[Callable[[], tuple[bytes, int]]]:
    """A socket that takes one message with one descriptor."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(TIMEOUT_S)

        def take() -> tuple[bytes, int]:
            peer, _ = listener.accept()
            with peer:
                text, fds, _, _ = socket.recv_fds(peer, 4096, 2)
                (fd,) = fds
                return text, fd

        yield take


def test_console_socket(cli: Cli, bundle: Callable[..., str], tmp_path: Path) -> None:
    path = str(tmp_path / "console")
    with receiver(path) as take:
        cli.succeed(
            *("create", "-b", bundle("sh", terminal=True), "--console-socket", path, "aioc-test-c"),
            stdout=None,
            stderr=None,
        )
        name, master = take()
        assert name
        cli.succeed("start", "aioc-test-c")
        os.write(master, b"echo =$((20+3))=\n")
        data = b""
        while b"=23=" not in data:
            assert select.select([master], [], [], TIMEOUT_S)[0], data
            data += os.read(master, 4096)
        os.close(master)
    cli.succeed("delete", "-f", "aioc-test-c")


def test_terminals_and_sockets_go_together(cli: Cli, bundle: Callable[..., str], tmp_path: Path) -> None:
    path = str(tmp_path / "console")
    terminal = bundle("sh", terminal=True)
    assert "--console-socket" in cli.fail("run", "-d", "-b", terminal, "aioc-test-c")
    assert "--console-socket" in cli.fail("create", "-b", terminal, "aioc-test-c")
    assert "--console-socket" in cli.fail("run", "-b", terminal, "--console-socket", path, "aioc-test-c")
    plain = bundle("sh")
    with receiver(path):
        assert "terminal" in cli.fail("create", "-b", plain, "--console-socket", path, "aioc-test-c")
    assert cli.succeed("list", "-q") == ""


# Descriptors --------------------------------------------------------------------------------------------


def under_shell(script: str, fd: int) -> subprocess.CompletedProcess[str]:
    """Run a script that redirects *fd*, whose number may have two digits, which is beyond dash."""
    command = ["/bin/bash", "-c", script]
    return subprocess.run(
        command, pass_fds=[fd], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )


def test_preserved_descriptors(cli: Cli) -> None:
    reader, writer = os.pipe()
    command = cli.command("run", "--preserve-fds", "1", "--", "sh", "-c", "ls /proc/self/fd; echo kept >&3")
    try:
        done = under_shell(f"exec {shlex.join(command)} 3>&{writer}", writer)
        assert done.stdout.split() == ["0", "1", "2", "3", "4"]  # the last is that of ls
        assert read_line(reader) == "kept"
    finally:
        os.close(reader)
        os.close(writer)


def test_sockets_of_the_service_manager(cli: Cli) -> None:
    script = 'echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; readlink /proc/self/fd/3 | grep -c "^socket:"'
    command = shlex.join(cli.command("run", "--", "sh", "-c", script))
    with socket.socket(socket.AF_UNIX) as listener:
        fd = listener.fileno()
        variables = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web"
        done = under_shell(f"export {variables}; exec {command} 3<&{fd}", fd)
    assert done.stdout.split() == ["1", "1", "web", "1"]


# Readiness ----------------------------------------------------------------------------------------------

SAYS = (
    "use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die; my $to = sockaddr_un($ENV{NOTIFY_SOCKET});"
    "for (@ARGV) { s/,/\\n/g; send(S, $_, 0, $to) or die $!; } exec 'sleep', '1000';"
)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """Socket of a service manager, and the environment of its services."""
    path = str(tmp_path / "manager")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(path)
        ours.settimeout(TIMEOUT_S)
        yield ours, {**os.environ, "NOTIFY_SOCKET": path}


def told(manager: socket.socket) -> list[str]:
    """Read what a manager is told at readiness, and answer the barrier."""
    messages = [manager.recv(4096).decode() for _ in range(2)]
    barrier, fds, _, _ = socket.recv_fds(manager, 4096, 2)
    for fd in fds:
        os.close(fd)
    assert len(fds) == 1
    return [*messages, barrier.decode()]


Manager = tuple[socket.socket, dict[str, str]]


def test_readiness_is_passed_on(cli: Cli, bundle: Callable[..., str], manager: Manager) -> None:
    """And nothing else of what the container says; `start` returns when the manager has read it."""
    ours, env = manager
    lies = ["STATUS=x,MAINPID=1", "READY=0", "READY=10", "BARRIER=1", "STATUS=up,READY=1,MAINPID=1"]
    path = bundle("perl", "-e", SAYS, "--", *lies)
    cli.succeed("create", "-b", path, "aioc-test-r", stdout=None, stderr=None, env=env)
    pid = cli.state("aioc-test-r")["pid"]
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    ours.settimeout(TIMEOUT_S)
    starting = cli.popen("start", "aioc-test-r", env=env)
    assert told(ours) == ["READY=1\n", f"MAINPID={pid}\n", "BARRIER=1"]
    assert starting.wait(TIMEOUT_S) == 0
    assert os.listdir(cli.root / "aioc-test-r" / "notify") == []
    cli.succeed("delete", "-f", "aioc-test-r")
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        ours.recv(1)


def test_readiness_of_a_user_of_its_own(cli: Cli, bundle: Callable[..., str], manager: Manager) -> None:
    """The directory is open to users of the container, and to nobody for writing."""
    ours, env = manager
    script = f"touch /run/notify/x 2>/dev/null && exit 1; exec perl -e {shlex.quote(SAYS)} READY=1"
    path = bundle("sh", "-c", script, process={"user": {"uid": 1000, "gid": 1000}})
    running = cli.popen("run", "-d", "-b", path, "aioc-test-r", env=env)
    ready, main, _ = told(ours)
    assert running.wait(TIMEOUT_S) == 0
    assert (ready, main) == ("READY=1\n", f"MAINPID={cli.state('aioc-test-r')['pid']}\n")
    cli.succeed("delete", "-f", "aioc-test-r")


def test_readiness_in_the_foreground(cli: Cli, bundle: Callable[..., str], manager: Manager) -> None:
    """We stay the main process, and what comes later holds the program up as little as what came before."""
    ours, env = manager
    script = f"perl -e {shlex.quote(SAYS.replace('1000', '0'))} READY=1 && exit 7"
    running = cli.popen("run", "-b", bundle("sh", "-c", script), "aioc-test-r", env=env)
    assert told(ours) == ["READY=1\n", f"MAINPID={running.pid}\n", "BARRIER=1"]
    assert running.wait(TIMEOUT_S) == 7


def test_who_ends_without_being_ready(cli: Cli, bundle: Callable[..., str], manager: Manager) -> None:
    ours, env = manager
    path = bundle("true")
    cli.succeed("run", "-d", "-b", path, "aioc-test-r", stdout=None, stderr=None, env=env)
    assert cli.state("aioc-test-r")["status"] == "stopped"
    cli.succeed("delete", "aioc-test-r")
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        ours.recv(1)


def test_no_manager_answers(cli: Cli, bundle: Callable[..., str], tmp_path: Path) -> None:
    """What runs goes on running, and it is said what was not."""
    env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "none")}
    path = bundle("perl", "-e", SAYS, "--", "READY=1")
    log = tmp_path / "stderr"
    with open(log, "w") as file:
        cli.succeed("run", "-d", "-b", path, "aioc-test-r", stdout=None, stderr=file, env=env)
    assert "NOTIFY_SOCKET" in log.read_text()
    assert cli.state("aioc-test-r")["status"] == "running"
    cli.succeed("delete", "-f", "aioc-test-r")


def test_pidfd_socket(cli: Cli, bundle: Callable[..., str], tmp_path: Path) -> None:
    path = str(tmp_path / "pidfd")
    with receiver(path) as take:
        cli.succeed(
            *("run", "-d", "-b", bundle("sleep", "1000"), "--pidfd-socket", path, "aioc-test-p"),
            stdout=None,
            stderr=None,
        )
        kind, pidfd = take()
    assert kind == b"standard"
    cli.succeed("kill", "aioc-test-p", "9")
    assert select.select([pidfd], [], [], TIMEOUT_S)[0]
    os.close(pidfd)
    cli.succeed("delete", "-f", "aioc-test-p")


# Without privilege --------------------------------------------------------------------------------------


def test_a_plan_needs_no_privilege(bundle: Callable[..., str]) -> None:
    without = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*without, *PROGRAM, "plan", bundle("true")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "$.mounts[0]" in done.stdout
    assert "$.process.args" in done.stdout


@pytest.mark.needs("userns")
def test_a_user_without_privilege(public_tmp: str, snap: Leaks) -> None:
    """Nobody can run a command, and sees of the machine what nobody may see."""
    os.chown(public_tmp, 65534, 65534)
    os.chmod(public_tmp, 0o700)
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    if subprocess.run([*nobody, *PROGRAM, "--version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("nobody may not run this interpreter")
    script = "echo $$ $(id -u); ls /sys/class/net; cat /etc/shadow 2>&1 || touch /usr/mark"
    done = subprocess.run(
        [*nobody, *PROGRAM, "run", "--", "sh", "-c", script],
        env={
            "PATH": "/usr/bin:/bin",
            "XDG_RUNTIME_DIR": public_tmp,
            "PYTHONSAFEPATH": os.environ.get("PYTHONSAFEPATH", ""),  # the package that is under test
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout.split()[:3] == ["1", "0", "lo"], done.stderr
    assert "Permission denied" in done.stdout
    assert "Read-only file system" in done.stderr
    assert done.returncode == 1
    assert os.listdir(os.path.join(public_tmp, "aiocontainer")) == []


# What a container uses

# A detached container keeps the streams of its command line.
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def test_pause_and_resume(cli: Cli, bundle: Callable[..., str]) -> None:
    id = "aioc-test-cli-pause"
    cli.succeed("run", "-d", "-b", bundle("sleep", "60"), id, **QUIET)
    assert cli.succeed("pause", id) == ""
    assert cli.state(id)["status"] == "paused"
    assert "paused" in cli.fail("pause", id)
    assert cli.succeed("resume", id) == ""
    assert cli.state(id)["status"] == "running"
    cli.fail("resume", id)
    cli.succeed("delete", "-f", id)


def test_ps(cli: Cli, bundle: Callable[..., str]) -> None:
    id = "aioc-test-cli-ps"
    cli.succeed("run", "-d", "-b", bundle("sh", "-c", "sleep 61 & exec sleep 60"), id, **QUIET)
    pid = cli.state(id)["pid"]
    pids = json.loads(cli.succeed("ps", "-f", "json", id))
    assert pid in pids
    assert len(pids) == 2
    if shutil.which("ps") is not None:
        titles, *rows = cli.succeed("ps", id).splitlines()
        assert "PID" in titles.split()
        assert sorted(int(row.split()[1]) for row in rows) == sorted(pids)
        assert cli.succeed("ps", id, "-o", "pid,args").split("\n")[0].split() == ["PID", "COMMAND"]
        assert "PID" in cli.fail("ps", id, "-o", "args")
        assert "ps:" in cli.fail("ps", id, "--no-such-option")
    cli.succeed("kill", id, "KILL")
    wait_for(lambda: cli.state(id)["status"] == "stopped")
    assert cli.succeed("ps", "-f", "json", id) == "[]\n"
    cli.succeed("delete", id)


def test_events(cli: Cli, bundle: Callable[..., str]) -> None:
    id = "aioc-test-cli-events"
    cli.succeed("run", "-d", "-b", bundle("sleep", "60"), id, **QUIET)
    event = json.loads(cli.succeed("events", "--stats", id))
    assert (event["type"], event["id"]) == ("stats", id)
    keys = ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"]
    assert list(event["data"])[: len(keys)] == keys
    assert event["data"]["cpu"]["usage"]["total"] > 0
    assert event["data"]["pids"]["current"] == 1
    assert [each["Name"] for each in event["data"]["network_interfaces"]] == ["lo"]
    for interval in ("0s", "5", "soon"):
        assert "duration" in cli.fail("events", "--interval", interval, id)
    following = cli.popen("events", "--interval", "100ms", id, stdout=subprocess.PIPE)
    assert following.stdout is not None
    with following:
        lines = (following.stdout.readline() for _ in range(3))
        totals = [json.loads(line)["data"]["cpu"]["usage"]["total"] for line in lines]
        assert totals == sorted(totals)
        cli.succeed("kill", id, "KILL")
        following.communicate(timeout=TIMEOUT_S)  # what it writes meanwhile may be more than a pipe holds
        assert following.returncode == 0
    assert "stopped" in cli.fail("events", "--stats", id)
    assert "stopped" in cli.fail("events", id)
    cli.succeed("delete", id)
