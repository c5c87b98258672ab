"""Running the asyncio part of a command: one runtime, one loop, undone when a signal ends it."""

from __future__ import annotations

import contextlib
import gc
import signal
from typing import TYPE_CHECKING, Literal

from .loop import asyncio  # isort: split

import logging

from aiocontainer import Runtime

from .signals import catch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from .arguments import Namespace

__all__ = ["drive", "manager"]

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)

_MANAGERS: dict[str, Literal["auto", "cgroupfs", "systemd", "none"]] = {
    "auto": "auto",
    "cgroupfs": "cgroupfs",
    "systemd": "systemd",
    "disabled": "none",
}


def drive(
    program: Namespace,
    work: Callable[[Runtime], Awaitable[int]],
    *,
    lifetime: Literal["owner", "detached"] = "detached",
) -> int:
    """Run *work* with the runtime that the global options describe; returns its exit status.

    A signal that would end the program cancels *work* instead, which undoes what it has begun.
    """
    caught: list[int] = []

    async def supervised() -> int:
        task = asyncio.current_task()
        assert task is not None

        def cancel(number: int) -> None:
            caught.append(number)
            task.cancel()

        catch(ENDING, cancel)
        gc.freeze()  # nor look for garbage in it later
        gc.enable()
        async with _runtime(program, lifetime) as runtime:
            return await work(runtime)

    try:
        with _told(program):
            return asyncio.run(supervised())
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]


class _Teller(logging.Handler):
    """Hands on what the library says in its log."""

    def __init__(self, tell: Callable[[str, str], object]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        levels = ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.NOTSET, "debug"))
        self._tell(next(name for least, name in levels if record.levelno >= least), record.getMessage())


@contextlib.contextmanager
def _told(program: Namespace) -> Iterator[None]:
    """Report what the library says meanwhile."""
    teller = _Teller(program.report.tell)
    log = logging.getLogger("aiocontainer")
    before = log.level
    log.addHandler(teller)
    if program.log_level == "debug":
        log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(teller)
        log.setLevel(before)


def _runtime(program: Namespace, lifetime: Literal["owner", "detached"]) -> Runtime:
    return Runtime(
        root=program.root,
        cgroups=manager(program),
        lifetime=lifetime,
        job_mode=program.systemd_job_mode,
        lenient_paths=program.lenient_cgroups_path,
    )


def manager(program: Namespace) -> Literal["auto", "cgroupfs", "systemd", "none"]:
    """Return who makes the cgroups, as `Runtime` calls it."""
    return _MANAGERS["systemd" if program.systemd_cgroup else program.cgroup_manager]
