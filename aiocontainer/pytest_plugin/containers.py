"""Containers for tests that are no coroutines: a loop in a thread of its own, and calls to it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from aiocontainer import Command

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from aiocontainer import Completed, Container, Runtime, Spec

__all__ = ["Containers"]

T = TypeVar("T")


class Containers:
    """Runs what `Runtime` and `Container` have, and waits for it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal("asyncio"))
            stack.enter_context(self._portal.wrap_async_context_manager(self.runtime))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def call(self, function: Callable[..., Awaitable[T]], /, *args: Any, **options: Any) -> T:
        """Call a coroutine function, such as ``container.exec``, and return its result."""
        return self._portal.call(partial(function, *args, **options))

    def run(self, source: str | bytes | Spec | Command | Sequence[str], **options: Any) -> Completed:
        """Run a container to its end, as `Runtime.run` does."""
        return self.call(self.runtime.run, source, **options)

    def start(self, source: str | bytes | Spec | Command | Sequence[str], **options: Any) -> Container:
        """Return a started container, which is killed and removed after the test; as `Runtime.container`."""
        if isinstance(source, Sequence) and not isinstance(source, str | bytes):
            source = Command(source)
        block = self.runtime.container(source, **options)
        return self._stack.enter_context(self._portal.wrap_async_context_manager(block))
