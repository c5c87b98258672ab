"""Runs mount steps for real: a rootfs to build, a driver compiled from the helper's sources.

The driver (``mounts_driver.c``) takes a plan like the helper does, but nothing else: each run has
namespaces of its own, so nothing of it is left on the host.  It is compiled once for each weakening
(``-DWEAK_T27``), which takes out one guard, to prove that the tests would notice.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiocontainer.native.wire import encode_plan
from aiocontainer.plan import flags, steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAMESPACES = flags.CLONE_NEWNS | flags.CLONE_NEWIPC | flags.CLONE_NEWUTS | flags.CLONE_NEWNET
SOURCES = ("decode", "path", "mounts", "copyup", "throwaway", "steps_mount", "steps_root", "steps_dev")
MAKE_DIR, MAKE_FILE = flags.MOUNT_MAKE_DIR, flags.MOUNT_MAKE_FILE
MAKE = MAKE_DIR | MAKE_FILE
KERNEL_FS = flags.MOUNT_PROCFS | MAKE_DIR
RSLAVE = flags.MS_SLAVE | flags.MS_REC

RO, NOSUID, NODEV, NOEXEC = (
    flags.MOUNT_ATTR_RDONLY,
    flags.MOUNT_ATTR_NOSUID,
    flags.MOUNT_ATTR_NODEV,
    flags.MOUNT_ATTR_NOEXEC,
)
STRICT = flags.MOUNT_ATTR_STRICTATIME
TTY_DATA = ("newinstance", "ptmxmode=0666", "mode=0620", "gid=5")

PROC = steps.Mount("", "proc", "proc", "/proc", flags=KERNEL_FS)
DEV = steps.Mount("", "tmpfs", "tmpfs", "/dev", NOSUID | STRICT, 0, MAKE_DIR, ("mode=755", "size=65536k"))
PTS = steps.Mount("", "devpts", "devpts", "/dev/pts", NOSUID | NOEXEC, 0, MAKE_DIR, TTY_DATA)
SYS = steps.Mount("", "sysfs", "sysfs", "/sys", NOSUID | NOEXEC | NODEV | RO, 0, KERNEL_FS)
NULL = steps.Device("", "/dev/null", stat.S_IFCHR | 0o666, 1, 3)

HERE = os.path.dirname(__file__)
NATIVE = os.path.join(HERE, "..", "..", "_native")

_OPEN_TREE, _AT_FDCWD, _AT_RECURSIVE, _OPEN_TREE_CLONE = 428, -100, 0x8000, 1


def tmpfs(target: str, *data: str, flags: int = MAKE_DIR) -> steps.Mount:
    return steps.Mount("", "tmpfs", "tmpfs", target, flags=flags, data=data)


def bind(source: str, target: str, flags: int = MAKE, **rest: object) -> steps.Bind:
    return steps.Bind("", source, target, flags=flags, **rest)  # type: ignore[arg-type]


def compile_driver(directory: str, *weaknesses: str) -> str:
    """Compile the driver, without the named guards, and return its path."""
    path = os.path.join(directory, "-".join(("driver", *weaknesses)))
    warnings = ["-w"] if weaknesses else ["-Wall", "-Wextra", "-Wconversion", "-Werror"]
    command = ["gcc", "-D_GNU_SOURCE", "-std=c11", "-O1", "-static", *warnings]
    command += [f"-D{name}" for name in weaknesses]
    command += [f"-I{NATIVE}", "-o", path, os.path.join(HERE, "mounts_driver.c")]
    subprocess.run([*command, *(os.path.join(NATIVE, f"{name}.c") for name in SOURCES)], check=True)
    return path


@dataclass
class Outcome:
    """How a run ended."""

    output: str
    code: int
    failed: int | None = None
    """Index of the step that failed."""
    error: int = 0
    call: int = 0

    def __post_init__(self) -> None:
        words = self.output.split()
        if self.code == 1 and words[-4:-3] == ["failed"]:
            self.failed, self.error, self.call = map(int, words[-3:])

    @property
    def worked(self) -> bool:
        return self.code == 0


@dataclass
class Rootfs:
    """A directory to be a root, with the host's programs in it once `programs` has run."""

    driver: str
    path: str
    namespaces: int = NAMESPACES | flags.CLONE_NEWPID
    wrapper: Sequence[str] = ()
    """A command that the driver is run by."""
    user: int | None = None
    """Who runs it."""
    fds: Sequence[int] = field(default_factory=list)

    def make(self, *names: str) -> None:
        """Make directories."""
        for name in names:
            os.makedirs(self.at(name), exist_ok=True)

    def write(self, name: str, text: str = "") -> None:
        with open(self.at(name), "w") as file:
            file.write(text)

    def link(self, text: str, name: str) -> None:
        os.symlink(text, self.at(name))

    def at(self, name: str) -> str:
        """Where the name is on the host."""
        return os.path.join(self.path, name.lstrip("/"))

    def begin(self) -> list[steps.Step]:
        """Return the steps that come before all others."""
        return [steps.Propagation("", RSLAVE), steps.Procfs(""), steps.Rootfs("", self.path)]

    def programs(self) -> list[steps.Step]:
        """Return the steps that give it the host's programs."""
        for name in ("bin", "lib", "lib64", "sbin"):
            if os.path.islink(f"/{name}") and not os.path.lexists(self.at(name)):
                self.link(f"usr/{name}", name)
        recursive = flags.MOUNT_RECURSIVE | MAKE_DIR
        return [steps.Bind("", "/usr", "/usr", attrs=flags.MOUNT_ATTR_RDONLY, flags=recursive)]

    def look(self, *some: steps.Step, script: str, before: Sequence[steps.Step] = ()) -> Outcome:
        """Run the steps, pivot, run `before`, verify, and let a shell look around."""
        rest = [*before, steps.VerifyMounts("")]
        program = steps.Exec("", ("/bin/sh", "-ec", script), ())
        return self.run(*self.begin(), *self.programs(), *some, steps.Pivot(""), *rest, program)

    def run(self, *plan: steps.Step) -> Outcome:
        """Run the steps as they are."""
        with self.started(*plan) as process:
            output, _ = process.communicate(timeout=30)
            return Outcome(output, process.returncode)

    def apply(self, *some: steps.Step) -> Outcome:
        """Run the steps in the rootfs, without a program."""
        return self.run(*self.begin(), *some, steps.Exec("", ("",), ()))

    @contextlib.contextmanager
    def started(self, *plan: steps.Step) -> Iterator[subprocess.Popen[str]]:
        """Start the steps; at a pause the driver writes a line and waits for one."""
        with tempfile.TemporaryFile() as file, open(self.driver, "rb") as driver:
            file.write(encode_plan(plan, len(self.fds)))
            file.flush()
            os.fchmod(file.fileno(), 0o444)
            # By descriptor: whoever runs it may have no way to the files.
            names = [f"/proc/self/fd/{opened.fileno()}" for opened in (driver, file)]
            with subprocess.Popen(
                [*self.wrapper, *names, str(self.namespaces), *map(str, self.fds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=(*self.fds, driver.fileno(), file.fileno()),
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
            ) as process:
                yield process

    def swapped(self, *plan: steps.Step, pause: int, swap: object) -> Outcome:
        """Call `swap` while the driver waits before the step `pause` of the plan."""
        stop = steps.Pause("", flags.PAUSE_CGROUP)
        with self.started(*plan[:pause], stop, *plan[pause:]) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first == "paused\n", first
            swap()  # type: ignore[operator]
            output, _ = process.communicate("go\n", timeout=30)
            return Outcome(output, process.returncode)


def exchange(one: str, other: str) -> None:
    """Swap two names at once: renameat2(2) RENAME_EXCHANGE."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), 2) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), one)


def open_tree(path: str) -> int:
    """Return a detached recursive clone: open_tree(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    flag = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    fd: int = libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flag)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return fd


def options_of(path: str, *added: str) -> set[str]:
    """Return the attributes of the mount that `path` is on, with others put on top."""
    with open("/proc/self/mountinfo") as file:
        mounts = {line.split()[4]: set(line.split()[5].split(",")) for line in file}
    while path not in mounts:
        path = os.path.dirname(path)
    replaced = {"ro": {"rw"}, "noatime": {"relatime"}}
    return mounts[path].difference(*(replaced.get(name, set()) for name in added)) | set(added)


def manifest(directory: str) -> list[tuple[str, int, int, bytes]]:
    """Return everything below a directory, its contents included."""
    found = []
    for parent, directories, files in os.walk(directory):
        for name in sorted(directories + files):
            path = os.path.join(parent, name)
            status = os.lstat(path)
            content = b""
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    content = file.read()
            found.append((path, status.st_mode, status.st_ino, content))
    return found


def make_null(root: Rootfs, kind: str) -> None:
    """A volume for /dev in which null is not what it should be."""
    root.make("volume")
    root.write("secret", "secret")
    root.write("decoy", "decoy")
    null = root.at("volume/null")
    if kind in {"link", "dangling"}:
        root.link("/decoy" if kind == "link" else "/nowhere", "volume/null")
    elif kind == "file":
        root.write("volume/null", "decoy")
    elif kind == "fifo":
        os.mkfifo(null)
    elif kind == "zero":
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif kind == "block":
        os.mknod(null, stat.S_IFBLK | 0o666, os.makedev(1, 3))
