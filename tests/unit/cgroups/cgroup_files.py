"""What kernels have written into accounting files, as ``head`` shows many files at once."""

from __future__ import annotations

import re
from pathlib import Path

DUMPS = Path(__file__).parents[2] / "data" / "cgroup_files"
SIZES = ("2MB", "1GB")


def dump(name: str) -> dict[str, bytes]:
    """File name to text, of one kernel."""
    parts = re.split(rb"^==> (\S+) <==\n", (DUMPS / f"{name}.txt").read_bytes(), flags=re.MULTILINE)
    assert parts[0] == b""
    return {name.decode(): text for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def names() -> list[str]:
    return sorted(path.stem for path in DUMPS.glob("*.txt"))
