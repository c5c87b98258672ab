"""start, kill, pause, resume and delete: one step in the life of a container that is there."""

from __future__ import annotations

import os

from aiocontainer.glance import Glance, Unusual

from .arguments import UsageError
from .descriptors import notify_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocontainer import Container, Runtime

    from .arguments import Invocation

__all__ = ["delete", "kill", "pause", "resume", "start"]


def start(call: Invocation) -> int:
    """Run the program of a created container."""
    address = notify_address()
    if address is not None:
        return _start_and_tell(call, address)
    if not _at_once(call, Glance.start):
        _at_length(call, lambda container: container.start())
    return 0


def _start_and_tell(call: Invocation, address: str) -> int:
    """Start it, and wait until the service manager has been told that it is ready."""
    from .loop import asyncio  # noqa: F401 - first, so that the next import is quick
    from .notify import start_and_tell

    return _at_length(call, lambda container: start_and_tell(container, address))


def kill(call: Invocation) -> int:
    """Send a signal."""
    name = (*call.operands, "TERM")[1]
    if call.options.regex:
        return _at_all(call, _killing(name, all=call.options.all))
    number = _usual_signal(name)
    if call.options.all or number is None or not _at_once(call, lambda glance: glance.kill(number)):
        _at_length(call, lambda container: container.kill(name, all=call.options.all))
    return 0


def pause(call: Invocation) -> int:
    """Stop all processes where they are."""
    return _at_length(call, lambda container: container.pause())


def resume(call: Invocation) -> int:
    """Let them go on."""
    return _at_length(call, lambda container: container.resume())


def delete(call: Invocation) -> int:
    """Remove a container; with --force it may run, be damaged, or be gone."""
    id, force = call.operands[0], call.options.force
    if call.options.regex:
        return _at_all(call, lambda runtime, name: runtime.delete(name, force=force))

    async def work(runtime: Runtime) -> int:
        await runtime.delete(id, force=force)
        return 0

    if _at_once(call, Glance.delete, missing=force):
        return 0
    from .drive import drive

    return drive(call.program, work)


def _at_once(call: Invocation, step: Callable[[Glance], object], *, missing: bool = False) -> bool:
    """Take the step without an event loop; False where that is not enough, and nothing was done."""
    try:
        with Glance(call.program.root, call.operands[0]) as glance:
            step(glance)
    except Unusual:
        return False
    except LookupError:
        if not missing:
            raise
    return True


def _at_length(call: Invocation, step: Callable[[Container], Awaitable[object]]) -> int:
    """Take the step whatever the container is like."""
    from .drive import drive

    async def work(runtime: Runtime) -> int:
        await step(await runtime.load(call.operands[0]))
        return 0

    return drive(call.program, work)


def _killing(name: str, *, all: bool) -> Callable[[Runtime, str], Awaitable[object]]:
    async def kill_one(runtime: Runtime, id: str) -> None:
        from aiocontainer import NotRunningError

        container = await runtime.load(id)
        try:
            await container.kill(name, all=all)
        except NotRunningError:
            return  # as well

    return kill_one


def _at_all(call: Invocation, step: Callable[[Runtime, str], Awaitable[object]]) -> int:
    """Take the step with all containers that are meant; one that fails keeps none of the others from it."""
    import re

    from aiocontainer.errors import ContainerError, NotFoundError

    from .drive import drive

    try:
        pattern = re.compile(call.operands[0])
    except re.error as exc:
        raise UsageError(f"{call.operands[0]!r} is no regular expression: {exc}") from None

    async def work(runtime: Runtime) -> int:
        failures = []
        for id in sorted(name for name in os.listdir(runtime.root) if name[0] != "."):
            if pattern.search(id):
                try:
                    await step(runtime, id)
                except NotFoundError:  # gone meanwhile
                    continue
                except ContainerError as exc:
                    failures.append(str(exc))
        if failures:
            raise UsageError("; ".join(failures))
        return 0

    return drive(call.program, work)


def _usual_signal(name: str) -> int | None:
    """Return the number of a signal; None where it takes a closer look, as at RTMIN+3, or is none."""
    if name.isascii() and name.isdecimal() and len(name) < 3 and int(name) < 32:
        return int(name)
    import _signal  # type: ignore[import-not-found]  # `signal` makes enumerations first

    number = getattr(_signal, "SIG" + name.upper().removeprefix("SIG"), None)
    return number if isinstance(number, int) and 0 < number < 32 else None
