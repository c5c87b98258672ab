"""prune: remove what owners that were killed have left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .drive import drive

if TYPE_CHECKING:
    from aiocontainer import Runtime

    from .arguments import Invocation

__all__ = ["prune"]


def prune(call: Invocation) -> int:
    """Print the id of each container that was removed, or would be."""

    async def work(runtime: Runtime) -> int:
        for leftover in await runtime.sweep(dry_run=call.options.dry_run):
            print(leftover.id if call.options.quiet else f"{leftover.id}: {leftover.reason}")
        if call.options.images and not call.options.dry_run:
            from aiocontainer import Image

            layers, size = await Image.prune(call.options.image_cache)
            if layers and not call.options.quiet:
                print(f"{layers} layers of images, {size} bytes")
        return 0

    return drive(call.program, work)
