"""The process itself, for init and exec alike.  OCI config.md "Process"."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ..errors import SpecError, UnsupportedError
from .capabilities import CapabilitySets, capability_sets
from .flags import RLIMITS
from .idmaps import owner_outside
from .labels import label_steps
from .plan import Preserved, Stdio
from .seccomp import filter_step
from .steps import (
    Credentials,
    Cwd,
    Exec,
    NoNewPrivs,
    PassFd,
    Program,
    Rlimit,
    Step,
    Umask,
)
from .tuning import tuning_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..spec import Linux, Process
    from .host import Host
    from .options import StdioOptions
    from .plan import IdMaps, PlanFd

__all__ = ["Payload", "check_terminal", "environment", "limits"]

FIRST_FD: Final = 3
_UMASK: Final = 0o022
_DEFAULT_PATH: Final = "/usr/bin:/bin"  # as execvp(3), where the environment has none


def check_terminal(process: Process, options: StdioOptions, origin: str) -> None:
    """Refuse a terminal that nobody takes, and somebody who waits for none."""
    if process.terminal and not options.console:
        raise SpecError("a terminal, but nothing to connect it to", origin=f"{origin}.terminal")
    if options.console and not process.terminal:
        raise SpecError("a console waits for a terminal", origin=f"{origin}.terminal")


def limits(process: Process, origin: str) -> tuple[Rlimit, ...]:
    """Return the resource limits of a process as steps."""
    return tuple(
        Rlimit(f"{origin}.rlimits[{index}]", RLIMITS[limit.type], limit.type, limit.soft, limit.hard)
        for index, limit in enumerate(process.rlimits)
    )


def raised_limits(wanted: Iterable[Rlimit], host: Host) -> tuple[Rlimit, ...]:
    """Return those limits above our own, as steps that lift them entirely.

    To raise a limit takes a capability of the machine, which is gone in a user namespace; to lower it
    again takes none.
    """
    higher = tuple(
        Rlimit(each.origin, each.resource, each.name, each.hard, each.hard)
        for each in wanted
        if each.hard > host.hard_limits.get(each.name, each.hard)
    )
    if higher and not host.may_raise_limits:
        raise UnsupportedError(
            f"to raise {higher[0].name} above {host.hard_limits[higher[0].name]}",
            needs="CAP_SYS_RESOURCE",
            origin=higher[0].origin,
        )
    return higher


class Sockets(Struct, frozen=True):
    """Listening sockets for the payload, from 3 on.  sd_listen_fds(3)."""

    count: int = 0
    names: tuple[str, ...] = ()

    def variables(self) -> Iterator[tuple[str, str]]:
        """Yield what the payload reads about them; it is pid 1 of its namespace."""
        if self.count:
            yield "LISTEN_FDS", str(self.count)
            yield "LISTEN_PID", "1"
        if self.names:
            yield "LISTEN_FDNAMES", ":".join(self.names)


NO_SOCKETS: Final = Sockets()


def environment(process: Process, home: str | None, sockets: Sockets = NO_SOCKETS) -> dict[str, str]:
    """Return the environment: the last of several entries with one name counts, in its place."""
    variables: dict[str, str] = {}
    for entry in process.env:
        name, _, value = entry.partition("=")
        variables.pop(name, None)
        variables[name] = value
    variables.setdefault("HOME", home or "/")
    variables.update(sockets.variables())
    return variables


def candidates(program: str, path: str) -> tuple[str, ...]:
    """Return where the program may be; a name with a slash is itself a path, from the directory of work."""
    if "/" in program:
        return (program,)
    return tuple(dict.fromkeys(posixpath.join(each or ".", program) for each in path.split(":")))


class Payload:
    """The last part of a plan: from the limits to execve(2)."""

    def __init__(
        self,
        process: Process,
        linux: Linux,
        host: Host,
        options: StdioOptions,
        *,
        origin: str,
        user_namespace: bool,
        setgroups_denied: bool,
        sockets: Sockets = NO_SOCKETS,
        maps: IdMaps | None = None,
    ) -> None:
        self.process = process
        self.maps = maps
        self.linux = linux
        self.host = host
        self.origin = origin
        self.options = options
        self.sockets = sockets
        self.setgroups_denied = setgroups_denied
        self.warnings: list[str] = []
        self.limits: tuple[Rlimit, ...] = limits(process, origin)
        self.capabilities: CapabilitySets = capability_sets(
            process.capabilities,
            host,
            f"{origin}.capabilities",
            self.warnings,
            user_namespace=user_namespace,
        )
        self.environment: dict[str, str] = environment(process, options.home, sockets)
        self._filter = (
            None
            if linux.seccomp is None
            else filter_step(linux.seccomp, host, no_new_privs=bool(process.no_new_privileges))
        )

    def outside_steps(self, pass_fd: Callable[[PlanFd], int]) -> Iterator[Step]:
        """Yield what is set while we are still root: limits, scheduling, what no exec regains."""
        yield from self.limits
        yield from tuning_steps(self.process, self.linux, self.origin)
        yield from self._descriptors(pass_fd)
        umask = self.process.user.umask
        yield Umask(f"{self.origin}.user.umask", _UMASK if umask is None else umask)
        if self.process.no_new_privileges:
            yield NoNewPrivs(f"{self.origin}.noNewPrivileges")
        yield self.capabilities.bounding

    def _descriptors(self, pass_fd: Callable[[PlanFd], int]) -> Iterator[Step]:
        user = self.process.user
        owner = (user.uid, user.gid) if self.options.stdio_owner else None
        outside = owner_outside(user, self.maps) if owner is not None else None
        if not self.process.terminal:
            for number in range(FIRST_FD):
                yield PassFd("", pass_fd(Stdio(number, outside)), number, owner)
        count = self.sockets.count + self.options.preserve_fds
        for number in range(FIRST_FD, FIRST_FD + count):
            yield PassFd("", pass_fd(Preserved(number)), number)

    def first_cwd(self, *, make: bool) -> Step:
        """Return the try as root, who may be the only one to get there."""
        return Cwd(f"{self.origin}.cwd", self.process.cwd, make=make, lenient=True)

    def user_steps(self) -> Iterator[Step]:
        """Yield the change of user, what is left of its capabilities, and what confines its program.

        Before these go comes the filter that takes one of them.
        """
        labels = tuple(label_steps(self.process, self.host, self.origin))
        if self._filter is not None and not self._filter.late:
            yield from labels  # which the filter need not let through
            labels = ()
            yield self._filter
        user, groups = self.process.user, self.process.user.additional_gids
        if self.setgroups_denied and groups:
            raise UnsupportedError(
                "supplementary groups",
                needs="setgroups(2), denied where an ordinary user maps one group alone",
                origin=f"{self.origin}.user.additionalGids",
            )
        yield Credentials(
            f"{self.origin}.user", user.uid, user.gid, None if self.setgroups_denied else groups
        )
        if self.capabilities is not None:
            yield self.capabilities.others
        yield Cwd(f"{self.origin}.cwd", self.process.cwd)
        yield from labels

    def program(self) -> Step:
        """Return the search for the program, so that a missing one is an error before the start."""
        path = self.environment.get("PATH", _DEFAULT_PATH)
        return Program(f"{self.origin}.args[0]", candidates(self.process.args[0], path))

    def execution(self) -> Iterator[Step]:
        """Yield the end of the plan."""
        if self._filter is not None and self._filter.late:
            yield self._filter
        yield Exec(f"{self.origin}.args", self.process.args, self.variables)

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment as execve(2) takes it."""
        return tuple(f"{name}={value}" for name, value in self.environment.items())
