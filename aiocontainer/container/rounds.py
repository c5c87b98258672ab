"""A checkpoint in rounds: memory first, while the container runs, and at last what has changed since."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..criu.messages import DumpStats

__all__ = ["checkpoint_in_rounds"]


async def checkpoint_in_rounds(
    checkpoint: Callable[..., Awaitable[DumpStats]],
    images: str,
    most: int,
    pages: int,
    options: dict[str, Any],
) -> list[DumpStats]:
    """Go on as long as it pays: see `Container.checkpoint_in_rounds`."""
    if most < 0 or pages < 0:
        raise SpecError("is a number of rounds, or of pages", origin="most" if most < 0 else "pages")
    options.pop("parent", None)
    counted: list[DumpStats] = []
    parent: str | None = None
    while len(counted) < most and _pays(counted, pages):
        name = str(len(counted) + 1)
        directory = os.path.join(images, name)
        counted.append(await checkpoint(images=directory, pre_dump=True, parent=parent, **options))
        parent = f"../{name}"
    last = os.path.join(images, "last")
    return [*counted, await checkpoint(images=last, parent=parent, **options)]


def _pays(counted: list[DumpStats], pages: int) -> bool:
    """Whether another round would leave less for the last one."""
    written = [stats.pages_written for stats in counted]
    if written and written[-1] <= pages:
        return False
    return len(written) < 2 or written[-1] < written[-2]
