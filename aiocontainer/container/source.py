"""What a container is made from: a bundle, a `Spec`, the bytes of a ``config.json``, or a command."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from .. import native
from .._aio import OwnedFd
from .._tuples import NamedTuple
from ..errors import SpecError
from ..plan.user import home_of
from ..spec import Mount, Process, Spec, User
from ..spec.ids import parse_user

if TYPE_CHECKING:
    from ..plan.host import Host

__all__ = ["Command", "Loaded", "Source", "find_home", "load_source"]


class Command(Struct, frozen=True):
    """A command without a bundle: run over *rootfs*, or over a view of this machine's own root.

    The view is read-only under a throw-away layer, and what a user may see whom the machine does not
    know; there is no network but ``lo`` and no way to new privileges.  *env* adds to a small default
    environment; *user* is ``uid[:gid]``; *tty* gives it a terminal; *mounts* come last, so `Mount.bind` shows
    what the view hides.  *memory* ("256M" or bytes), *pids* and *cpus* are limits as in `Spec.with_limits`,
    and need cgroups.
    """

    args: Sequence[str]
    rootfs: str | os.PathLike[str] | None = None
    hostname: str | None = None
    env: Mapping[str, str] = {}
    cwd: str | None = None
    user: str | None = None
    tty: bool = False
    mounts: Sequence[Mount] = ()
    memory: int | str | None = None
    pids: int | None = None
    cpus: float | None = None


Source: TypeAlias = str | os.PathLike[str] | Spec | bytes | Command
"""A path names a bundle directory; relative paths in a `Spec` or in bytes start at the current directory."""

_MAX_PASSWD_BYTES = 1 << 20


class Loaded(NamedTuple):
    """A source, read."""

    spec: Spec
    bundle: str
    """Absolute path."""
    overlay: bool = False
    """Its root is to be a throw-away layer over `root.path`."""


def load_source(source: Source, host: Host, *, config: str | None = None) -> Loaded:
    """Read a source, a file of it only once; `SpecError`.  *config* is the file of a bundle."""
    if config is not None and not isinstance(source, str | os.PathLike):
        raise SpecError("is a file of a bundle, and this is none", origin="config")
    if isinstance(source, Command):
        return Loaded(*_command(source, host))
    if isinstance(source, Spec):
        return Loaded(source, os.getcwd())
    if isinstance(source, bytes):
        return Loaded(Spec.decode(source), os.getcwd())
    bundle = os.path.realpath(source)
    return Loaded(Spec.load(bundle, config or "config.json"), bundle)


def _command(command: Command, host: Host) -> tuple[Spec, str, bool]:
    from ..plan.hostroot import command_spec, file_systems_below  # only those who use it pay for it
    from ..plan.mountinfo import parse_mountinfo

    if isinstance(command.args, str):
        raise SpecError("is a list of arguments, not a command line", origin="args")
    rootfs = os.path.realpath(command.rootfs) if command.rootfs is not None else None
    with open("/proc/self/mountinfo", "rb", buffering=0) as file:
        below = file_systems_below(rootfs or "/", parse_mountinfo(file.readall()))
    spec, overlay = command_spec(
        command.args,
        host,
        rootfs=rootfs,
        below=[path for path in below if _is_open_to_all(path)],
        env=command.env,
        cwd=command.cwd,
        hostname=command.hostname,
    )
    assert spec.process is not None
    process = spec.process
    if command.user is not None:
        uid, gid = parse_user(command.user)
        process = replace(process, user=User(uid=uid, gid=gid or 0))
    process = replace(process, terminal=command.tty)
    spec = replace(spec, process=process, mounts=(*spec.mounts, *command.mounts))
    if (command.memory, command.pids, command.cpus) != (None, None, None):
        spec = spec.with_limits(memory=command.memory, pids=command.pids, cpus=command.cpus)
    return spec, "/", overlay


def _is_open_to_all(path: str) -> bool:
    """Whether anybody may pass through to it: root of the container is nobody in particular outside."""
    try:
        while (path := os.path.dirname(path)) != "/":
            if not os.stat(path).st_mode & stat.S_IXOTH:
                return False
    except OSError:
        return False
    return True


def find_home(process: Process | None, root: int) -> str | None:
    """Return the user's home directory as the passwd below *root* has it, where HOME is not given.

    None where it is given, or where there is no such file that can be trusted: bounded, regular, and
    looked up without leaving *root*.  features.md L24
    """
    if process is None or any(entry.startswith("HOME=") for entry in process.env):
        return None
    try:
        file = OwnedFd(native.open_in_root(root, "/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
    except OSError:
        return None
    with file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_PASSWD_BYTES:
            return None
        return home_of(os.read(file.fileno(), _MAX_PASSWD_BYTES), process.user.uid)
