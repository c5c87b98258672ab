"""Each example runs as a user would run it, ends well and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.leaks import Leaks

SERVICES = {"code_runner"}  # test_services.py
EXAMPLES = sorted(
    path
    for path in Path(__file__).resolve().parents[2].joinpath("examples").glob("*.py")
    if path.stem not in SERVICES
)


@pytest.mark.needs("root", "userns", "compiled", "overlay")
@pytest.mark.parametrize("example", EXAMPLES, ids=[example.stem for example in EXAMPLES])
def test_example(example: Path, snap: Leaks, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", example], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout
