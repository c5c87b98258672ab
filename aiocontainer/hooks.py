"""Hooks of the runtime's own namespaces, and the callbacks that embedders have at the same points.

OCI config.md "POSIX-platform Hooks".  A hook gets the state document on descriptor 0, its output ends
in a pipe, and nothing else of ours reaches it.  None of what it may do hangs us longer than its
deadline: not to end, not to read, to write without end, to leave a daemon that keeps the pipe open.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import select
import signal
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from . import native
from ._aio import OwnedFd, finish, in_thread
from .errors import HookError
from .plan.flags import WIRE_MAX_TEXT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .spec import Hook, State

__all__ = ["Callback", "Callbacks", "inherited_environment", "run_callback", "run_hook"]

Callback: TypeAlias = "Callable[[State], Awaitable[object]]"
"""Takes the state that a hook would read; its pid is the one that we see."""

_NEVER_INHERITED: Final = ("LD_", "PYTHON")
"""What changes how programs run, and was meant for us.  security.md invariant 27"""
_CHUNK: Final = 65536
_DRAIN_BYTES: Final = 1 << 20
"""Read after the hook's end: as much as a pipe can hold."""
_KILL_S: Final = 5.0
"""What a killed hook may take to end: it can sit in an uninterruptible system call."""


class Callbacks(Struct, frozen=True, kw_only=True):
    """Coroutine functions to be awaited where hooks run; each gets the container's state.

    They run in this process, after the hooks of their kind, and before those that run in the container.
    What one raises counts as a failed hook: it undoes the creation, or stops the container, and goes
    on to the caller; of `poststop` it is logged.  They are not stored: another process that starts or
    deletes the container knows nothing of them.
    """

    create_runtime: Callback | None = None
    """Namespaces and mounts are there, the container's root is not entered."""
    create_container: Callback | None = None
    """The same, before the hooks of that name."""
    start_container: Callback | None = None
    """In `start`, before the gate is opened."""
    poststart: Callback | None = None
    """In `start`, once the program runs."""
    poststop: Callback | None = None
    """In `delete`, when nothing is left; also after a create that failed."""
    timeout_s: float | None = None
    """How long each may take; `TimeoutError`."""

    @property
    def at_create(self) -> bool:
        """Whether the creation has to be held for one."""
        return self.create_runtime is not None or self.create_container is not None


async def run_callback(callbacks: Callbacks, name: str, state: State) -> None:
    """Await one of them, if there is one; what it raises gets a note of which it was."""
    callback: Callback | None = getattr(callbacks, name)
    if callback is None:
        return
    try:
        async with asyncio.timeout(callbacks.timeout_s):
            awaitable = callback(state)
            if inspect.isawaitable(awaitable):
                await awaitable
    except BaseException as exc:
        exc.add_note(f"in the callback {name}")
        raise


def inherited_environment() -> dict[str, str]:
    """Return what a hook gets that says nothing of an environment: the runtime's, but for what is its own."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NEVER_INHERITED) and name != "TMPDIR"
    }


async def run_hook(
    hook: Hook,
    state: bytes,
    *,
    origin: str,
    cwd: str,
    env: Mapping[str, str],
    outputs: tuple[str, str] = ("", ""),
) -> None:
    """Run *hook* in the directory *cwd*, with *state* to read; `HookError` unless it ends with 0.

    *env* is for a hook that says nothing of an environment.  *outputs* are files to which it appends
    what it writes to stdout and stderr, and which are made for it; of what goes to "" the end is in the
    error.  At its deadline, and if we are cancelled, it is killed with its process group, and waited for.
    """
    running = await in_thread(lambda: _start(hook, state, origin, cwd, env, outputs), undo=_Running.destroy)
    try:
        running.watch()
        async with asyncio.timeout(hook.timeout):
            await running.ended.wait()
    except TimeoutError:
        await finish(running.kill)
        raise HookError(origin, None, running.tail) from None
    except BaseException:
        await finish(running.kill)
        raise
    finally:
        running.close()
    if running.returncode != 0:
        raise HookError(origin, running.returncode, running.tail, problem="ended, and others know how")


def _start(
    hook: Hook, state: bytes, origin: str, cwd: str, env: Mapping[str, str], outputs: tuple[str, str]
) -> _Running:
    """Start it.  In a thread."""
    ours, theirs = map(OwnedFd, os.pipe2(os.O_CLOEXEC))
    os.set_blocking(ours.fileno(), False)
    # A file, not a pipe: all of the state is there before anybody reads, and nobody has to.
    with (
        theirs,
        OwnedFd(native.sealed_plan(state, name="hook-state")) as file,
        contextlib.ExitStack() as files,
    ):
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        try:
            output, errors = (
                files.enter_context(_appended(path, cwd)).fileno() if path else theirs.fileno()
                for path in outputs
            )
            pid, pidfd = native.start_program(
                hook.path,
                hook.args or (hook.path,),
                _variables(hook, env),
                directory=cwd if os.path.isdir(cwd) else "/",  # a bundle may be gone before poststop
                input=file.fileno(),
                output=output,
                errors=errors,
            )
        except (OSError, ValueError) as exc:
            ours.close()
            raise HookError(origin, None, problem=str(exc)) from exc
    return _Running(pid, OwnedFd(pidfd), ours)


def _appended(path: str, cwd: str) -> OwnedFd:
    """Open a file for a hook to append to; one that is not there is made, for us alone to read."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
    return OwnedFd(os.open(os.path.join(cwd, path), flags, 0o600))


def _variables(hook: Hook, inherited: Mapping[str, str]) -> list[str]:
    """Return NAME=VALUE of each; the last of several entries counts."""
    if hook.env is None:
        return [f"{name}={value}" for name, value in inherited.items()]
    return list({entry.partition("=")[0]: entry for entry in hook.env}.values())


class _Running:
    """A hook that was started: made in a thread, watched on the loop."""

    def __init__(self, pid: int, pidfd: OwnedFd, output: OwnedFd) -> None:
        """Take over *pidfd*, and *output*, which does not block."""
        self.tail = b""
        self.returncode: int | None = None
        """None: it has not ended; or nobody can tell, where somebody waits for all children."""
        self.ended = asyncio.Event()
        self._pid = pid
        self._pidfd = pidfd
        self._output = output
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self) -> None:
        """See from the running loop what it writes, and when it ends."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._output.fileno(), self._take_output)
        self._loop.add_reader(self._pidfd.fileno(), self._reap)

    async def kill(self) -> None:
        """Kill it and its process group, and wait until it has ended."""
        self._kill_group()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILL_S):
                await self.ended.wait()

    def destroy(self) -> None:
        """Do the same in a thread, where nobody watches."""
        self._kill_group()
        poll = select.poll()
        poll.register(self._pidfd.fileno(), select.POLLIN)
        if poll.poll(int(_KILL_S * 1000)):
            self._collect()
        self.close()

    def close(self) -> None:
        """Stop watching."""
        for fd in (self._output, self._pidfd):
            if self._loop is not None:
                self._loop.remove_reader(fd.fileno())
            fd.close()

    def _kill_group(self) -> None:
        """Signal the group while its leader is not reaped, so that the number is nobody else's."""
        with contextlib.suppress(ProcessLookupError):
            if not self.ended.is_set():
                signal.pidfd_send_signal(self._pidfd.fileno(), 0)
                os.killpg(self._pid, signal.SIGKILL)

    def _reap(self) -> None:
        if not self._collect():
            return
        assert self._loop is not None
        self._loop.remove_reader(self._pidfd.fileno())
        self._drain()
        self.ended.set()

    def _collect(self) -> bool:
        """Take the status; False while it lives."""
        try:
            ended = native.wait_pidfd(self._pidfd.fileno())
        except ChildProcessError:  # somebody else did
            return True
        if ended is not None:
            self.returncode = ended.code if ended.signal is None else -ended.signal
        return ended is not None

    def _drain(self) -> None:
        """Take what it wrote before its end; its children may still write, and are not waited for."""
        for _ in range(_DRAIN_BYTES // _CHUNK):
            if not self._take_output():
                break

    def _take_output(self) -> bool:
        """Keep the end of what it wrote; False when nothing more is there now."""
        try:
            data = os.read(self._output.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if not data and self._loop is not None:
            self._loop.remove_reader(self._output.fileno())
        self.tail = (self.tail + data)[-WIRE_MAX_TEXT:]
        return bool(data)
