"""Run a container, print its output as it comes, and say how it ended.

python examples/hello.py
"""

import asyncio
import sys
from asyncio.subprocess import PIPE

from aiocontainer import Command, Runtime

SCRIPT = """
echo "hello from pid $$ on $(hostname)"
for i in 1 2 3; do echo "line $i"; sleep 0.1; done
exit 3
"""


async def main() -> int:
    hello = Command(["sh", "-c", SCRIPT], hostname="box")
    async with Runtime() as runtime, runtime.container(hello, stdout=PIPE) as container:
        print(f"container {container.id}, pid {container.pid} out here")
        assert container.stdout is not None
        async for line in container.stdout:
            print(">", line.decode(), end="")
        status = await container.wait()
    print(f"it {status}")  # "it ended with status 3"
    return 0 if status.code == 3 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
