"""Many containers, a few at a time: 500, at most 16 at once.

    python examples/farm.py [HOW-MANY]

More at once would not be faster: the kernel makes namespaces and mounts one after the other.
"""

import asyncio
import sys
import time
from collections import Counter

from aiocontainer import Command, Runtime

AT_ONCE = 16


async def main(count: int) -> int:
    ready = asyncio.Semaphore(AT_ONCE)

    async with Runtime() as runtime:

        async def one(number: int) -> int | None:
            async with ready, runtime.container(Command(["sh", "-c", f"exit {number % 4}"])) as container:
                return (await container.wait()).code

        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(count)]
        took = time.monotonic() - begun

    codes = [task.result() for task in tasks]
    print(f"{count} containers in {took:.1f} s, {count / took:.0f} per second; exit codes {Counter(codes)}")
    return 0 if codes == [number % 4 for number in range(count)] else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)))
