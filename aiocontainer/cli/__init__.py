"""The command line: words to calls of the public API, results to text, errors to exit statuses."""

from __future__ import annotations

import os
import sys

from .arguments import Invocation, UsageError, parse
from .descriptors import missing_descriptor
from .report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

__all__ = ["execute", "main"]

FAILURE = 1

# Numbers that Linux never changes: the `signal` module takes longer to import than `state` to run.
_SIGINT, _SIGPIPE = 2, 13


def main() -> NoReturn:
    """Be the program: carry out the command line of this process, and end it.

    The interpreter is not torn down, which would take longer than a container: everything that
    outlives a process is closed by then.
    """
    try:
        status = execute(sys.argv[1:])
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed when we were started
                stream.flush()
    except BrokenPipeError:
        status = 128 + _SIGPIPE
    os._exit(status)


def execute(words: Sequence[str]) -> int:
    """Carry out one command line; returns the exit status."""
    _open_stdio()
    try:
        call = parse(words)
    except UsageError as exc:
        Report().error(str(exc))
        return FAILURE
    if call.program.help or call.program.version or call.command is None or call.options.help:
        return _explain(call)
    return _run(call)


def _open_stdio() -> None:
    """Fill descriptors 0 to 2 if the caller closed them, lest a file of ours become a stream."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is fd
            os.set_inheritable(fd, True)


def _explain(call: Invocation) -> int:
    if call.program.version:
        from .version import version_text

        print(version_text())
        return 0
    from .help import command_help, program_help

    print(program_help() if call.command is None else command_help(call.command))
    return 0 if call.program.help or call.command is not None else FAILURE


def _run(call: Invocation) -> int:
    """Run the command; whatever it raises becomes one line and a status."""
    assert call.command is not None
    missing = missing_descriptor(getattr(call.options, "preserve_fds", 0))  # before a file of ours takes it
    if call.program.debug:
        call.program.log_level = "debug"
    try:
        report = Report(call.program.log, call.program.log_format, call.program.log_level)
    except OSError as exc:
        Report().error(f"--log: {exc}")
        return FAILURE
    call.program.report = report  # for what is no failure
    try:
        if missing is not None:
            raise UsageError(f"descriptor {missing}, which is to be passed on, is not open")
        return _function(call.command.function)(call)
    except UsageError as exc:
        report.error(str(exc))
        return call.command.failure
    except KeyboardInterrupt:
        return 128 + _SIGINT
    except Exception as exc:  # noqa: BLE001 - the border of the program: nothing is above us
        report.error(_sentence(exc))
        if call.program.log_level == "debug":
            import traceback

            traceback.print_exc()
        return call.command.failure
    finally:
        report.close()


def _function(place: str) -> Callable[[Invocation], int]:
    """Import what one command needs, and nothing else."""
    module, _, name = place.partition(":")
    # Not by `importlib`, of which nothing is loaded yet.
    function: Callable[[Invocation], int] = getattr(__import__(f"{__name__}.{module}", fromlist=[name]), name)
    return function


def _sentence(exc: Exception) -> str:
    from aiocontainer.errors import ContainerError, NotRunningError

    if isinstance(exc, NotRunningError):
        return f"container not running: {exc}"  # words that containerd looks for
    if isinstance(exc, (ContainerError, OSError)):
        return str(exc)
    return f"internal error: {type(exc).__name__}: {exc} (--debug shows where)"
