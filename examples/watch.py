"""Exits: any number of waiters, late ones too; a task group that a container's end takes down.

python examples/watch.py
"""

import asyncio

from aiocontainer import Command, Container, ContainerExited, Runtime


async def must_not_end(container: Container) -> None:
    """Turn the end of a container into an exception, which cancels the other tasks of the group."""
    raise ContainerExited(await container.wait())


async def serve() -> None:
    while True:
        print("serving")
        await asyncio.sleep(0.2)


async def main() -> None:
    async with Runtime() as runtime, runtime.container(Command(["sleep", "1000"])) as container:
        waiters = [asyncio.create_task(container.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        await container.kill("TERM")  # pid 1 of a pid namespace has no default actions: signal(7)
        await container.kill("KILL")
        print({str(status) for status in await asyncio.gather(*waiters)})
        print("told later:", await container.wait())

    try:
        async with (
            Runtime() as runtime,
            runtime.container(Command(["sh", "-c", "sleep 0.5; exit 7"])) as database,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(serve())
            group.create_task(must_not_end(database))
    except* ContainerExited as ended:
        print("stopped serving:", ended.exceptions[0])


if __name__ == "__main__":
    asyncio.run(main())
