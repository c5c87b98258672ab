"""Plain values to Structs: the first time by many threads at once."""

from __future__ import annotations

import subprocess
import sys

FIRST = """
import sys, threading
sys.setswitchinterval(1e-6)
from aiocontainer.spec import Spec, default_spec, encode
from aiocontainer.spec.document import decode_document

data, barrier, read = encode(default_spec()), threading.Barrier(8), []

def work():
    barrier.wait()
    read.append(decode_document(data, Spec))

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(read) == 8 and all(each == read[0] for each in read)
"""


def test_many_threads_may_be_the_first() -> None:
    """msgspec alone crashed in every second process."""
    for _ in range(4):
        subprocess.run([sys.executable, "-c", FIRST], check=True, timeout=60)
