"""One command at a time, like subprocess.run: output, exit status, deadline.

python examples/run.py
"""

import asyncio

import aiocontainer


async def main() -> None:
    done = await aiocontainer.run(["sh", "-c", "expr 6 '*' 7"])
    done.check()
    print("answer:", done.stdout)

    done = await aiocontainer.run(["cat"], input=b"through a pipe\n")
    print("cat:", done.stdout)

    try:
        (await aiocontainer.run(["sh", "-c", "echo 'no such luck' >&2; exit 4"])).check()
    except aiocontainer.ContainerExited as exc:
        print("as expected:", exc)

    try:
        await aiocontainer.run(["sleep", "60"], timeout_s=0.5)
    except TimeoutError:
        print("deadline: killed, and nothing left of it")


if __name__ == "__main__":
    asyncio.run(main())
