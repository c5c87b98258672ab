"""exec: another process in a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiocontainer import UnsupportedError
from aiocontainer.spec import decode_process

from .arguments import UsageError
from .drive import drive
from .foreground import Signals, catch_signals, stand_in
from .handover import send_pidfd, write_pid_file

if TYPE_CHECKING:
    from argparse import Namespace

    from aiocontainer import Process, Runtime
    from aiocontainer.spec import Process as ProcessSpec

    from .arguments import Invocation

__all__ = ["exec_"]

_LATER = ("process_label", "apparmor", "cgroup", "ignore_paused")


def exec_(call: Invocation) -> int:
    """Run another process; its exit status is ours, unless it is detached."""
    id, *args = call.operands
    program = _program(args, call.options)
    _check(call.options)

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(id)
        signals = (
            None if call.options.detach else catch_signals(terminal=_has_terminal(program, call.options))
        )
        process = await container.exec(
            program,
            env=call.options.env or None,
            cwd=call.options.cwd,
            user=call.options.user,
            tty=call.options.tty,
            console_socket=call.options.console_socket,
            no_new_privileges=call.options.no_new_privs or None,
            capabilities=call.options.cap,
            additional_gids=call.options.additional_gids,
            preserve_fds=call.options.preserve_fds,
        )
        return await _attend(process, signals, call.options)

    return drive(call.program, work)


def _program(args: list[str], options: Namespace) -> list[str] | ProcessSpec:
    """Return what to run: the words of the command line, or the object in --process."""
    if (options.process is None) == (not args):
        raise UsageError("give either a command or --process FILE")
    if args:
        return args
    with open(options.process, "rb") as file:
        return decode_process(file.read())


def _has_terminal(program: list[str] | ProcessSpec, options: Namespace) -> bool:
    return options.tty or (not isinstance(program, list) and program.terminal)


def _check(options: Namespace) -> None:
    for name in _LATER:
        if getattr(options, name):
            option = "--" + name.replace("_", "-")
            raise UnsupportedError(f"exec {option}", needs="a later version of aiocontainer", origin=option)
    if options.console_socket and not options.detach:
        raise UsageError("--console-socket is for --detach")
    if options.detach and options.tty and not options.console_socket:
        raise UsageError("a terminal of a detached process needs --console-socket")


async def _attend(process: Process, signals: Signals | None, options: Namespace) -> int:
    try:
        if options.pid_file:
            write_pid_file(options.pid_file, process.pid)
        if options.pidfd_socket:
            send_pidfd(options.pidfd_socket, process.fileno(), "setns")
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if signals is None:
        return 0

    async def send(number: int) -> None:
        process.send_signal(number)

    return await stand_in(signals, process.wait, send, process.console)
