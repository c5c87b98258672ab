"""Walk through a tour: run its steps one after the other with one runtime, and note what came of each.

    python3 walk.py TOUR full|short RUNTIME MANAGER RESULTS

For the machine in which the engines are; nothing but the standard library is used, because an ordinary
user walks, too, and starting Python is what takes longest there.  A step is a shell script in which
`podman` is the one with this runtime and storage of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from typing import Any, NamedTuple

__all__ = ["Step", "read", "walk"]

STEP_S = 150.0
"""Until a step is given up."""


class Step(NamedTuple):
    """One step of a tour."""

    name: str
    script: str
    user: str = ""
    """Only for "root", or only for "rootless"; anybody, if empty."""
    expect: str = ""
    """With a terminal: what to wait for before typing."""
    keys: str = ""
    """With a terminal: what to type then."""
    any_stderr: bool = False
    """What is written to stderr need not be the same."""
    short: bool = False
    """Belongs to the short tour, too."""


def read(path: str, *, user: str = "", short: bool = False) -> list[Step]:
    """The steps of a tour for one *user*, or all; its first part is put in front of each."""
    with open(path) as file:
        preamble, *parts = file.read().split("\n## ")[1:]
    steps = [_step(part, preamble.partition("\n")[2]) for part in parts]
    return [each for each in steps if (not user or each.user in ("", user)) and (each.short or not short)]


def _step(part: str, preamble: str) -> Step:
    name, *lines = part.splitlines()
    more: dict[str, Any] = {}
    while lines and lines[0].startswith("@ "):
        word, _, rest = lines.pop(0)[2:].partition(" ")
        if word in ("root", "rootless"):
            more["user"] = word
        elif word == "any":
            more["any_stderr"] = True
        elif word == "short":
            more["short"] = True
        else:
            more[word] = rest.encode().decode("unicode_escape")
    return Step(name, preamble + "\n".join(lines), **more)


def image() -> bytes:
    """An image's files as tar: busybox, and what programs look for."""
    buffer = BytesIO()
    busybox = shutil.which("busybox") or "/bin/busybox"
    with tarfile.open(fileobj=buffer, mode="w") as tar:

        def add(name: str, type: bytes = tarfile.REGTYPE, mode: int = 0o644, **more: Any) -> None:
            data = more.pop("data", b"")
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size = type, mode, len(data)
            for key, value in more.items():
                setattr(info, key, value)
            tar.addfile(info, BytesIO(data))

        for name in ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr", "usr/bin", "var"):
            add(name, tarfile.DIRTYPE, 0o755)
        add("home/someone", tarfile.DIRTYPE, 0o755, uid=1000, gid=100)
        add("tmp", tarfile.DIRTYPE, 0o1777)
        with open(busybox, "rb") as file:
            add("bin/busybox", mode=0o755, data=file.read())
        for applet in subprocess.check_output([busybox, "--list"], text=True).split():
            if applet != "busybox":
                add(f"bin/{applet}", tarfile.SYMTYPE, linkname="busybox")
        users = "root:x:0:0:root:/root:/bin/sh\nsomeone:x:1000:100::/home/someone:/bin/sh\n"
        add("etc/passwd", data=users.encode())
        add("etc/group", data=b"root:x:0:\nwheel:x:10:someone\nusers:x:100:\n")
    return buffer.getvalue()


CONTAINERS_CONF = """\
[engine]
events_logger = "file"
cgroup_manager = "{manager}"
lock_type = "file"
runtime_supports_json = ["aiocontainer", "crun"]
runtime_supports_nocgroups = ["{runtime}", "crun"]
[containers]
log_driver = "k8s-file"
[network]
network_backend = "netavark"
"""

PODMAN = """\
#!/bin/sh
exec /usr/bin/podman --log-level=error --storage-driver=overlay --root={home}/storage --runroot={home}/run \\
    --tmpdir={home}/tmp --cgroup-manager={manager} --runtime={runtime} "$@"
"""


OTHERS = {
    "buildah": "exec /usr/bin/buildah --storage-driver overlay --root {home}/storage --runroot {home}/run",
    "ctr": "exec /usr/bin/ctr --address {home}/c/sock",
}


def settle(home: str, runtime: str, manager: str) -> dict[str, str]:
    """Make *home* a place of its own for one engine with one runtime; returns the environment."""
    os.makedirs(f"{home}/bin")
    with open(f"{home}/containers.conf", "w") as file:
        file.write(CONTAINERS_CONF.format(manager=manager, runtime=runtime))
    scripts = {name: f'#!/bin/sh\n{start} "$@"\n' for name, start in OTHERS.items()} | {"podman": PODMAN}
    for name, script in scripts.items():
        with open(f"{home}/bin/{name}", "w") as file:
            file.write(script.format(home=home, runtime=runtime, manager=manager))
        os.chmod(f"{home}/bin/{name}", 0o755)
    with open(f"{home}/image.tar", "wb") as file:
        file.write(image())
    return os.environ | {
        "CONTAINERS_CONF": f"{home}/containers.conf",
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        "BUILDAH_ISOLATION": "oci",
        "H": home,
        "RUNTIME": runtime,
        # Debian's crun wants a library for that which Debian's CRIU does without.
        "CHECKPOINTS": "/usr/sbin/runc" if runtime.endswith("/crun") else runtime,
    }


def run(step: Step, environment: dict[str, str], cwd: str) -> tuple[int | str, str, str]:
    """Exit status, or what went wrong; stdout; stderr."""
    if step.keys:
        return typed(step, environment, cwd)
    process = subprocess.Popen(
        ["/bin/sh", "-c", step.script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=cwd,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=STEP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # others have our pipes, too
            process.communicate(timeout=5)
        return "timeout", "", ""
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


def typed(step: Step, environment: dict[str, str], cwd: str) -> tuple[int | str, str, str]:
    """Run a step on a terminal of its own, and type its keys once what is expected has come."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execve("/bin/sh", ["sh", "-c", step.script], environment)
    text, todo, end = b"", step.keys.encode(), time.monotonic() + STEP_S
    while time.monotonic() < end:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            data = os.read(master, 4096)
        except OSError:  # EIO: nobody has the other end any more
            data = b""
        if not data:
            _, status = os.waitpid(pid, 0)
            return os.waitstatus_to_exitcode(status), text.decode(errors="replace"), ""
        text += data
        if todo and step.expect.encode() in text:
            os.write(master, todo)
            todo = b""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "timeout", text.decode(errors="replace"), ""


def walk(tour: list[Step], home: str, runtime: str, manager: str, results: str) -> None:
    """Take all steps that are for us; *results* gets a line of JSON for each."""
    environment = settle(home, runtime, manager)
    with open(results, "w") as file:
        for step in tour:
            begun = time.monotonic()
            exit, out, err = run(step, environment, home)
            seconds = round(time.monotonic() - begun, 2)
            note = {"name": step.name, "exit": exit, "out": out, "err": err, "seconds": seconds}
            file.write(json.dumps(note) + "\n")
            file.flush()
            print(f"{seconds:7.2f} s  {os.path.basename(runtime)}: {step.name}: {exit}", flush=True)


if __name__ == "__main__":
    tour, length, runtime, manager, results = sys.argv[1:]
    me = "root" if os.geteuid() == 0 else "rootless"
    walk(read(tour, user=me, short=length == "short"), os.path.dirname(results), runtime, manager, results)
