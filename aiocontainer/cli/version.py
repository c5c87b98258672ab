"""The text of --version."""

from __future__ import annotations

import aiocontainer

from .table import PROGRAM

__all__ = ["version_text"]


def version_text() -> str:
    """Program and specification, in the lines that container engines read from runc."""
    return f"{PROGRAM} version {aiocontainer.__version__}\nspec: {aiocontainer.OCI_VERSION}"
