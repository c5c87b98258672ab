"""start, kill, pause, resume and delete: one step in the life of a container that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .drive import drive

if TYPE_CHECKING:
    from aiocontainer import Runtime

    from .arguments import Invocation

__all__ = ["delete", "kill", "pause", "resume", "start"]


def start(call: Invocation) -> int:
    """Run the program of a created container."""

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(call.operands[0])
        await container.start()
        return 0

    return drive(call.program, work)


def kill(call: Invocation) -> int:
    """Send a signal."""
    id, signal = (*call.operands, "TERM")[:2]

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(id)
        await container.kill(signal, all=call.options.all)
        return 0

    return drive(call.program, work)


def pause(call: Invocation) -> int:
    """Stop all processes where they are."""

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(call.operands[0])
        await container.pause()
        return 0

    return drive(call.program, work)


def resume(call: Invocation) -> int:
    """Let them go on."""

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(call.operands[0])
        await container.resume()
        return 0

    return drive(call.program, work)


def delete(call: Invocation) -> int:
    """Remove a container; with --force it may run, be damaged, or be gone."""

    async def work(runtime: Runtime) -> int:
        await runtime.delete(call.operands[0], force=call.options.force)
        return 0

    return drive(call.program, work)
