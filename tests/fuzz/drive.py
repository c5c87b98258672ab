"""Run one target under Atheris: ``python tests/fuzz/drive.py NAME [libFuzzer options] [CORPUS...]``.

A target is a module here with a function ``one``, which takes an input and raises for a finding.
"""

from __future__ import annotations

import importlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)


def main() -> None:
    import atheris

    name = sys.argv.pop(1)
    # Not this directory, which a script has in front: its modules are `fuzz.NAME`, as for the tests.
    sys.path[:] = [TESTS, os.path.join(TESTS, "unit", "plan"), *(path for path in sys.path if path != HERE)]
    with atheris.instrument_imports(include=["aiocontainer"]):
        target = importlib.import_module(f"fuzz.{name}")
    atheris.Setup(sys.argv, target.one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
