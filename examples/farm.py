"""Many containers, as many at a time as this machine has room for.

    python examples/farm.py [HOW-MANY]

Jobs have priorities, deadlines and retries; results come as they are ready.
"""

import asyncio
import sys
import time
from collections import Counter

from aiocontainer import Command, Farm, Job, Runtime


async def main(count: int) -> int:
    jobs = (
        Job(source=Command(["sh", "-c", f"exit {number % 4}"]), name=str(number), timeout_s=60)
        for number in range(count)
    )
    begun, codes, wrong = time.monotonic(), Counter[int | None](), 0
    async with Runtime() as runtime, Farm(runtime) as farm:
        async for result in farm.results(jobs):
            code = result.completed.exit.code if result.completed else None
            codes[code] += 1
            wrong += code != int(result.job.name) % 4
    took = time.monotonic() - begun
    print(f"{count} containers in {took:.1f} s, {count / took:.0f} per second; exit codes {codes}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)))
