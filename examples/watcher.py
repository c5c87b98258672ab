"""A watcher: reports ends, and kills for want of memory, of containers that it has not started.

python examples/watcher.py [STATE_ROOT]    # until it is interrupted; without a root it shows itself at work
"""

import asyncio
import sys
import tempfile

from aiocontainer import Created, Deleted, Exited, Lost, Oom, Runtime


async def watch(root: str) -> None:
    """Report what happens to the containers of *root*, whoever creates them."""
    async with Runtime(root=root) as runtime, runtime.events(pressure="critical") as events:
        print("watching")
        async for event in events:
            match event:
                case Created(id=id, pid=pid):
                    print(f"{id}: created, process {pid}")
                case Oom(id=id, kills=kills, group=group):
                    print(f"{id}: {kills} killed for want of memory" + (", as a group" if group else ""))
                case Exited(id=id, exit=exit):
                    print(f"{id}: {exit}" + (f", {exit.oom}" if exit.oom else ""))
                case Lost(count=count):
                    print(f"we were too slow for {count} events")
                case Deleted(id=id):
                    print(f"{id}: deleted")


async def show() -> None:
    """Let somebody else run a container under our eyes."""
    with tempfile.TemporaryDirectory() as root:
        watching = asyncio.create_task(watch(root))
        await asyncio.sleep(0.5)
        somebody = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aiocontainer", "--root", root, "run", "--", "sh", "-c", "exit 3")
        )
        await somebody.wait()
        await asyncio.sleep(0.2)
        watching.cancel()
        await asyncio.wait([watching])


if __name__ == "__main__":
    try:
        asyncio.run(watch(sys.argv[1]) if sys.argv[1:] else show())
    except KeyboardInterrupt:
        print("no longer watching")
