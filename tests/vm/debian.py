"""Debian roots from the machine's own apt configuration, built once and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bootstrap", "cache", "mirror"]


def cache() -> Path:
    """Where built roots and images are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = Path(home, "aiocontainer")
    path.mkdir(parents=True, exist_ok=True)
    return path


def mirror() -> str | None:
    """Address of the Debian archive that this machine's apt uses; None leaves it to mmdebstrap."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"],
        capture_output=True,
        text=True,
        check=False,
    )
    return next(iter(listed.stdout.split()), None)


def bootstrap(suite: str, root: Path, packages: Sequence[str], hooks: Sequence[str] = ()) -> None:
    """Make *root* a minimal Debian *suite* with *packages*; *hooks* are further mmdebstrap options."""
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}"]
    command += ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]
    command += [*hooks, suite, str(root)]
    source = mirror()
    if source is not None:
        command.append(source)
    try:
        subprocess.run(command, check=True)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)  # half a root must not be taken for a whole one
        raise
