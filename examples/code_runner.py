"""A web service that runs other people's Python, each program in a container of its own.

    pip install starlette uvicorn
    python examples/code_runner.py [PORT]
    curl --data 'print(6 * 7)' http://127.0.0.1:8000/run

A program has bounded time, memory, processes and output; who hangs up ends it.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from aiocontainer import Command, Runtime

SANDBOX = Command(["python3", "-"], memory="128M", pids=32, cpus=1)
TIMEOUT_S = 5
MOST_INPUT = MOST_OUTPUT = 64 * 1024
MOST_AT_ONCE = 8


async def run(request: Request) -> Response:
    program = b""
    async for chunk in request.stream():
        program += chunk
        if len(program) > MOST_INPUT:
            return PlainTextResponse("the program is too long", 413)
    if request.state.room.locked():
        return PlainTextResponse("too many programs at once", 503, {"Retry-After": "1"})
    async with request.state.room:
        answer = await unless_gone(request, execute(request.state.runtime, program))
    return PlainTextResponse("", 499) if answer is None else JSONResponse(answer)


async def execute(runtime: Runtime, program: bytes) -> dict[str, str]:
    async with runtime.container(SANDBOX, stdin=PIPE, stdout=PIPE, stderr=STDOUT) as container:
        assert container.process is not None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                output, _ = await container.process.communicate(program, keep_bytes=MOST_OUTPUT)
                exit = await container.wait()
        except TimeoutError:
            return {"outcome": "timed out", "output": ""}
    outcome = "out of memory" if exit.oom else str(exit)
    return {"outcome": outcome, "output": (output or b"").decode(errors="replace")}


async def unless_gone(request: Request, work: Coroutine[Any, Any, dict[str, str]]) -> dict[str, str] | None:
    """Do the work; None where the client hung up before its end, which cancels it."""

    async def hang_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue

    async with asyncio.TaskGroup() as group:
        tasks = group.create_task(work), group.create_task(hang_up())
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
    return None if tasks[0].cancelled() else tasks[0].result()


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
    async with Runtime() as runtime:  # its containers end with the service, whatever ends that
        yield {"runtime": runtime, "room": asyncio.Semaphore(MOST_AT_ONCE)}


app = Starlette(routes=[Route("/run", run, methods=["POST"])], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]) if sys.argv[1:] else 8000)
