"""A daemon that reports ends, and kills for want of memory, of containers that it has not started.

    python examples/watcher.py [STATE_ROOT]    # until SIGINT or SIGTERM

Without a root it shows itself at work.
"""

import asyncio
import signal
import sys
import tempfile

from aiocontainer import Created, Deleted, Exited, Lost, Oom, Runtime


async def watch(root: str, ready: asyncio.Event | None = None) -> None:
    """Report what happens to the containers of *root*, whoever creates them."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with Runtime(root=root) as runtime, runtime.events() as events:
        async for container in runtime.list():
            print(f"{container.id}: {await container.status()}, process {container.pid}", flush=True)
        print("watching", flush=True)
        if ready is not None:
            ready.set()
        async for event in events:
            match event:
                case Created(id=id, pid=pid):
                    print(f"{id}: created, process {pid}", flush=True)
                case Oom(id=id, kills=kills, group=group):
                    print(
                        f"{id}: {kills} killed for want of memory{' as a group' if group else ''}", flush=True
                    )
                case Exited(id=id, exit=exit):
                    why = f", at the limit of the {exit.oom.limit}" if exit.oom else ""
                    print(f"{id}: {exit}{why}", flush=True)
                case Deleted(id=id):
                    print(f"{id}: deleted", flush=True)
                case Lost(count=count):
                    print(f"too slow for {count} events", flush=True)


async def show() -> None:
    """Let somebody else run a container that wants too much, under our eyes."""
    with tempfile.TemporaryDirectory() as root:
        ready = asyncio.Event()
        watching = asyncio.create_task(watch(root, ready))
        await ready.wait()
        somebody = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aiocontainer", "--root", root),
            *("run", "--memory", "32M", "--", "tail", "/dev/zero"),
        )
        await somebody.wait()
        watching.cancel()
        await asyncio.wait([watching])


if __name__ == "__main__":
    try:
        asyncio.run(watch(sys.argv[1]) if sys.argv[1:] else show())
    except asyncio.CancelledError:
        print("no longer watching")
