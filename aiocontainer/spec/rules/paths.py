"""Rules of the paths that the container is not to see or change.  OCI config-linux.md "Masked Paths"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .shared import absolute

if TYPE_CHECKING:
    from ..model import Spec
    from .shared import Problems

__all__ = ["path_problems"]


def path_problems(spec: Spec) -> Problems:
    """Everything wrong with masked and read-only paths."""
    if spec.linux is None:
        return
    for index, path in enumerate(spec.linux.masked_paths):
        yield from absolute(path, f"$.linux.maskedPaths[{index}]")
    for index, path in enumerate(spec.linux.readonly_paths):
        yield from absolute(path, f"$.linux.readonlyPaths[{index}]")
