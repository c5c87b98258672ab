"""The text of --version."""

from __future__ import annotations

from aiocontainer import __version__
from aiocontainer.spec import OCI_VERSION

from .table import PROGRAM

__all__ = ["version_text"]


def version_text() -> str:
    """Program and specification, in the lines that container engines read from runc."""
    return f"{PROGRAM} version {__version__}\nspec: {OCI_VERSION}"
