"""Containers made before they are asked for: what is left to do is to let them go."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

from .._aio import finish
from ..errors import StateError
from .job import as_source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from ..container import Container
    from ..container.source import Source
    from ..runtime import Runtime

__all__ = ["WarmPool"]


class WarmPool:
    """Keeps *size* containers of one kind created, so that `take` has only to start one; ``async with``.

    All run the same program; what differs between two uses comes by standard input.  One that is
    taken is replaced at once, and used only once.
    """

    def __init__(
        self, runtime: Runtime, source: Source | Sequence[str], *, size: int = 4, **options: Any
    ) -> None:
        """Make containers of *source* with the *options* of `Runtime.create`."""
        if size < 1:
            raise ValueError("a pool holds at least one container")
        self._runtime = runtime
        self._source = as_source(source)
        self._options = options
        self._size = size
        self._ready: asyncio.Queue[Container | BaseException] = asyncio.Queue()
        self._makers: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        """Return once all of them are ready, or one of them could not be made."""
        try:
            for _ in range(self._size):
                self._refill()
            await asyncio.gather(*self._makers)
        except BaseException:
            await finish(self._close)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await finish(self._close)

    @property
    def ready(self) -> int:
        """How many wait to be taken."""
        return self._ready.qsize()

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[Container]:
        """Own a started container for the length of a block, as `Runtime.container` has it.

        Waits for the next one where all are taken; raises what making it has raised.
        """
        container = await self._start_one()
        try:
            yield container
        finally:
            await finish(lambda: container.delete(force=True))

    async def _start_one(self) -> Container:
        while True:
            made = await self._ready.get()
            if isinstance(made, BaseException):
                self._refill()
                raise made
            try:
                await made.start()
            except BaseException as exc:
                await finish(lambda found=made: found.delete(force=True))  # type: ignore[misc]
                if not isinstance(exc, StateError):
                    raise
                # It was killed while it waited, by an administrator or for memory: the next one.
            else:
                return made
            finally:
                self._refill()  # not before: that would take the processor from what is asked for

    def _refill(self) -> None:
        if self._closed:
            return
        task = asyncio.ensure_future(self._make())
        self._makers.add(task)
        task.add_done_callback(self._makers.discard)

    async def _make(self) -> None:
        try:
            self._ready.put_nowait(await self._runtime.create(None, self._source, **self._options))
        except Exception as exc:  # noqa: BLE001 - raised by who takes it
            self._ready.put_nowait(exc)

    async def _close(self) -> None:
        """Delete what nobody has taken."""
        self._closed = True
        makers = list(self._makers)
        for task in makers:
            task.cancel()
        await asyncio.gather(*makers, return_exceptions=True)
        left = [self._ready.get_nowait() for _ in range(self._ready.qsize())]
        results = await asyncio.gather(
            *(each.delete(force=True) for each in left if not isinstance(each, BaseException)),
            return_exceptions=True,
        )
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise ExceptionGroup("containers could not be removed", failures)
