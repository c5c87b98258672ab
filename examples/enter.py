"""More processes in a running container, and talking to one through pipes.

python examples/enter.py
"""

import asyncio
from asyncio.subprocess import PIPE

from aiocontainer import Command, Runtime


async def main() -> None:
    async with Runtime() as runtime, runtime.container(Command(["sleep", "60"])) as container:
        look = await container.exec(["sh", "-c", "echo pid 1 is $(cat /proc/1/comm)"], stdout=PIPE)
        out, _ = await look.communicate()
        print(out)

        shout = await container.exec(["tr", "a-z", "A-Z"], stdin=PIPE, stdout=PIPE)
        assert shout.stdin is not None
        assert shout.stdout is not None
        for word in (b"one\n", b"two\n"):
            shout.stdin.write(word)
        shout.stdin.close()
        print(await shout.stdout.read(), await shout.wait())

        stuck = await container.exec(["sleep", "1000"])
        print(f"{len(await container.processes())} processes")
        stuck.kill()
        print("the stuck one was", await stuck.wait())


if __name__ == "__main__":
    asyncio.run(main())
