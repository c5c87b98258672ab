"""What a Dask worker has of a farm: a runtime of its own, and a farm on it.  Runs on the worker's loop."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker
from msgspec.structs import asdict

from ..errors import HelperError
from ..runtime import Runtime
from .farm import Farm

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from .job import Job, JobResult

__all__ = ["LocalFarm", "run_job"]

_UNWANTED = ("cancelled", "released", "forgotten")


class LocalFarm(WorkerPlugin):  # type: ignore[misc]
    """Opens them when the worker comes, or is there already, and closes them with it."""

    def __init__(self, topic: str, runtime: Mapping[str, Any], farm: Mapping[str, Any]) -> None:
        self._topic = topic
        self._options = dict(runtime), dict(farm)
        self._farm: Farm | None = None
        self._jobs: dict[str, asyncio.Future[JobResult]] = {}

    async def setup(self, worker: Any) -> None:
        """Open them; what keeps them from it fails the registration."""
        self._worker = worker
        runtime, farm = self._options
        async with AsyncExitStack() as stack:
            opened = await stack.enter_async_context(Runtime(**runtime))
            self._farm = await stack.enter_async_context(Farm(opened, **farm))
            self._stack = stack.pop_all()

    async def teardown(self, worker: Any) -> None:  # noqa: ARG002 - the interface's
        """End what is left, and close them."""
        if self._farm is not None:
            for future in tuple(self._jobs.values()):
                future.cancel()
            await self._stack.aclose()

    def transition(self, key: str, start: str, finish: str, **_: Any) -> None:  # noqa: ARG002
        """End the container of a job that nobody wants any more: Dask itself would let it run."""
        if finish in _UNWANTED and key in self._jobs:
            self._jobs[key].cancel()

    async def run(self, key: str, job: Job) -> dict[str, Any]:
        """Do a job, and return the fields of its result but the job itself."""
        if self._farm is None:
            raise HelperError(f"{self._worker.address} could not open a runtime: its log says why")
        self._worker.log_event(self._topic, key)
        future = self._jobs[key] = self._farm.submit(job)
        try:
            result = asdict(await future)
        finally:
            del self._jobs[key]
        del result["job"]
        return result


async def run_job(name: str, key: str, job: Job) -> dict[str, Any]:
    """Be the task: have the worker's own farm do *job*."""
    plugin: LocalFarm = get_worker().plugins[name]
    return await plugin.run(key, job)
