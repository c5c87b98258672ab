"""Containers, whoever creates them: noticed by their state, which stands where all can see it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .._aio import in_thread
from ..errors import ContainerError, NotFoundError, StateError
from ..events import Created

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine
    from typing import Any

    from ..events.inotify import Change, Watch
    from .container import Container
    from .environment import Environment

__all__ = ["Following"]

_STATE = "state.json"
_GATE = "gate"


class Following:
    """Watches the state root, and in it the containers' directories, while somebody listens to all.

    Others' cgroups and inits are then watched as those of our own are.  How a foreign init ended is
    known from Linux 6.15 on.
    """

    def __init__(
        self,
        environment: Environment,
        load: Callable[[str], Awaitable[Container]],
        *,
        known: Collection[str],
        creating: Collection[str],
    ) -> None:
        """Of containers that are *known* somebody else takes care; those of *creating* will be met."""
        self._environment = environment
        self._load = load
        self._known = known
        self._creating = creating
        self._root: Watch | None = None
        self._followed: dict[str, _Followed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._beginning = asyncio.Lock()

    async def begin(self) -> None:
        """Watch, and find what is there; nothing where that is done already."""
        async with self._beginning:
            if self._root is None:
                self._root = await self._watch(None, self._changed)
                for id in await in_thread(self._environment.store.ids):
                    await self.meet(id)

    async def meet(self, id: str, *, new: bool = False) -> None:
        """Follow a container, and tell of a *new* one that it came; nothing while nobody listens."""
        if id in self._followed or id in self._creating or self._root is None:
            return
        followed = self._followed[id] = _Followed(id, new=new, found=id not in self._known)
        try:
            followed.watch = await self._watch(id, lambda change: self._inside(followed, change))
            if self._followed.get(id) is followed:
                await self._become_known(followed)
            else:
                followed.close()  # gone meanwhile
        except NotFoundError:
            self._followed.pop(id, None)
            followed.close()
        except (ContainerError, OSError) as exc:
            _warn(id, exc)

    async def close(self) -> None:
        """Watch no longer, and wait until that is so."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """Watch no longer; the containers stay loaded."""
        if self._root is not None:
            self._root.close()
            self._root = None
        for followed in self._followed.values():
            followed.close()
        self._followed.clear()
        for task in self._tasks:
            task.cancel()

    async def _watch(self, id: str | None, callback: Callable[[Change], None]) -> Watch:
        loop, store = asyncio.get_running_loop(), self._environment.store

        def watch() -> Watch:
            from ..events import inotify  # only those who listen pay for it

            with store.open_directory(id) as directory:
                mask = inotify.APPEARED | inotify.VANISHED
                return inotify.watch(loop, directory.fileno(), callback, mask=mask)

        return await in_thread(watch, undo=lambda made: made.close())

    # The root ---------------------------------------------------------------------------------------

    def _changed(self, change: Change) -> None:
        if change.overflow:
            self._spawn(self._look_again())
        elif not change.name.startswith("."):
            self._spawn(self._part(change.name) if change.vanished else self.meet(change.name, new=True))

    async def _look_again(self) -> None:
        ids = await in_thread(self._environment.store.ids)
        for id in self._followed.keys() - set(ids):
            await self._part(id)
        for id in ids:
            await self.meet(id, new=True)

    async def _part(self, id: str) -> None:
        followed = self._followed.pop(id, None)
        if followed is None:
            return
        followed.close()
        container = followed.container
        if container is not None:
            await container.wait()  # its exit has a place before that
            container.watching.deleted()
            if followed.found:
                container.close()

    # One container ----------------------------------------------------------------------------------

    def _inside(self, followed: _Followed, change: Change) -> None:
        if change.overflow or (change.name == _STATE and not change.vanished):
            self._spawn(self._become_known(followed))
        elif change.name == _GATE and change.vanished and followed.container is not None:
            followed.container.watching.started()

    async def _become_known(self, followed: _Followed) -> None:
        """Load it, once its creation has come that far."""
        async with followed.turn:
            if followed.container is not None:
                return
            try:
                container = await self._load(followed.id)
            except StateError:
                return  # being created: its state is still to come
            followed.container = container
            if followed.new:
                exchange = self._environment.watcher.exchange
                exchange.publish(Created(id=followed.id, pid=container.pid))
            store = self._environment.store
            if not await in_thread(lambda: store.has_gate(followed.id)):
                container.watching.started(told=followed.new)
            if followed.new:
                await container.watching.arm_fresh()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            _warn("of somebody else", failure)


class _Followed:
    """A container, as far as it is known."""

    def __init__(self, id: str, *, new: bool, found: bool) -> None:
        self.id = id
        self.new = new
        self.found = found
        """Nobody but us has loaded it."""
        self.watch: Watch | None = None
        self.container: Container | None = None
        self.turn = asyncio.Lock()

    def close(self) -> None:
        if self.watch is not None:
            self.watch.close()
            self.watch = None


def _warn(id: str, failure: BaseException) -> None:
    from logging import getLogger

    getLogger("aiocontainer").warning("container %s: its events cannot be told: %s", id, failure)
