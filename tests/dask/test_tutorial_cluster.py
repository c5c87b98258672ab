"""The tutorial's program for many machines prints what the page says."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.documents import Program, agrees, programs

if TYPE_CHECKING:
    from pathlib import Path

    from support.leaks import Leaks

pytest.importorskip("distributed")


@pytest.mark.needs("root", "compiled", "overlay")
@pytest.mark.parametrize("program", programs("dask"), ids=lambda program: program.id)
def test_program(program: Program, snap: Leaks, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(program.text)
    done = subprocess.run(
        [sys.executable, str(file)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert agrees(program, done.stdout), done.stdout + done.stderr
