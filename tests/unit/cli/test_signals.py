"""Signals to the command."""

from __future__ import annotations

import signal
import subprocess
import sys

# In a process of its own, as what the command catches stays caught.
PROGRAM = """
import asyncio, os, signal, threading
from aiocontainer.cli.signals import catch
{first}

def other_thread():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    asked.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()

asked = threading.Event()

async def main():
    arrived = asyncio.get_running_loop().create_future()
    catch([signal.SIGTERM], arrived.set_result)
    catch([signal.SIGHUP], print)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    {then}
    threading.Thread(target=other_thread, daemon=True).start()
    asyncio.get_running_loop().call_soon(asked.set)
    print(int(await arrived), flush=True)
    os._exit(0)

asyncio.run(main())
"""


def run(first: str = "", then: str = "") -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(first=first, then=then)
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_taken_by_another_thread() -> None:
    """It interrupts no system call of the loop's thread, as one that comes just before epoll_wait(2)."""
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{int(signal.SIGTERM)}\n", "")


def test_ignored_by_the_caller() -> None:
    """It stays ignored, as nohup(1) wants it."""
    done = run("signal.signal(signal.SIGHUP, signal.SIG_IGN)", "os.kill(os.getpid(), signal.SIGHUP)")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{int(signal.SIGTERM)}\n", "")
