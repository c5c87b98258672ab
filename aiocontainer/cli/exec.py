"""exec: another process in a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .arguments import UsageError
from .drive import drive
from .foreground import Signals, catch_signals, stand_in
from .handover import send_pidfd, write_pid_file

if TYPE_CHECKING:
    from aiocontainer import Process, Runtime
    from aiocontainer.spec import Process as ProcessSpec

    from .arguments import Invocation, Namespace

__all__ = ["exec_"]


def exec_(call: Invocation) -> int:
    """Run another process; its exit status is ours, unless it is detached."""
    id, *args = call.operands
    options = call.options
    program = _program(args, options)
    terminal = options.tty or (not isinstance(program, list) and program.terminal)
    _check(options, terminal=terminal)

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(id)
        signals = None if options.detach else catch_signals(terminal=terminal)
        process = await container.exec(
            program,
            env=options.env or None,
            cwd=options.cwd,
            user=options.user,
            tty=options.tty,
            console_socket=options.console_socket,
            no_new_privileges=options.no_new_privs or None,
            apparmor=options.apparmor,
            selinux_label=options.process_label,
            capabilities=options.cap,
            additional_gids=options.additional_gids,
            preserve_fds=options.preserve_fds,
            cgroup_paths=_cgroups(options.cgroup),
            ignore_paused=options.ignore_paused,
            reap=not options.detach,  # what conmon is told of its end is its exit status
        )
        await _hand_over(process, options)
        return 0 if signals is None else await _stand_in(process, signals)

    return drive(call.program, work)


def _program(args: list[str], options: Namespace) -> list[str] | ProcessSpec:
    """Return what to run: the words of the command line, or the object in --process."""
    if (options.process is None) == (not args):
        raise UsageError("give either a command or --process FILE")
    if args:
        return args
    from aiocontainer.spec import decode_process

    with open(options.process, "rb") as file:
        return decode_process(file.read())


def _cgroups(words: list[str]) -> dict[str, str]:
    """Read "PATH" or "CONTROLLER,...:PATH" each."""
    paths = {}
    for word in words:
        controllers, colon, path = word.rpartition(":")
        if colon and not controllers:
            raise UsageError(f"--cgroup {word}: no controller before the colon")
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _check(options: Namespace, *, terminal: bool) -> None:
    if options.console_socket and not (options.detach and terminal):
        raise UsageError("--console-socket is for --detach and a terminal")
    if options.detach and terminal and not options.console_socket:
        raise UsageError("a terminal of a detached process needs --console-socket")


async def _hand_over(process: Process, options: Namespace) -> None:
    """Tell the caller which process it is; one that nobody was told of does not stay."""
    try:
        if options.pid_file:
            write_pid_file(options.pid_file, process.pid)
        if options.pidfd_socket:
            send_pidfd(options.pidfd_socket, process.fileno(), "setns")
    except BaseException:
        process.kill()
        await process.wait()
        raise


async def _stand_in(process: Process, signals: Signals) -> int:
    async def send(number: int) -> None:
        process.send_signal(number)

    return await stand_in(signals, process.wait, send, process.console)
