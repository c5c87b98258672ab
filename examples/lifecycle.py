"""The OCI lifecycle step by step: a specification, its plan, create, start, state, kill, delete.

python examples/lifecycle.py
"""

import asyncio
from asyncio.subprocess import DEVNULL

from aiocontainer import Mount, Runtime, Spec, StateError


async def main() -> None:
    # The machine's own root, read-only.  Who has a root file system of their own names it here.
    spec = Spec.default(["sleep", "1000"], rootfs="/").with_mount(Mount.tmpfs("/tmp", size="16m"))
    async with Runtime() as runtime:
        for line in runtime.plan(spec).listing().splitlines()[:5]:
            print(line)  # what would be done, without any privilege

        container = await runtime.create(None, spec, stdin=DEVNULL)
        print((await container.state()).status)  # created: its program waits
        await container.start()
        print((await container.state()).status)  # running

        again = await runtime.load(container.id)  # any process of this user may, by its id
        try:
            await again.delete()
        except StateError as exc:
            print("refused:", exc)

        await container.kill("KILL")
        print(await container.wait())
        await container.delete()


if __name__ == "__main__":
    asyncio.run(main())
